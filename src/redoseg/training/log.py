"""A run's reports: `run.json` and `metrics.jsonl` for programs, lines and a progress bar for people."""

import json
import platform
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
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
from redoseg.files import paths_from
from redoseg.training.distributed import SingleProcess
from redoseg.version import __version__


def description(config: TrainConfig, data: dict[str, object], device: torch.device) -> dict[str, Any]:
    """The content of run.json: every option, the data, and what the last bits depend on: versions, device."""
    return {
        "config": config.as_json(),
        "data_from_here": paths_from(config.out, config.data),
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
    """The line that is printed when a run is resumed."""
    if step < steps:
        return f"going on with {out} at step {step}"
    return f"{out} has done all its steps, {step}: more with --steps"


def say(console: Console, text: str) -> None:
    """Print a line as it is: without markup and colours, and not wrapped."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def say_loudly(console: Console, text: str) -> None:
    """As `say`, in bold: that masks are read."""
    console.print(text, style="bold", markup=False, highlight=False, soft_wrap=True)


class MeanMetrics:
    """Means of the steps' metrics since the last line of the log. They are summed on the device, so that no
    step waits for it."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget the steps so far: the log has their means."""
        self._names: tuple[str, ...] = ()
        self._sums: Tensor | None = None
        self._count = 0

    def add(self, metrics: Mapping[str, Tensor]) -> None:
        """Add one step's metrics, scalars by name: the same names until the next reset."""
        values = torch.stack([*metrics.values()])
        values = values.to(torch.float32 if values.device.type == "mps" else torch.float64)
        self._sums = values if self._sums is None else self._sums.to(values) + values
        self._names, self._count = tuple(metrics), self._count + 1

    def average_over(self, group: SingleProcess) -> None:
        """Replace every process's sums by their mean, since each had a part of the same batches."""
        if self._sums is not None:
            group.all_reduce_mean_([self._sums])

    def means(self) -> dict[str, float]:
        """The means by name; empty before the first step."""
        sums = [] if self._sums is None else (self._sums / self._count).tolist()
        return dict(zip(self._names, sums, strict=True))

    @property
    def state(self) -> dict[str, Any]:
        """The sums for a checkpoint: with them a resumed run logs the same means as an unbroken one."""
        sums = [] if self._sums is None else self._sums.tolist()
        return {"steps": self._count, "sums": dict(zip(self._names, sums, strict=True))}

    def load_state(self, state: dict[str, Any] | None) -> None:
        """Restore what `state` returned; None, from older checkpoints, is no step."""
        self.reset()
        if state is not None and state["steps"]:
            self._names, self._count = tuple(state["sums"]), state["steps"]
            self._sums = torch.tensor([*state["sums"].values()], dtype=torch.float64)


class MetricsLog:
    """Appends JSON lines. Resuming cuts the file to `offset`, its length when the checkpoint was written."""

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
        self.first, self.noted = start, 0.0
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

    def __exit__(self, *error: object) -> None:
        self.live.stop()

    def restart(self) -> None:
        """Measure the speed anew, for an attempt that begins at step 0."""
        self.first, self.timed = 0, time.monotonic()

    def update(self, step: int, line: dict[str, Any] | None, score: str) -> None:
        """Show that `step` updates are done. `line` is the log's line of this step, if there is one."""
        if line is not None:
            losses = " ".join(f"{name} {value:.2f}" for name, value in line["losses"].items())
            self.status = f"{losses}  {_sizes(line['region_sizes'])}" + (f"  {score}" if score else "")
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
        elif line is not None and now - self.noted > 10:
            self.noted = now
            say(self.console, f"{pace}  {self.status}")

    def _lines(self) -> Group:
        # Two lines, so that nothing is lost on a terminal of 80 columns.
        return Group(self.bar, Text(self.status, no_wrap=True, overflow="ellipsis"))


def _sizes(regions: Sequence[float]) -> str:
    """The objects' shares of the images; what is left is the background's, the first of the regions."""
    objects = "/".join(f"{size:.2f}" for size in regions[1:])
    return f"{'object' if len(regions) == 2 else 'objects'} {objects} of the image"


def _clock(seconds: float) -> str:
    if seconds == float("inf"):
        return "?"
    minutes, seconds = divmod(int(max(seconds, 0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"
