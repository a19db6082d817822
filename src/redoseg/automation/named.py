"""--starts, as people name them, to names of students and what teaches them. Imports no PyTorch: what is
refused is refused at once."""

import os
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from redoseg.config.distill import FIRST_LABELS, FIRST_PREFIX
from redoseg.errors import ConfigError, RedosegError
from redoseg.files import expanded
from redoseg.models.run_folder import RunFolder
from redoseg.models.shipped import ROOT, shipped_folder, shipped_names
from redoseg.models.source import ModelFolder, ModelSource, RunCheckpoint, find_model

GAME = "game"
"""The start that `auto` trains itself, in RUN/game, by the method of the paper."""
_MEANT = {"grabcut": "boxes", "kmeans": "clusters"}  # baselines, and the first labels made by them
_LONGEST = 60  # characters of a folder's name in a student's


def named_starts(given: Sequence[str]) -> dict[str, str]:
    """What teaches the first students, as `redoseg distill` takes it, by the students' names.

    ConfigError for a start that isn't there, that can't teach, or that is named twice.
    """
    starts: dict[str, str] = {}
    for text in given:
        name, teacher = _named(text)
        other = next((one for one in starts if one.casefold() == name.casefold()), None)
        if other is not None and starts[other] == teacher:
            raise ConfigError(f"--starts {text} is named twice: leave one out")
        if other is not None:
            raise ConfigError(f"--starts {text}: another start is called {other}, too; rename its folder")
        starts[name] = teacher
    return starts


def _named(text: str) -> tuple[str, str]:
    """The student's name and its teacher."""
    label = text.removeprefix(FIRST_PREFIX)
    if label == GAME:
        if text == GAME and expanded(text).exists():
            raise ConfigError(
                f"--starts {GAME}: there is a folder of that name here, which ./{GAME} names; "
                f"{FIRST_PREFIX}{GAME} is a game that auto trains itself"
            )
        return GAME, FIRST_PREFIX + GAME
    if label in FIRST_LABELS:
        return label, FIRST_PREFIX + label
    if not text or not (expanded(text).exists() or shipped_folder(text)):
        known = ", ".join((*FIRST_LABELS, GAME, *shipped_names()))
        meant = f"; masks made by {text} are called {_MEANT[text]} here" if text in _MEANT else ""
        raise ConfigError(
            f"--starts '{text}': there is no such folder; name a run's or a model's, or {known}{meant}"
        )
    try:
        return _named_model(find_model(text))
    except RedosegError as error:
        raise ConfigError(f"--starts {text}: {error}") from error


def _named_model(source: ModelSource) -> tuple[str, str]:
    if isinstance(source, RunCheckpoint):
        return _student_of(source.run.path), _absolute(source.run.path)
    if not isinstance(source, ModelFolder):
        raise ConfigError("masks alone can't teach: name the run that it was made from")
    if source.path.parent == ROOT:
        return source.path.name, str(source.path)
    if source.card() is None:
        run = Path(_absolute(source.path)).parent
        named = f"name {run}" if RunFolder(run).exists else "`redoseg export RUN` writes one"
        raise ConfigError(f"it has no card that says how it was made: {named}")
    return _student_of(source.path), _absolute(source.path)


def _student_of(folder: Path) -> str:
    """No name of first labels, of a shipped model or of a round, and good for a folder's on any disk."""
    return "of-" + re.sub(r"[^\w.-]+", "-", Path(_absolute(folder)).name)[:_LONGEST]


def _absolute(path: Path) -> str:
    return os.path.abspath(path)


def placed_starts(starts: Mapping[str, str], trained: Collection[str]) -> tuple[dict[str, str], list[str]]:
    """The starts of a plan, models that come with redoseg where they lie now, and the names of those that are
    left out: models that came with another version, unless their student is `trained`."""
    placed, gone = {}, []
    for name, teacher in starts.items():
        folder = Path(teacher)  # in .../redoseg/shipped, of whatever installation
        if folder.parent.parts[-2:] == ROOT.parts[-2:] and not folder.exists():
            now = shipped_folder(folder.name)
            if now is None and name not in trained:
                gone.append(name)
                continue
            teacher = str(now or teacher)
        placed[name] = teacher
    return placed, gone


def round_name(number: int) -> str:
    """What the student of a round is called; the students of first labels are those of round 1."""
    return f"round-{number}"
