"""Several trainings, some at a time; those that are done are not made again, those begun are gone on with."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, wait
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from rich.console import Console

from redoseg.config import TrainConfig
from redoseg.errors import CollapseError, DivergenceError
from redoseg.files import read_json, write_json
from redoseg.models.run_folder import RunFolder
from redoseg.training.train import train

_LOOK = 30.0  # seconds between two lines on how far the runs are


def train_all(configs: Sequence[TrainConfig], *, jobs: int, console: Console) -> None:
    """Train what isn't trained yet, `jobs` runs at a time, each in a process of its own if more than one.

    A run that collapses or diverges for good is left with the reason in `failed.json` and is not tried again.
    Interrupted, every run has saved its state when KeyboardInterrupt is raised.
    """
    left = [config for config in configs if not finished(config)]
    if left:
        done = len(configs) - len(left)
        _say(console, f"{len(left)} runs to train" + (f", {done} are done" if done else ""))
    if jobs == 1 or len(left) < 2:
        for config in left:
            _say(console, f"{config.out}: {config.steps} steps")
            _train(config, console)
    else:
        _side_by_side(left, jobs, console)


def finished(config: TrainConfig) -> bool:
    """Whether it was trained to its end, or failed for good. ConfigError if it was with other options."""
    folder = RunFolder(config.out)
    if failure(config.out) is not None:
        return True
    if not folder.model.is_dir() or last_step(config.out) < config.steps:
        return False
    folder.check_compatible(config)
    return True


def failure(run: Path) -> str | None:
    """Why a run ended before its last step, None if it didn't."""
    file = run / "failed.json"
    return str(read_json(file)["reason"]) if file.is_file() else None


def last_step(run: Path) -> int:
    """The last step in its log; 0 without one."""
    return max((line["step"] for line in log(run) if "event" not in line), default=0)


def log(run: Path) -> Iterator[dict[str, Any]]:
    """The lines of its metrics.jsonl. A line that is being written is left out."""
    file = RunFolder(run).metrics
    if file.is_file():
        for line in file.read_text(encoding="utf-8").splitlines(keepends=True):
            if line.endswith("\n"):
                yield json.loads(line)


def collapses(run: Path) -> int:
    """How often it began again."""
    return sum(line.get("event") == "collapse" for line in log(run))


def _train(config: TrainConfig, console: Console | None = None) -> None:
    quiet = Console(quiet=True, force_terminal=False)
    try:
        train(config, console=console or quiet)
    except (CollapseError, DivergenceError) as error:
        write_json(config.out / "failed.json", {"reason": str(error)})
        _say(console or quiet, f"{config.out}: {error}")


def _side_by_side(configs: Sequence[TrainConfig], jobs: int, console: Console) -> None:
    def far() -> str:
        begun = {config.out: last_step(config.out) for config in configs if not finished(config)}
        return ", ".join(f"{_short(out)} at {step}" for out, step in begun.items() if step)

    work([partial(_train, config) for config in configs], jobs=jobs, console=console, far=far)


def work(
    tasks: Sequence[Callable[[], None]],
    *,
    jobs: int,
    console: Console,
    far: Callable[[], str] = lambda: "",
) -> None:
    """Do all, `jobs` at a time in processes of their own, with a line now and then on how `far` they are.

    The first error of one is raised as soon as it is there, once the others that run have ended.
    """
    pool = ProcessPoolExecutor(min(jobs, len(tasks)), mp_context=get_context("spawn"))
    try:
        pending, said = {pool.submit(task) for task in tasks}, time.monotonic()
        while pending:
            done, pending = wait(pending, timeout=2.0, return_when="FIRST_COMPLETED")
            for future in done:
                future.result()
            if pending and time.monotonic() - said > _LOOK:
                said, news = time.monotonic(), far()
                _say(console, f"{len(pending)} of {len(tasks)} left{': ' if news else ''}{news}")
    finally:  # an interrupt reaches every process; a training saves its state before it ends
        pool.shutdown(wait=True, cancel_futures=True)


def _short(run: Path) -> str:
    return "/".join(run.parts[-3:])


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
