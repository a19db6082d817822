"""A run's log for TensorBoard: the curves of metrics.jsonl, and its pictures of samples."""

from pathlib import Path

from PIL import Image

from redoseg.errors import ConfigError, missing_extra
from redoseg.files import write_folder_aside
from redoseg.models.run_folder import RunFolder
from redoseg.models.run_log import Points, curves_of, read_log


def export_tensorboard(run: RunFolder, folder: Path) -> int:
    """Write an event file of the run to `folder`, which becomes one of TensorBoard's runs; how many curves it
    has. What was written there before is replaced. ConfigError if `run` is no run, has no log yet, or if the
    folder holds something else; MissingExtraError without TensorBoard."""
    if not run.exists:
        raise ConfigError(f"{run.path} holds no run, and --tensorboard is about a run's log: name a run")
    lines = read_log(run.metrics)
    if not lines:
        raise ConfigError(f"{run.path} has no log yet: train it first")
    if folder.exists() and not (folder.is_dir() and all(map(_is_event_file, folder.iterdir()))):
        raise ConfigError(f"{folder} holds something else than TensorBoard's files: choose another folder")
    curves = curves_of(lines)
    times = {float(line["step"]): float(line.get("seconds") or 0) for line in lines}
    folder.parent.mkdir(parents=True, exist_ok=True)
    write_folder_aside(folder, lambda aside: _write(aside, run, curves, times))
    return sum(len(lines) for lines in curves.values())


def _is_event_file(file: Path) -> bool:
    return file.name.startswith("events.out.tfevents.")


def _write(
    folder: Path,
    run: RunFolder,
    curves: dict[str, dict[str, Points]],
    times: dict[float, float],
) -> None:
    try:
        from tensorboard.compat.proto.event_pb2 import Event  # noqa: PLC0415
        from tensorboard.compat.proto.summary_pb2 import Summary  # noqa: PLC0415
        from tensorboard.summary.writer.event_file_writer import EventFileWriter  # noqa: PLC0415
    except ModuleNotFoundError as error:
        missing = missing_extra("--tensorboard", error)
        if missing is None:
            raise
        raise missing from error
    writer = EventFileWriter(str(folder))
    for chart, of_chart in curves.items():
        for name, points in of_chart.items():
            for step, value in points:
                tag = f"{chart}/{name}".replace(" ", "_")
                summary = Summary(value=[Summary.Value(tag=tag, simple_value=value)])
                writer.add_event(Event(step=int(step), wall_time=times[step], summary=summary))
    for step in run.sampled_steps():
        file = run.sample(step)
        with Image.open(file) as picture:
            width, height = picture.size
        image = Summary.Image(
            width=width, height=height, colorspace=3, encoded_image_string=file.read_bytes()
        )
        summary = Summary(value=[Summary.Value(tag="samples", image=image)])
        writer.add_event(Event(step=step, wall_time=times.get(float(step), 0.0), summary=summary))
    writer.close()
