"""The command `redoseg`. What needs torch is imported when a command runs, so that help is instant."""

import argparse
import json
import shlex
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import tyro
from rich.console import Console

from redoseg.config import Recipe, Settings, TrainConfig
from redoseg.errors import ConfigError, DataError, ElsewhereError, RedosegError
from redoseg.extras import missing_extra
from redoseg.recipes import DEMO
from redoseg.version import __version__

if TYPE_CHECKING:
    from redoseg.evaluation import Evaluation
    from redoseg.segmenting import SegmentReport

Weights = Literal["ema", "raw"]
Backend = Literal["auto", "torch", "onnx"]

errors = Console(stderr=True)
output = Console()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line: 0 all went well, 1 an error (one line), 2 bad usage, 130 Ctrl-C."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments in (["--version"], ["-V"]):
        print(f"redoseg {__version__}")
        return 0
    try:
        done = _app(arguments).cli(
            args=arguments,
            prog="redoseg",
            description="Learn to segment the object in a collection of images without a single mask.",
        )
        return int(done or 0)
    except ElsewhereError:
        return 1
    except RedosegError as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        return 130
    except ModuleNotFoundError as error:
        missing = missing_extra(f"redoseg {arguments[0]}", error)
        if missing is None:
            raise
        return _fail(str(missing))
    except OSError as error:  # a folder that can't be written, a full disk
        return _fail(f"{error.filename or 'the system'}: {error.strerror or error}")
    except (RuntimeError, MemoryError) as error:
        if not _out_of_memory(error):
            raise
        return _fail("out of memory: lower --batch, --size, --width or --g-width")


def _app(arguments: Sequence[str]) -> tyro.extras.SubcommandApp:
    app = tyro.extras.SubcommandApp()
    for command in (_train_command(arguments), resume, evaluate, segment, redraw, export, demo):
        app.command(command)
    return app


def _train_command(arguments: Sequence[str]) -> Callable[..., int]:
    """`train` with the defaults of the recipe and settings asked for: explicit options win over them."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--recipe", nargs="?", default="default")
    parser.add_argument("--settings", nargs="?", default="none")
    asked: Any = parser.parse_known_args(arguments)[0]
    # A name that doesn't exist is left to the parser proper, which lists those that do.
    recipe: Recipe = asked.recipe if asked.recipe in get_args(Recipe) else "default"
    settings: Settings = asked.settings if asked.settings in get_args(Settings) else "none"
    defaults = TrainConfig.of(recipe=recipe, settings=settings, data=tyro.MISSING, out=tyro.MISSING)

    def train(config: tyro.conf.OmitArgPrefixes[TrainConfig] = defaults, dry_run: bool = False) -> int:
        """Learn masks from images alone.

        Args:
            config: the run.
            dry_run: Print the resolved options and what was found in the data, then stop.
        """
        if dry_run:
            from redoseg.distributed import speaks
            from redoseg.report import dry_run as describe
            from redoseg.training import check

            found = describe(*check(config, errors))
            if speaks():
                print(found)
            return 0
        return _train(config)

    return train


def resume(
    run: tyro.conf.Positional[Path],
    /,
    steps: int | None = None,
    minutes: float | None = None,
    device: str | None = None,
    threads: int | None = None,
) -> int:
    """Go on with a run that was stopped.

    Args:
        run: The run's folder.
        steps: Train up to this step instead.
        minutes: Train for so many minutes in all instead.
        device: Go on on this device instead.
        threads: Go on with so many CPU threads instead.
    """
    from redoseg.training import resume as go_on

    given: dict[str, Any] = {"steps": steps, "minutes": minutes, "device": device, "threads": threads}
    changed = {name: value for name, value in given.items() if value is not None}
    return _trained(lambda: go_on(run, console=errors, **changed), run)


def evaluate(
    model: tyro.conf.Positional[str],
    data: tyro.conf.Positional[tuple[str, ...]],
    /,
    split: str = "val",
    json_: Annotated[bool, tyro.conf.arg(name="json")] = False,
    checkpoint: str = "last",
    weights: Weights | None = None,
    device: str = "auto",
    cache: Path | None = None,
    mnist: Path | None = None,
) -> int:
    """Score a model's masks against the masks of a data set, beside the trivial answers.

    Args:
        model: A run's folder, a model's folder, or a hub id.
        data: Folders or archives with masks/, or 'digits' or 'digit'.
        split: Which images.
        json_: Print one JSON object instead of a table.
        checkpoint: In a run: last, best (chosen with masks) or a step.
        weights: In a run: the moving average or the raw weights. None: the average if one is kept.
        device: auto, cpu, cuda, cuda:1, mps ...
        cache: Folder of the resized images. None: the user's cache folder.
        mnist: Folder with MNIST's IDX files, from which to draw 'digits' and 'digit'.
    """
    from redoseg.evaluation import evaluate as run

    if not data:
        raise ConfigError("no data to score on: name a folder, an archive, 'digits' or 'digit'")
    with errors.status("scoring") as status:
        evaluation = run(
            model, data, split=split, checkpoint=checkpoint, weights=weights, device=device,
            cache=cache, mnist=mnist,
            progress=lambda done, files: status.update(f"bringing photos to size: {done} of {files}"),
        )  # fmt: skip
    if json_:
        print(json.dumps(evaluation.as_dict(), indent=2))
    else:
        _print_scores(evaluation)
    return 0


def segment(
    model: tyro.conf.Positional[str],
    inputs: tyro.conf.Positional[tuple[Path, ...]],
    /,
    out: Path,
    checkpoint: str = "last",
    weights: Weights | None = None,
    device: str = "auto",
    backend: Backend = "auto",
    ray: str | None = None,
) -> int:
    """Write a mask for every photo, at the photo's own size.

    Args:
        model: A run's folder, a model's folder, an ONNX file, or a hub id.
        inputs: Photos, folders of photos, archives.
        out: Folder for the masks: PNG, 255 on the object (more than two regions: the region's number).
        checkpoint: In a run: last, best (chosen with masks) or a step.
        weights: In a run: the moving average or the raw weights. None: the average if one is kept.
        device: auto, cpu, cuda, cuda:1, mps ...
        backend: What computes: PyTorch, or ONNX Runtime, which needs the model's mask.onnx. auto: the faster.
        ray: Share the work among the machines of a Ray cluster, by its address; auto: the one that this
            machine is part of; local: processes of this machine. All must see the same files.
    """
    from rich.progress import Progress

    options: dict[str, Any] = {
        "checkpoint": checkpoint,
        "weights": weights,
        "device": device,
        "backend": backend,
    }
    run = _on_ray(ray, model, options) if ray else _here(model, options)
    with Progress(console=errors, transient=True, disable=not errors.is_terminal) as bar:
        task = bar.add_task("segmenting", total=None)
        report = run(inputs, out, progress=lambda done, total: bar.update(task, completed=done, total=total))
    for name, reason in report.failed:
        errors.print(f"redoseg: {name}: {reason}", markup=False, highlight=False, soft_wrap=True)
    failed = f"; {len(report.failed)} could not be done, they are named above" if report.failed else ""
    print(f"{report.written} masks in {out}{failed}")
    return 1 if report.failed else 0


def _here(model: str, options: dict[str, Any]) -> Callable[..., "SegmentReport"]:
    from redoseg.segmenter import Segmenter
    from redoseg.segmenting import segment_files

    return partial(segment_files, Segmenter.from_pretrained(model, **options))


def _on_ray(address: str, model: str, options: dict[str, Any]) -> Callable[..., "SegmentReport"]:
    from redoseg.ray_segmenting import segment_on_ray

    return partial(segment_on_ray, model, address=address, **options)


def redraw(
    model: tyro.conf.Positional[str],
    image: tyro.conf.Positional[Path],
    /,
    out: Path,
    region: int = 1,
    count: int = 8,
    seed: int = 0,
    checkpoint: str = "last",
    weights: Weights | None = None,
    device: str = "auto",
) -> int:
    """Redraw one region of a photo with several codes: the paper's Figure 2 for a photo of one's own.

    Args:
        model: A run's folder.
        image: The photo; its central square is used.
        out: PNG to write.
        region: 0 is the background, 1 the object.
        count: How many codes.
        seed: Decides the codes.
        checkpoint: last, or best (chosen with masks).
        weights: The moving average or the raw weights. None: the average if one is kept.
        device: auto, cpu, cuda, cuda:1, mps ...
    """
    from redoseg.checkpoint import load_model
    from redoseg.data.images import decode_image
    from redoseg.files import write_aside
    from redoseg.redrawing import redraw_photo
    from redoseg.tensors import pick_device

    loaded = load_model(model, checkpoint=checkpoint, weights=weights, device=pick_device(device))
    try:
        photo = decode_image(image)
    except DataError as error:
        raise DataError(f"{image}: {error}") from error
    blur = loaded.config.blur if loaded.config else None
    picture = redraw_photo(loaded, photo, region=region, count=count, seed=seed, blur=blur)
    write_aside(out, lambda aside: picture.save(aside, "PNG"))
    print(out)
    return 0


def export(
    model: tyro.conf.Positional[str],
    /,
    onnx: Path,
    checkpoint: str = "last",
    weights: Weights | None = None,
) -> int:
    """Write a model as an ONNX file, which segments without PyTorch.

    Args:
        model: A run's folder, a model's folder, or a hub id.
        onnx: File to write: images (B, 3, H, W) in [-1, 1] to masks (B, n, H, W), background first.
        checkpoint: In a run: last, best (chosen with masks) or a step.
        weights: In a run: the moving average or the raw weights. None: the average if one is kept.
    """
    from redoseg.checkpoint import load_model
    from redoseg.exporting import export_onnx

    f = load_model(model, checkpoint=checkpoint, weights=weights).f
    with errors.status("exporting"):
        difference = export_onnx(f, onnx)
    print(f"{onnx}: its masks differ from the network's own by {difference:.1e} at most")
    return 0


def demo(
    out: Path = Path("runs/demo"),
    steps: int | None = None,
    minutes: float | None = None,
    seed: int = 0,
    device: str = "auto",
    threads: int = 1,
) -> int:
    """Learn to find a drawn digit, from pictures alone, in ten minutes on one CPU core.

    Args:
        out: Folder of the run; run again, it goes on.
        steps: Updates. None: enough.
        minutes: Stop after so many minutes. None: 10.
        seed: Decides everything that is random.
        device: auto, cpu, cuda, cuda:1, mps ...
        threads: CPU threads; networks this small gain little from a second one.
    """
    options: dict[str, Any] = DEMO | {"out": out, "seed": seed, "device": device, "threads": threads}
    options |= {} if steps is None else {"steps": steps}
    options |= {} if minutes is None else {"minutes": minutes}
    return _train(TrainConfig.of(**options))


def _train(config: TrainConfig) -> int:
    from redoseg.training import train

    return _trained(lambda: train(config, console=errors), config.out)


def _trained(train: Callable[[], Path], out: Path) -> int:
    """Train, and say what there is now; of several processes the first does."""
    from redoseg.distributed import speaks
    from redoseg.runfolder import RunFolder

    try:
        run = RunFolder(train())
    except KeyboardInterrupt:
        begun = RunFolder(out).exists
        cure = f"; to go on: redoseg resume {shlex.quote(str(out))}" if begun else " before it began"
        if speaks():
            print(f"\nstopped{cure}", file=sys.stderr)
        raise
    if not speaks():
        return 0
    if run.evaluation.is_file():
        from redoseg.evaluation import Evaluation

        _print_scores(Evaluation.from_dict(json.loads(run.evaluation.read_text())))
    pictures = sorted(run.samples.glob("*.png"))
    print(f"input, mask and redraws: {pictures[-1]}")
    print(f"masks for your photos:   redoseg segment {shlex.quote(str(run.path))} PHOTOS --out MASKS")
    return 0


def _print_scores(evaluation: "Evaluation") -> None:
    from redoseg.report import scores_table

    output.print(scores_table(evaluation))


def _fail(message: str) -> int:
    print(f"redoseg: {' '.join(message.split())}", file=sys.stderr)
    return 1


def _out_of_memory(error: BaseException) -> bool:
    said = str(error).lower()
    named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return named or "out of memory" in said or "can't allocate memory" in said


if __name__ == "__main__":
    sys.exit(main())
