"""Rounds of students: each teaches the next one, as long as they get better by `Verdict.worth`."""

import dataclasses
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from rich.console import Console

from redoseg.config import DistillConfig
from redoseg.config.checks import free_to_change
from redoseg.distillation.distill import distill, open_teacher
from redoseg.errors import ConfigError, ModelError
from redoseg.files import read_json, write_json
from redoseg.label_free.verdict import MEASURE, Verdict
from redoseg.models.run_folder import RunFolder
from redoseg.tensors import pick_device
from redoseg.training.distributed import is_distributed, process_group
from redoseg.training.log import say

MOST = 4
"""Rounds of `--rounds auto`, if the score rises in all of them."""


@dataclass(frozen=True)
class Rounds:
    """OUT/rounds.json: at most `most` students, the first of `config.run`, each further one of the student
    before it, in OUT/rounds/1, 2, ... scores: `Verdict.worth` of those that are trained; chosen: the
    round that OUT goes on with, None until it is chosen."""

    config: DistillConfig
    most: int
    scores: tuple[float, ...] = ()
    chosen: int | None = None

    @classmethod
    def read(cls, folder: RunFolder) -> Self:
        """Read rounds.json. ModelError if it can't be read."""
        fields = read_json(folder.rounds)
        try:
            config, scores = DistillConfig.from_json(fields["config"]), tuple(fields["scores"])
            return cls(**fields | {"config": config, "scores": scores})
        except (KeyError, TypeError, AttributeError) as error:
            trouble = f"{folder.rounds} doesn't describe rounds of this version ({error})"
            raise ModelError(trouble) from error

    def as_json(self) -> dict[str, Any]:
        return vars(self) | {"config": self.config.as_json()}

    def config_of_round(self, number: int) -> DistillConfig:
        """The options of the student of a round, from 1. From the second one on its teacher is a student, the
        last checkpoint of which teaches at the student's size."""
        folder = RunFolder(self.config.out)
        config = dataclasses.replace(self.config, out=folder.round_folder(number))
        if number == 1:
            return config
        return dataclasses.replace(
            config,
            run=folder.round_folder(number - 1),
            checkpoint="last",
            weights=None,
            targets="refined",
            synthetic=None,
        )

    @property
    def best(self) -> int:
        """The round with the highest score, the first of equals."""
        return 1 + self.scores.index(max(self.scores))

    @property
    def finished(self) -> bool:
        """Whether a further round isn't worth its time: the last one was no better than one before it."""
        return len(self.scores) == self.most or (bool(self.scores) and self.best < len(self.scores))


def distill_rounds(
    config: DistillConfig, *, rounds: int | str = "auto", console: Console | None = None
) -> Path:
    """`distill`, at most so many times ("auto": 4): every further student learns the refined masks of the one
    before it. Returns the folder of the best student by `Verdict.worth`, `config.out`.

    No mask is read for the choice. A further round is begun only if the last one's score was the highest so
    far. Called again, it goes on where it stopped. Raises what `distill` does, and ConfigError for rounds
    below 1 and for several rounds in several processes.
    """
    most, console = _count(rounds), console or Console(stderr=True)
    if most == 1:
        return distill(config, console=console)
    folder = RunFolder(config.out)
    planned = _plan(config, most, folder)
    if not folder.exists:
        with folder.locked():
            planned = _train_and_choose(_plan(config, most, folder), folder, console)
    assert planned.chosen is not None
    for number in range(1, 1 + len(planned.scores)):
        shutil.rmtree(RunFolder(folder.round_folder(number)).targets, ignore_errors=True)
    chosen = planned.config_of_round(planned.chosen)
    return distill(dataclasses.replace(chosen, out=config.out), console=console)


def resume_rounds(path: Path, *, console: Console | None = None, **changed: Any) -> Path:
    """Go on with the rounds in a folder, with some options `changed`. As `distill_rounds`."""
    original = Rounds.read(RunFolder(path))
    config = dataclasses.replace(original.config, out=path, **changed)
    return distill_rounds(config, rounds=original.most, console=console)


def verdict_of(run: RunFolder) -> Verdict:
    """The verdict on a finished run, to compare it with others. ModelError if another version judged it, by
    another measure."""
    fields = read_json(run.verdict)
    if fields.get("measure") != MEASURE:
        raise ModelError(
            f"{run.path} was judged by another version of redoseg, which compares students in another way: "
            "begin anew with another --out, or finish it with that version"
        )
    return Verdict.from_json(fields)


def keep_student(student: RunFolder, folder: RunFolder) -> None:
    """Copy a finished student to `folder`, as a run that lies there."""
    there = {"out": str(folder.path)}
    student.copy_to(
        folder, lambda fields: fields | {name: fields[name] | there for name in ("config", "distill")}
    )


def _count(rounds: int | str) -> int:
    if rounds == "auto":
        most = MOST
    elif str(rounds).isdecimal() and int(rounds) > 0:
        most = int(rounds)
    else:
        raise ConfigError(f"--rounds is {rounds}: give a number from 1 on, or auto")
    if most > 1 and is_distributed():
        with process_group():  # so that only one process prints the error
            raise ConfigError("--rounds is for one process: distill from each student by itself in several")
    return most


def _plan(config: DistillConfig, most: int, folder: RunFolder) -> Rounds:
    """The rounds that the folder holds, or new ones. ConfigError if the folder's have other options."""
    planned = Rounds(config, most)
    if not folder.rounds.is_file():
        if folder.exists:
            raise ConfigError(f"{folder.path} was begun without --rounds: leave it out, or use another --out")
        folder.check_compatible(config)
        return planned
    original = Rounds.read(folder)
    if not original.scores and not RunFolder(folder.round_folder(1)).last.is_file():
        return planned  # nothing is trained yet, so options may still change
    free = free_to_change(DistillConfig)
    given = {"rounds": most} | config.as_json()
    folder.refuse_changes({"rounds": original.most} | original.config.as_json(), given, free)
    first = RunFolder(folder.round_folder(1))
    taught_by = read_json(first.description)["teacher"]["weights"]
    if open_teacher(config, pick_device(config.device)).identity["weights"] != taught_by:
        raise ConfigError(
            f"{config.run} at --checkpoint {config.checkpoint} isn't what taught {first.path}: it was "
            "trained further, or is another one; begin anew with another --out"
        )
    return dataclasses.replace(original, config=config)


def _train_and_choose(rounds: Rounds, folder: RunFolder, console: Console) -> Rounds:
    """Train the remaining rounds, and copy the best one to OUT. If it is killed, it can be called again."""
    trained = range(1, 1 + len(rounds.scores))  # an earlier version noted the label-free score alone
    worth = tuple(verdict_of(RunFolder(folder.round_folder(number))).worth for number in trained)
    rounds = dataclasses.replace(rounds, scores=worth)
    write_json(folder.rounds, rounds.as_json())
    while not rounds.finished and rounds.chosen is None:
        config = rounds.config_of_round(len(rounds.scores) + 1)
        say(console, f"round {len(rounds.scores) + 1} of at most {rounds.most}, in {config.out}")
        run = RunFolder(distill(config, console=console))
        rounds = dataclasses.replace(rounds, scores=(*rounds.scores, verdict_of(run).worth))
        write_json(folder.rounds, rounds.as_json())
    if rounds.chosen is None:
        rounds = dataclasses.replace(rounds, chosen=rounds.best)
        scores = ", ".join(f"{score:.3f}" for score in rounds.scores)
        said = "label-free scores of the rounds, times steadiness (twice below .65) and roots of sure shares"
        say(console, f"{said}: {scores}. Keeping round {rounds.chosen}")
        write_json(folder.rounds, rounds.as_json())
    assert rounds.chosen is not None
    keep_student(RunFolder(folder.round_folder(rounds.chosen)), folder)
    return rounds
