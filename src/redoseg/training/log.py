"""What a run says: `run.json` and `metrics.jsonl` for programs, lines and a progress bar for people."""

import json
import platform
import time
from collections.abc import Mapping
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
from torch import Tensor

from redoseg.config import TrainConfig
from redoseg.training.distributed import SingleProcess
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


def resumed_text(out: Path, step: int, steps: int) -> str:
    """The line with which a run is taken up again."""
    if step < steps:
        return f"going on with {out} at step {step}"
    return f"{out} has done all its steps, {step}: more with --steps"


def say(console: Console, text: str) -> None:
    """A line as it is: no markup, no colours, not wrapped."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


class MeanMetrics:
    """Means of what steps report since the last line of the log, summed on the device: nothing waits."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """A line was written: what follows belongs to the next one."""
        self._names: tuple[str, ...] = ()
        self._sums: Tensor | None = None
        self._count = 0

    def add(self, metrics: Mapping[str, Tensor]) -> None:
        """What one step reports; the same names until the next reset."""
        values = torch.stack([*metrics.values()])
        values = values.to(torch.float32 if values.device.type == "mps" else torch.float64)
        self._sums = values if self._sums is None else self._sums.to(values) + values
        self._names, self._count = tuple(metrics), self._count + 1

    def average_over(self, group: SingleProcess) -> None:
        """Every process's sums become their mean: each saw its part of the same batches."""
        if self._sums is not None:
            group.all_reduce_mean_([self._sums])

    def means(self) -> dict[str, float]:
        """By name; empty before the first step."""
        sums = [] if self._sums is None else (self._sums / self._count).tolist()
        return dict(zip(self._names, sums, strict=True))

    @property
    def state(self) -> dict[str, Any]:
        """For a checkpoint: a resumed run's next line then has the means that an unbroken one's has."""
        sums = [] if self._sums is None else self._sums.tolist()
        return {"steps": self._count, "sums": dict(zip(self._names, sums, strict=True))}

    def load_state(self, state: dict[str, Any] | None) -> None:
        """What `state` gave; None, from a checkpoint that has none: nothing yet."""
        self.reset()
        if state is not None and state["steps"]:
            self._names, self._count = tuple(state["sums"]), state["steps"]
            self._sums = torch.tensor([*state["sums"].values()], dtype=torch.float64)


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
        say(self.console, text)


def _clock(seconds: float) -> str:
    if seconds == float("inf"):
        return "?"
    minutes, seconds = divmod(int(max(seconds, 0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"
