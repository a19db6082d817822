"""Train several runs, some at a time: finished runs are left as they are, interrupted ones are resumed."""

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

_REPORT_EVERY = 30.0  # seconds between two lines of progress


def train_all(configs: Sequence[TrainConfig], *, jobs: int, console: Console) -> None:
    """Train what isn't trained yet, `jobs` runs at a time, each in a process of its own if more than one.

    A run that collapses or diverges for good is left with the reason in `failed.json` and is not tried again.
    Interrupted, every run has saved its state when KeyboardInterrupt is raised.
    """
    unfinished = [config for config in configs if not is_finished(config)]
    if unfinished:
        done = len(configs) - len(unfinished)
        _print(console, f"{len(unfinished)} runs to train" + (f", {done} are done" if done else ""))
    if jobs == 1 or len(unfinished) < 2:
        for config in unfinished:
            _print(console, f"{config.out}: {config.steps} steps")
            _train_one(config, console)
    else:
        tasks, progress = (
            [partial(_train_one, config) for config in unfinished],
            partial(_describe_progress, unfinished),
        )
        run_in_processes(tasks, jobs=jobs, console=console, describe_progress=progress)


def is_finished(config: TrainConfig) -> bool:
    """Whether a run was trained to its end, or failed for good. ConfigError if it has other options."""
    if failure_reason(config.out) is not None:
        return True
    folder = RunFolder(config.out)
    if not folder.model.is_dir() or last_step(config.out) < config.steps:
        return False
    folder.check_compatible(config)
    return True


def failure_reason(run: Path) -> str | None:
    """Why a run ended before its last step, None if it didn't."""
    file = run / "failed.json"
    return str(read_json(file)["reason"]) if file.is_file() else None


def last_step(run: Path) -> int:
    """The last step in the run's log; 0 without a log."""
    return max((line["step"] for line in read_log(run) if "event" not in line), default=0)


def read_log(run: Path) -> Iterator[dict[str, Any]]:
    """The lines of the run's metrics.jsonl. A line that is still being written is left out."""
    file = RunFolder(run).metrics
    if file.is_file():
        for line in file.read_text(encoding="utf-8").splitlines(keepends=True):
            if line.endswith("\n"):
                yield json.loads(line)


def count_collapses(run: Path) -> int:
    """How often the run collapsed and was started again."""
    return sum(line.get("event") == "collapse" for line in read_log(run))


def _train_one(config: TrainConfig, console: Console | None = None) -> None:
    quiet = Console(quiet=True, force_terminal=False)
    try:
        train(config, console=console or quiet)
    except (CollapseError, DivergenceError) as error:
        write_json(config.out / "failed.json", {"reason": str(error)})
        _print(console or quiet, f"{config.out}: {error}")


def _describe_progress(configs: Sequence[TrainConfig]) -> str:
    steps = {config.out: last_step(config.out) for config in configs if not is_finished(config)}
    return ", ".join(f"{'/'.join(out.parts[-3:])} at {step}" for out, step in steps.items() if step)


def run_in_processes(
    tasks: Sequence[Callable[[], None]],
    *,
    jobs: int,
    console: Console,
    describe_progress: Callable[[], str] = lambda: "",
) -> None:
    """Do all tasks, `jobs` at a time, each in its own process; an error is raised once those running end."""
    pool = ProcessPoolExecutor(min(jobs, len(tasks)), mp_context=get_context("spawn"))
    try:
        pending, reported = {pool.submit(task) for task in tasks}, time.monotonic()
        while pending:
            done, pending = wait(pending, timeout=2.0, return_when="FIRST_COMPLETED")
            for future in done:
                future.result()
            if pending and time.monotonic() - reported > _REPORT_EVERY:
                reported, progress = time.monotonic(), describe_progress()
                _print(console, f"{len(pending)} of {len(tasks)} left{': ' if progress else ''}{progress}")
    finally:  # an interrupt reaches every process; a training saves its state before it ends
        pool.shutdown(wait=True, cancel_futures=True)


def _print(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
