"""What a run says: `run.json` and `metrics.jsonl` for programs, a progress bar for people."""

import json
import platform
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import PIL
import torch
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.text import Text

from redoseg.config import TrainConfig
from redoseg.version import __version__


def description(config: TrainConfig, data: dict[str, object], device: torch.device) -> dict[str, Any]:
    """What run.json holds: every option, what the data is, versions, and what decides the last bits."""
    return {
        "config": config.as_json(),
        "data": data,
        "versions": {
            "redoseg": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
            "pillow": PIL.__version__,
        },
        "device": {"type": device.type, "threads": torch.get_num_threads()},
    }


def resumed(out: Path, step: int, steps: int) -> str:
    """The line with which a run is taken up again."""
    if step < steps:
        return f"going on with {out} at step {step}"
    return f"{out} has done all its steps, {step}: more with --steps"


class MetricsLog:
    """Appends JSON lines. `offset` is what a checkpoint keeps: what came after it is dropped on resuming."""

    def __init__(self, path: Path, offset: int = 0) -> None:
        self.path = path
        with open(path, "ab") as file:
            file.truncate(min(offset, file.tell()))

    def write(self, **line: Any) -> None:
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line, allow_nan=False) + "\n")

    @property
    def offset(self) -> int:
        return self.path.stat().st_size


class ProgressBar:
    """A live bar on a terminal; elsewhere a line now and then."""

    def __init__(
        self, console: Console, steps: int, start: int, batch: int, minutes_left: float | None
    ) -> None:
        self.console, self.steps, self.batch = console, steps, batch
        self.first, self.said = start, 0.0
        self.began = self.timed = time.monotonic()
        self.minutes_left = minutes_left
        self.status = ""
        self.bar = Progress(
            BarColumn(bar_width=20),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("{task.fields[pace]}"),
            console=console,
        )
        self.task: TaskID = self.bar.add_task("", total=1.0, pace="")
        self.live = Live(self._lines(), console=console, refresh_per_second=4, transient=True)

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.live.stop()

    def restart(self) -> None:
        """A new attempt begins at step 0: the speed is measured anew."""
        self.first, self.timed = 0, time.monotonic()

    def update(self, step: int, line: dict[str, Any] | None, score: str) -> None:
        """`step` updates are done; `line` is what the log got last."""
        if line is not None:
            losses = " ".join(f"{name} {value:.2f}" for name, value in line["losses"].items())
            sizes = "/".join(f"{size:.2f}" for size in line["region_sizes"])
            self.status = f"{losses}  sizes {sizes}" + (f"  {score}" if score else "")
        now = time.monotonic()
        elapsed = now - self.began
        rate = (step - self.first) / max(now - self.timed, 1e-9)
        left = (self.steps - step) / rate if rate > 0 else float("inf")
        share = step / self.steps
        if self.minutes_left is not None and 60 * self.minutes_left - elapsed < left:
            left = 60 * self.minutes_left - elapsed
            share = elapsed / (60 * self.minutes_left)
        pace = f"step {step}  {rate * self.batch:.0f} images/s  {_clock(left)} left"
        self.bar.update(self.task, completed=min(share, 1.0), pace=pace)
        if self.console.is_terminal:
            self.live.update(self._lines())
        elif line is not None and now - self.said > 10:
            self.said = now
            self.note(f"{pace}  {self.status}")

    def _lines(self) -> Group:
        # Two lines, so that nothing is lost on a terminal of 80 columns.
        return Group(self.bar, Text(self.status, no_wrap=True, overflow="ellipsis"))

    def note(self, text: str) -> None:
        """A line above the bar."""
        self.console.print(text, soft_wrap=True, highlight=False, markup=False)


def _clock(seconds: float) -> str:
    if seconds == float("inf"):
        return "?"
    minutes, seconds = divmod(int(max(seconds, 0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"
