"""A run's folder: the names of its files, the options and data in run.json, and the lock of its training."""

import json
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from redoseg.config import DistillConfig, TrainConfig
from redoseg.config.checks import free_to_change
from redoseg.errors import ConfigError, ModelError
from redoseg.files import (
    asides,
    expanded,
    leftovers,
    read_json,
    remove,
    write_aside,
    write_folder_aside,
    write_json,
)

_log = logging.getLogger("redoseg.models")


class RunFolder:
    """The folder of a run, with the paths of its files. Nothing is read or written until a method does so."""

    def __init__(self, path: Path) -> None:
        self.path = path = expanded(path)
        self.description = path / "run.json"
        self.metrics = path / "metrics.jsonl"
        self.checkpoints = path / "checkpoints"
        self.last = self.checkpoints / "last.safetensors"
        self.best = self.checkpoints / "best.safetensors"
        self.label_free = self.checkpoints / "label-free.safetensors"
        self.samples = path / "samples"
        self.evaluation = path / "evaluation.json"
        self.verdict = path / "verdict.json"
        self.report = path / "report.html"
        self.model = path / "model"
        self.tries = path / "tries.json"
        self.rounds = path / "rounds.json"
        self.automatic = path / "auto.json"
        self.trimmed = path / "trimmed"
        self.targets = path / "targets"
        self.corrected = path / "corrected"

    @property
    def exists(self) -> bool:
        return self.description.is_file()

    @property
    def trying(self) -> bool:
        """Whether it holds tries of several seeds (--tries), but no run yet."""
        return self.tries.is_file() and not self.exists

    @property
    def in_rounds(self) -> bool:
        """Whether it holds rounds of students (--rounds), but no run yet."""
        return self.rounds.is_file() and not self.exists

    @property
    def learned_trimmed(self) -> bool:
        """Whether `redoseg auto --trim` made it, so that it knows photos without their frames."""
        try:
            return bool(read_json(self.automatic)["config"].get("trim"))
        except (ModelError, KeyError, TypeError, AttributeError):  # lost or damaged: the model works
            return False

    def round_folder(self, number: int) -> Path:
        """The folder of the student of that round, from 1."""
        return self.path / "rounds" / str(number)

    def logged_score(self, step: int) -> float:
        """The label-free score in the run's log at that step. ModelError if there is none."""
        lines = map(json.loads, self.metrics.read_text(encoding="utf-8").splitlines())
        scores = [line["label_free"] for line in lines if line["step"] == step and "label_free" in line]
        if not scores:
            raise ModelError(
                f"{self.metrics} has no line of step {step}: delete {self.path}, which is then made anew"
            )
        return float(scores[-1])

    def copy_to(self, folder: "RunFolder", changed: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        """Copy the run's files, but its lock, with what run.json says `changed`. That comes last, as it makes
        the folder a run."""
        remove(leftovers(folder.path))  # of a copy that was cut off
        for piece in self.path.iterdir():
            if piece == self.description or piece.name.startswith("."):
                continue
            copy = folder.path / piece.name
            if piece.is_dir():
                write_folder_aside(copy, partial(shutil.copytree, piece))
            else:
                write_aside(copy, partial(shutil.copyfile, piece))
        write_json(folder.description, changed(read_json(self.description)))

    def try_folder(self, seed: int) -> Path:
        """The folder of the try with that seed."""
        return self.path / "tries" / f"seed-{seed}"

    @property
    def distilled(self) -> bool:
        """Whether it holds a run of `redoseg distill`. Raises as `config`."""
        return self.exists and isinstance(self.original_config(), DistillConfig)

    def step(self, step: int) -> Path:
        return self.checkpoints / f"step-{step:07d}.safetensors"

    def sample(self, step: int) -> Path:
        return self.samples / f"step-{step:07d}.png"

    def kept_steps(self) -> list[int]:
        return sorted(_steps(self.checkpoints.glob("*.safetensors")).values())

    def sampled_steps(self) -> list[int]:
        return sorted(_steps(self.samples.glob("*.png")).values())

    def remove_newer_than(self, step: int, *files: Path) -> None:
        """Remove checkpoints and pictures of steps after `step`, and the given `files`; at step 0 also the
        model and its scores, and always the leftovers of killed writes."""
        numbered = _steps([*self.checkpoints.glob("*.safetensors"), *self.samples.glob("*.png")])
        for file in (*(file for file, number in numbered.items() if number > step), *files):
            file.unlink(missing_ok=True)
        if not step:
            self.evaluation.unlink(missing_ok=True)
            self.verdict.unlink(missing_ok=True)
            self.report.unlink(missing_ok=True)
            shutil.rmtree(self.model, ignore_errors=True)
        for folder in (self.path, self.checkpoints, self.samples):
            remove(asides(folder))  # nobody else writes here: the run is locked

    def config(self) -> TrainConfig:
        """The run's options. ModelError if run.json can't be read."""
        with self._read_description() as description:
            return TrainConfig.from_json(description["config"])

    def fingerprint(self) -> str:
        """The fingerprint of the data that the run was trained on. Raises as `config`."""
        with self._read_description() as description:
            return str(description["data"]["fingerprint"])

    def images(self) -> int:
        """How many images the run was trained on. Raises as `config`."""
        with self._read_description() as description:
            return int(description["data"]["splits"]["train"]["images"])

    def find_data(self, data: Sequence[str]) -> tuple[str, ...]:
        """The run's `data`; what isn't there, seen from the working directory, from where run.json has it."""
        with self._read_description() as description:
            noted = description.get("data_from_here") or [None] * len(data)
        here = (None if place is None else os.path.normpath(self.path.absolute() / place) for place in noted)
        return tuple(
            place if place is not None and not os.path.exists(source) and os.path.exists(place) else source
            for source, place in zip(data, here, strict=True)
        )

    def original_config(self) -> TrainConfig | DistillConfig:
        """The options of the command that began the run. Raises as `config`."""
        with self._read_description() as description:
            if "distill" in description:
                return DistillConfig.from_json(description["distill"])
            return TrainConfig.from_json(description["config"])

    @contextmanager
    def _read_description(self) -> Iterator[dict[str, Any]]:
        """A context with the content of run.json, which raises ModelError for entries that are missing."""
        try:
            yield read_json(self.description)
        except (KeyError, TypeError, AttributeError, ConfigError) as error:
            trouble = f"{self.description} doesn't describe a run of this version ({error})"
            raise ModelError(trouble) from error

    def check_compatible(self, config: TrainConfig | DistillConfig) -> None:
        """Raise ConfigError, which names the option, if the folder holds a run with other options; also if
        it holds something else."""
        self.refuse_tries()
        if not self.exists:
            ignored = {*asides(self.path), self.path / ".lock", self.targets, self.corrected}
            if self.path.exists() and (not self.path.is_dir() or {*self.path.iterdir()} - ignored):
                raise ConfigError(f"{self.path} is there and is no run: choose another --out")
            return
        if not self.last.is_file():
            return  # nothing is trained yet, so options may still change
        original = self.original_config()
        if type(original) is not type(config):
            command = "distill" if isinstance(original, DistillConfig) else "train"
            raise ConfigError(
                f"{self.path} is a run of `redoseg {command}`: choose another --out (`redoseg resume "
                f"{self.path}` goes on with it)"
            )
        self.refuse_changes(original.as_json(), config.as_json(), free_to_change(type(config)))

    def check_begun(self) -> None:
        """Raise ConfigError if it holds nothing that `redoseg resume` could go on with."""
        if self.automatic.is_file():
            raise ConfigError(f"{self.path} was begun by `redoseg auto`: the same command goes on with it")
        if not (self.exists or self.tries.is_file() or self.rounds.is_file()):
            raise ConfigError(f"{self.path} holds no run: `redoseg train DATA --out {self.path}` begins one")

    def refuse_tries(self) -> None:
        """Raise ConfigError if the folder holds tries or rounds, but no run yet."""
        if self.trying or self.in_rounds:
            kind = "tries" if self.trying else "rounds"
            raise ConfigError(
                f"{self.path} holds {kind}, and none has become the run yet: `redoseg resume {self.path}` "
                "goes on with them"
            )

    def refuse_changes(self, original: dict[str, Any], now: dict[str, Any], free: frozenset[str]) -> None:
        """Raise ConfigError, which names the first option that has changed and isn't `free` to change."""
        for name, value in original.items():
            if now[name] != value and name not in free:
                option = "--" + name.replace("_", "-")
                raise ConfigError(
                    f"{self.path} was trained with {option} {value}, not {now[name]}: go back to that, or "
                    f"choose another --out (`redoseg resume {self.path}` goes on as it was)"
                )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """A context that keeps other processes from training this run. The lock ends with the process."""
        new = not self.path.exists()
        self.path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.path / ".lock", timeout=0)
        try:
            lock.acquire()
        except Timeout as error:
            raise ConfigError(f"another process is training {self.path}: wait, or stop it") from error
        except NotImplementedError:
            _log.warning(
                "%s is on a file system without locks: see that no other process trains it", self.path
            )
        try:
            yield
        finally:
            lock.release()
            if new and {*self.path.iterdir()} <= {self.path / ".lock"}:  # no run was begun
                shutil.rmtree(self.path)


_STEP = re.compile(r"step-(\d+)\.(safetensors|png)")


def _steps(files: Iterable[Path]) -> dict[Path, int]:
    """The files that are named after a step, with that step. Others are the user's own, and left out."""
    matches = {file: _STEP.fullmatch(file.name) for file in files}
    return {file: int(match[1]) for file, match in matches.items() if match}
