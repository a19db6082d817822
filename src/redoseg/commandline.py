"""The command that makes a run again, from the options it was begun with."""

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from redoseg.config import TrainConfig
from redoseg.data.native import parsed
from redoseg.distillconfig import DistillConfig

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
    words = ["redoseg", "train", *map(_name, config.data), "--out", out]
    return shlex.join([*words, *_options(vars(config), vars(usual) | told | {"steps": None}, steps)])


def distill_line(config: DistillConfig, *, run: str, out: str, steps: int) -> str:
    """`redoseg distill`, as `train_line`. `run` is the teacher's folder."""
    usual = vars(DistillConfig(run=config.run, out=config.out)) | {"run": config.run, "steps": None}
    words = ["redoseg", "distill", run, "--out", out]
    words += ["--data", *map(_name, config.data)] if config.data else []
    return shlex.join([*words, *_options(vars(config), usual, steps)])


def without_paths(config: TrainConfig, out: str) -> dict[str, Any]:
    """Options as JSON, without a path of the machine at hand; `out` in place of its own."""
    options = config.as_json()
    own = {"data": [_name(source) for source in config.data], "out": out, "cache": None, "mnist": None}
    own["labelled"] = config.labelled and _name(config.labelled)
    return options | own | {"device": "auto"}


def _options(values: dict[str, Any], usual: dict[str, Any], steps: int) -> Iterator[str]:
    for name, value in (values | {"steps": steps}).items():
        if name in _OF_THE_MACHINE or value == usual[name]:
            continue
        option = name.replace("_", "-")
        if isinstance(value, bool):
            yield f"--{option}" if value else f"--no-{option}"
        else:
            parts = value if isinstance(value, tuple) else (value,)
            yield from (f"--{option}", *(_name(part) for part in parts))


def _name(value: object) -> str:
    """A value as a word; of a path, also in `lfw:DIR`, its last part, which is the same on every machine."""
    text = str(value)
    native = parsed(text) if isinstance(value, str) else None
    if native is not None:
        return f"{native[0]}:{_name(native[1])}"
    is_path = isinstance(value, Path) or "/" in text or "\\" in text
    if not is_path:
        return text
    last = text.replace("\\", "/").rstrip("/").rpartition("/")[2] or text
    return last if parsed(last) is None else f"./{last}"
