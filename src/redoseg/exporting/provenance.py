"""The card of a run's checkpoint: data, options, scores, and the commands that train it again."""

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from redoseg.config import DistillConfig, TrainConfig
from redoseg.config.checks import option_words
from redoseg.config.distill import student_options
from redoseg.data.dataset import choose_scored_split
from redoseg.data.native.sources import parse_native
from redoseg.errors import ModelError
from redoseg.files import read_json
from redoseg.models.card import AS_WRITTEN, ROWS, Card
from redoseg.models.model import Model
from redoseg.models.run_folder import RunFolder
from redoseg.models.shipped import ROOT, shipped_folder
from redoseg.models.weights import load_tensors
from redoseg.version import __version__

_SUBJECTS = {
    "lfw": "faces",
    "faces": "faces",
    "flowers": "flowers",
    "cub": "birds",
    "digits": "digits",
    "digit": "digits",
}
_UCI = (
    "drawn with scikit-learn's copy of Optical Recognition of Handwritten Digits (Alpaydin and Kaynak, UCI)"
)
_DRAWN = {
    "digits": f"scenes of two handwritten digits, {_UCI}",
    "digit": f"scenes of one handwritten digit, {_UCI}",
}
_UCI_LICENCE = "CC BY 4.0 (UCI Machine Learning Repository)"


def card_of_run(
    run: RunFolder, model: Model, name: str, *, evaluation: Path | None = None, split: str | None = None
) -> Card:
    """The card of one of the run's checkpoints, without the sums of its files.
    Its scores are those in `evaluation` (None: the run's evaluation.json), if they are of this checkpoint,
    and were made on `split` (None: the split on which the run is scored). ModelError for unreadable files."""
    described = read_json(run.description)
    config, original = run.config(), run.original_config()
    out, chosen = f"runs/{name}", {"rule": model.rule, "steps": model.step}
    teacher, options = None, without_paths(config, out)
    if isinstance(original, DistillConfig):
        options, teacher = student_options(options), _teacher_of(run)
    device, splits = described.get("device", {}), described["data"]["splits"]
    if split is None:
        split = choose_scored_split(lambda name: bool(splits.get(name, {}).get("labelled"))) or "val"
    return Card(
        name=name,
        subject=_subject(config, original),
        data=_data(config, described),
        options=options,
        rule=model.rule,
        steps=model.step,
        ema=model.ema,
        teacher=teacher,
        scores=_scores(evaluation or run.evaluation, model, split),
        commands=tuple(_command_lines(run, chosen, out)),
        trained_with=described.get("versions", {})
        | {"device": device.get("type"), "threads": device.get("threads")},
        version=__version__,
        sha256={},
        supervision=model.supervision,
    )


def _teacher_of(run: RunFolder) -> dict[str, Any]:
    """Rule, steps and ema of what taught a student."""
    entry = read_json(run.description).get("teacher") or {}
    return {"rule": entry.get("rule"), "steps": entry.get("step"), "ema": entry.get("ema")}


def _command_lines(
    run: RunFolder, chosen: dict[str, Any], out: str, seen: tuple[Path, ...] = ()
) -> list[str]:
    """The commands that make the run in the folder `out`: before a student's that of its teacher, as far as
    that is there. `seen`: the runs whose commands follow."""
    original = run.original_config()
    steps = _last_step(run, original, chosen)
    if not isinstance(original, DistillConfig):
        return _game_lines(run, out, steps, seen)
    teacher, found, folder = _teacher_of(run), RunFolder(original.run), f"{out}-teacher"
    shipped = original.run.name if original.run.parent == ROOT else str(original.run)
    if shipped_folder(shipped) or teacher["rule"] == "first labels":
        return [distill_line(original, run=shipped, out=out, steps=steps)]
    # A path that was used again, in a circle even, holds another run than the one that taught.
    known = found.exists and found.path.resolve() not in seen
    before = _command_lines(found, teacher, folder, (*seen, run.path.resolve())) if known else []
    return [*before, distill_line(original, run=folder, out=out, steps=steps)]


def _game_lines(run: RunFolder, out: str, steps: int, seen: tuple[Path, ...]) -> list[str]:
    """The command of a game, after those of the run that it begins with (--start), if that is there."""
    config = run.config()
    line = train_line(config, out=out, steps=steps)
    found = None if config.start is None else RunFolder(Path(config.start))
    if found is None or not found.exists or found.path.resolve() in seen:
        return [line]
    folder, last = f"{out}-start", {"rule": "last", "steps": None}
    named = shlex.join(["--start", _word(config.start)])
    before = _command_lines(found, last, folder, (*seen, run.path.resolve()))
    return [*before, line.replace(named, f"--start {folder}")]


def _last_step(run: RunFolder, config: TrainConfig | DistillConfig, chosen: dict[str, Any]) -> int:
    """The step to which a run must go to choose the same checkpoint: its end if it was chosen by a score."""
    if chosen["rule"] in ("last", "step") and chosen["steps"] is not None:
        return int(chosen["steps"])
    if run.last.is_file():
        return int(load_tensors(run.last, ())[1].get("step", config.steps))
    return config.steps


def _subject(config: TrainConfig, original: TrainConfig | DistillConfig) -> str:
    """The subject by the data's names and by the settings, which for a student are its teacher's."""
    native = [parse_native(source) or (Path(source).name.lower(), None) for source in config.data]
    teacher = RunFolder(original.run) if isinstance(original, DistillConfig) else None
    settings = teacher.config().settings if teacher and teacher.exists else config.settings
    names = [settings, *(name for name, _ in native)]
    subjects = {subject for name in names for start, subject in _SUBJECTS.items() if name.startswith(start)}
    return subjects.pop() if len(subjects) == 1 else ""


def _data(config: TrainConfig, described: dict[str, Any]) -> dict[str, Any]:
    data = described["data"]
    drawn = config.data[0] if len(config.data) == 1 and config.mnist is None else ""
    return {
        "name": data["name"],
        "text": _DRAWN.get(drawn, str(data["name"])),
        "licence": _UCI_LICENCE if drawn in _DRAWN else None,
        "images": data["splits"]["train"]["images"],
        "fingerprint": data["fingerprint"],
    }


def _scores(file: Path, model: Model, split: str) -> dict[str, Any] | None:
    """The scores in a file; None if there are none, or if they are of other weights."""
    if not file.is_file():
        return None
    evaluation = read_json(file)
    try:
        checkpoint = evaluation["checkpoint"]
        if (checkpoint["step"], checkpoint["ema"]) != (model.step, model.ema):
            return None
        written = {AS_WRITTEN: evaluation[AS_WRITTEN]} if evaluation.get(AS_WRITTEN) else {}
        rows = written | {row: evaluation[row] for row in ROWS}
        return {"split": split, "images": evaluation["images"], **rows}
    except (KeyError, TypeError) as error:
        raise ModelError(f"{file} isn't what `redoseg evaluate --json` prints ({error})") from error


_OF_THE_MACHINE = ("data", "out", "device", "cache", "minutes")
"""Options left out of commands, as they only state where, and for how long, a run was trained."""


def train_line(config: TrainConfig, *, out: str, steps: int) -> str:
    """The command `redoseg train` that trains to `steps` as `config` (resolved) does, in the folder `out`.
    Data is named without its folders."""
    defaults = TrainConfig.of(
        recipe=config.recipe, settings=config.settings, data=config.data, out=config.out, size=config.size
    ).resolved()
    stated = {"recipe": "default", "settings": "none", "size": TrainConfig.size, "steps": None}
    words = ["redoseg", "train", *map(_word, config.data), "--out", out]
    return shlex.join([*words, *_option_words(vars(config), vars(defaults) | stated, steps)])


def distill_line(config: DistillConfig, *, run: str, out: str, steps: int) -> str:
    """The command `redoseg distill`, as `train_line`. `run` is the teacher's folder."""
    defaults = vars(DistillConfig(run=config.run, out=config.out)) | {"run": config.run, "steps": None}
    words = ["redoseg", "distill", run, "--out", out]
    words += ["--data", *map(_word, config.data)] if config.data else []
    return shlex.join([*words, *_option_words(vars(config), defaults, steps)])


def without_paths(config: TrainConfig, out: str) -> dict[str, Any]:
    """Options as JSON, without paths of the machine, and with the folder `out`."""
    options = config.as_json()
    own = {"data": [_word(source) for source in config.data], "out": out, "cache": None, "mnist": None}
    own["labelled"] = config.labelled and _word(config.labelled)
    own["start"] = config.start and _word(config.start)
    return options | own | {"device": "auto"}


def _option_words(values: dict[str, Any], defaults: dict[str, Any], steps: int) -> Iterator[str]:
    """The options that differ from `defaults`, and --steps, as words of a command."""
    for name, value in (values | {"steps": steps}).items():
        if name not in _OF_THE_MACHINE and value != defaults[name]:
            yield from option_words(name, value, _word)


def _word(value: object) -> str:
    """A value as a word; for a path, also in `lfw:DIR`, its last part, which is the same on every machine."""
    text = str(value)
    native = parse_native(text) if isinstance(value, str) else None
    if native is not None:
        return f"{native[0]}:{_word(native[1])}"
    is_path = isinstance(value, Path) or "/" in text or "\\" in text
    if not is_path:
        return text
    last = text.replace("\\", "/").rstrip("/").rpartition("/")[2] or text
    return last if parse_native(last) is None else f"./{last}"
