"""What a run says of a model taken from it: a run's checkpoint to its card."""

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from redoseg.config import DistillConfig, TrainConfig
from redoseg.config.distill import student_options
from redoseg.data.dataset import choose_scored_split
from redoseg.data.native.sources import parse_native
from redoseg.errors import ModelError
from redoseg.files import read_json
from redoseg.models.card import ROWS, Card
from redoseg.models.model import Model
from redoseg.models.run_folder import RunFolder
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
    """The card of one of the run's checkpoints, without sums of files yet.

    Scores are those in `evaluation` (None: the run's evaluation.json) if they are of this checkpoint; `split`
    is what they were made on (None: what the run is scored on). ModelError for what can't be read.
    """
    described = read_json(run.description)
    config, begun = run.config(), run.original_config()
    out, chosen = f"runs/{name}", {"rule": model.rule, "steps": model.step}
    lines, teacher, options = [], None, without_paths(config, out)
    if isinstance(begun, DistillConfig):
        options = student_options(options)
        taught = described.get("teacher") or {}
        teacher = {"rule": taught.get("rule"), "steps": taught.get("step"), "ema": taught.get("ema")}
        lines += _teachers_line(begun, f"{out}-teacher", teacher)
        lines.append(distill_line(begun, run=f"{out}-teacher", out=out, steps=_end(run, begun, chosen)))
    else:
        lines.append(train_line(config, out=out, steps=_end(run, config, chosen)))
    return Card(
        name=name,
        subject=_subject(config, begun),
        data=_data(config, described),
        options=options,
        rule=model.rule,
        steps=model.step,
        ema=model.ema,
        teacher=teacher,
        scores=_scores(evaluation or run.evaluation, model, split or _scored_split(described)),
        commands=tuple(lines),
        trained_with=_trained_with(described),
        version=__version__,
        sha256={},
        supervision=model.supervision,
    )


def _trained_with(described: dict[str, Any]) -> dict[str, Any]:
    device = described.get("device", {})
    return described.get("versions", {}) | {"device": device.get("type"), "threads": device.get("threads")}


def _end(run: RunFolder, config: TrainConfig | DistillConfig, chosen: dict[str, Any]) -> int:
    """To which step a run must go for the same to be chosen: where there was a choice, to the run's end."""
    if chosen["rule"] in ("last", "step") and chosen["steps"] is not None:
        return int(chosen["steps"])
    if run.last.is_file():
        return int(load_tensors(run.last, ())[1].get("step", config.steps))
    return config.steps


def _teachers_line(config: DistillConfig, out: str, chosen: dict[str, Any]) -> list[str]:
    """Nothing where the teacher isn't any more."""
    run = RunFolder(config.run)
    if not run.exists:
        return []
    teacher = run.config()
    return [train_line(teacher, out=out, steps=_end(run, teacher, chosen))]


def _subject(config: TrainConfig, begun: TrainConfig | DistillConfig) -> str:
    """What the data's names and the settings say; of a student the settings are its teacher's."""
    native = [parse_native(source) or (Path(source).name.lower(), None) for source in config.data]
    taught_by = RunFolder(begun.run) if isinstance(begun, DistillConfig) else None
    settings = taught_by.config().settings if taught_by and taught_by.exists else config.settings
    names = [settings, *(name for name, _ in native)]
    found = {subject for name in names for start, subject in _SUBJECTS.items() if name.startswith(start)}
    return found.pop() if len(found) == 1 else ""


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


def _scored_split(described: dict[str, Any]) -> str:
    """As run.json knows the splits; 'val' where it knows of no label."""
    splits = described["data"]["splits"]
    return choose_scored_split(lambda name: bool(splits.get(name, {}).get("labelled"))) or "val"


def _scores(file: Path, model: Model, split: str) -> dict[str, Any] | None:
    """None if there are none, or if they are of other weights."""
    if not file.is_file():
        return None
    found = read_json(file)
    try:
        of = found["checkpoint"]
        if (of["step"], of["ema"]) != (model.step, model.ema):
            return None
        return {"split": split, "images": found["images"], **{row: found[row] for row in ROWS}}
    except (KeyError, TypeError) as error:
        raise ModelError(f"{file} isn't what `redoseg evaluate --json` prints ({error})") from error


# The command that makes a run again, from the options it was begun with

_OF_THE_MACHINE = ("data", "out", "device", "cache", "minutes")
"""Options that only say where and how long on one machine; what they amount to is data, name and steps."""


def train_line(config: TrainConfig, *, out: str, steps: int) -> str:
    """`redoseg train` that ends at `steps` with what `config` (resolved) ends at there. `out` is its folder.

    Data is named without its folders.
    """
    usual = TrainConfig.of(
        recipe=config.recipe, settings=config.settings, data=config.data, out=config.out, size=config.size
    ).resolved()
    told = {"recipe": "default", "settings": "none", "size": TrainConfig.size}
    words = ["redoseg", "train", *map(_word, config.data), "--out", out]
    return shlex.join([*words, *_option_words(vars(config), vars(usual) | told | {"steps": None}, steps)])


def distill_line(config: DistillConfig, *, run: str, out: str, steps: int) -> str:
    """`redoseg distill`, as `train_line`. `run` is the teacher's folder."""
    usual = vars(DistillConfig(run=config.run, out=config.out)) | {"run": config.run, "steps": None}
    words = ["redoseg", "distill", run, "--out", out]
    words += ["--data", *map(_word, config.data)] if config.data else []
    return shlex.join([*words, *_option_words(vars(config), usual, steps)])


def without_paths(config: TrainConfig, out: str) -> dict[str, Any]:
    """Options as JSON, without a path of the machine at hand; `out` in place of its own."""
    options = config.as_json()
    own = {"data": [_word(source) for source in config.data], "out": out, "cache": None, "mnist": None}
    own["labelled"] = config.labelled and _word(config.labelled)
    return options | own | {"device": "auto"}


def _option_words(values: dict[str, Any], usual: dict[str, Any], steps: int) -> Iterator[str]:
    for name, value in (values | {"steps": steps}).items():
        if name in _OF_THE_MACHINE or value == usual[name]:
            continue
        option = name.replace("_", "-")
        if isinstance(value, bool):
            yield f"--{option}" if value else f"--no-{option}"
        else:
            parts = value if isinstance(value, tuple) else (value,)
            yield from (f"--{option}", *(_word(part) for part in parts))


def _word(value: object) -> str:
    """A value as a word; of a path, also in `lfw:DIR`, its last part, which is the same on every machine."""
    text = str(value)
    native = parse_native(text) if isinstance(value, str) else None
    if native is not None:
        return f"{native[0]}:{_word(native[1])}"
    is_path = isinstance(value, Path) or "/" in text or "\\" in text
    if not is_path:
        return text
    last = text.replace("\\", "/").rstrip("/").rpartition("/")[2] or text
    return last if parse_native(last) is None else f"./{last}"
