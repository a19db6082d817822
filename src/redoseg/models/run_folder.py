"""A run's folder: the names of its files, what it was trained with, and who trains it now."""

import logging
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from redoseg.config import DistillConfig, TrainConfig
from redoseg.config.checks import free_to_change
from redoseg.errors import ConfigError, ModelError
from redoseg.files import leftovers, read_json

_log = logging.getLogger("redoseg.models")


class RunFolder:
    """Names of a run's files."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.description = path / "run.json"
        self.metrics = path / "metrics.jsonl"
        self.checkpoints = path / "checkpoints"
        self.last = self.checkpoints / "last.safetensors"
        self.best = self.checkpoints / "best.safetensors"
        self.label_free = self.checkpoints / "label-free.safetensors"
        self.samples = path / "samples"
        self.evaluation = path / "evaluation.json"
        self.model = path / "model"
        self.tries = path / "tries.json"

    @property
    def exists(self) -> bool:
        return self.description.is_file()

    @property
    def trying(self) -> bool:
        """Whether it holds tries of several seeds, none of which has become the run yet."""
        return self.tries.is_file() and not self.exists

    def try_folder(self, seed: int) -> Path:
        """Folder of the short run with that seed."""
        return self.path / "tries" / f"seed-{seed}"

    @property
    def distilled(self) -> bool:
        """Whether it holds a run of `redoseg distill`. ModelError as `config`."""
        return self.exists and isinstance(self.original_config(), DistillConfig)

    def step(self, step: int) -> Path:
        return self.checkpoints / f"step-{step:07d}.safetensors"

    def sample(self, step: int) -> Path:
        return self.samples / f"step-{step:07d}.png"

    def kept_steps(self) -> list[int]:
        return sorted(_steps(self.checkpoints.glob("*.safetensors")).values())

    def newer_than(self, step: int) -> list[Path]:
        """Checkpoints and pictures of later steps."""
        files = _steps([*self.checkpoints.glob("*.safetensors"), *self.samples.glob("*.png")])
        return [file for file, at in files.items() if at > step]

    def remove_newer_than(self, step: int, *unknown: Path) -> None:
        """Remove what a run that has come to `step` knows nothing of: files of later steps, those that it
        says are `unknown` to it, at step 0 the model and its scores, and what killed writes left."""
        for file in (*self.newer_than(step), *unknown):
            file.unlink(missing_ok=True)
        if not step:
            self.evaluation.unlink(missing_ok=True)
            shutil.rmtree(self.model, ignore_errors=True)
        for folder in (self.path, self.checkpoints, self.samples):
            for left in leftovers(folder):
                shutil.rmtree(left) if left.is_dir() else left.unlink(missing_ok=True)

    def config(self) -> TrainConfig:
        """The run's options. ModelError if run.json is not one of ours."""
        with self._described() as description:
            return TrainConfig.from_json(description["config"])

    def fingerprint(self) -> str:
        """Of the data trained on. ModelError as `config`."""
        with self._described() as description:
            return str(description["data"]["fingerprint"])

    def original_config(self) -> TrainConfig | DistillConfig:
        """The options of the command that began the run. ModelError as `config`."""
        with self._described() as description:
            if "distill" in description:
                return DistillConfig.from_json(description["distill"])
            return TrainConfig.from_json(description["config"])

    @contextmanager
    def _described(self) -> Iterator[dict[str, Any]]:
        """What run.json holds; within, what isn't in it is a ModelError."""
        try:
            yield read_json(self.description)
        except (KeyError, TypeError, AttributeError) as error:
            raise ModelError(
                f"{self.description} doesn't describe a run of this version ({error})"
            ) from error

    def check_compatible(self, config: TrainConfig | DistillConfig) -> None:
        """ConfigError, naming the option, if the folder holds a run with other options, or something else."""
        self.refuse_tries()
        if not self.exists:
            if self.path.exists() and (not self.path.is_dir() or {*self.path.iterdir()} - self._unused()):
                raise ConfigError(f"{self.path} is there and is no run: choose another --out")
            return
        if not self.last.is_file():
            return  # nothing is trained yet: a mistake found at the first steps may be mended
        begun = self.original_config()
        if type(begun) is not type(config):
            command = "distill" if isinstance(begun, DistillConfig) else "train"
            raise ConfigError(
                f"{self.path} is a run of `redoseg {command}`: choose another --out (`redoseg resume "
                f"{self.path}` goes on with it)"
            )
        self.refuse_changes(begun.as_json(), config.as_json(), free_to_change(type(config)))

    def refuse_tries(self) -> None:
        """ConfigError if it is no run yet, but will be one."""
        if self.trying:
            raise ConfigError(
                f"{self.path} holds tries, and none has become the run yet: `redoseg resume {self.path}` "
                "goes on with them"
            )

    def refuse_changes(self, begun: dict[str, Any], now: dict[str, Any], free: frozenset[str]) -> None:
        """ConfigError, naming the first option that is not `now` what it was, unless it is free to change."""
        for name, value in begun.items():
            if now[name] != value and name not in free:
                option = "--" + name.replace("_", "-")
                raise ConfigError(
                    f"{self.path} was trained with {option} {value}, not {now[name]}: use that, or another "
                    f"--out (`redoseg resume {self.path}` goes on as it was)"
                )

    def _unused(self) -> set[Path]:
        return {*leftovers(self.path), self.path / ".lock"}

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps a second process from training this run. The lock goes with the process, however it ends."""
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
    """The files that are named after a step; whatever else lies there is somebody's own."""
    found = {file: _STEP.fullmatch(file.name) for file in files}
    return {file: int(match[1]) for file, match in found.items() if match}
