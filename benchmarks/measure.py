"""What the benchmarks have in common: rivals timed in turn, the machine in words, a table, a JSON file.

Times on a shared machine mean little by themselves. So every round runs all rivals, one after the other, and
a ratio is the median over rounds of the ratio within a round.
"""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

Rivals = Mapping[str, Callable[[], object]]
Times = dict[str, list[float]]


def interleaved(
    rivals: Rivals, *, rounds: int, warmup: int = 1, wait: Callable[[], object] | None = None
) -> Times:
    """Seconds of each rival in each round; `wait` (CUDA: synchronise) is part of what is timed."""
    times: Times = {name: [] for name in rivals}
    for turn in range(warmup + rounds):
        for name, run in rivals.items():
            began = time.perf_counter()
            run()
            if wait is not None:
                wait()
            if turn >= warmup:
                times[name].append(time.perf_counter() - began)
    return times


def ratio(times: Times, slow: str, fast: str) -> float:
    """How many times as fast `fast` is as `slow`: the median over rounds."""
    return statistics.median(a / b for a, b in zip(times[slow], times[fast], strict=True))


def waiting(device: torch.device) -> Callable[[], object] | None:
    """What to call before a clock is read: CUDA works on after a call returns."""
    return torch.cuda.synchronize if device.type == "cuda" else None


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine(device: torch.device) -> dict[str, Any]:
    """The machine that figures were measured on."""
    described: dict[str, Any] = {
        "device": device.type,
        "processor": _processor(),
        "cores": cores(),
        "threads": torch.get_num_threads(),
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    if device.type == "cuda":
        described["gpu"] = torch.cuda.get_device_name(device)
    return described


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def arguments(description: str, *, size: int, batch: int) -> argparse.ArgumentParser:
    """The options that every benchmark has."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, help="CPU threads; none: PyTorch's choice")
    parser.add_argument("--size", type=int, default=size, help="side of the images in pixels")
    parser.add_argument("--batch", type=int, default=batch, help="images in a batch")
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds; figures are medians")
    parser.add_argument("--json", type=Path, help="write figures and the machine's description here")
    return parser


def table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """Print a table: the first column to the left, the others to the right."""
    drawn = Table(title=title, title_justify="left")
    for index, column in enumerate(columns):
        drawn.add_column(column, justify="left" if index == 0 else "right")
    for row in rows:
        drawn.add_row(*row)
    Console(width=max(100, Console().width)).print(drawn)


def write(path: Path | None, figures: dict[str, Any], device: torch.device) -> None:
    """Write `figures` and the machine as JSON, if there is a file to write to."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"machine": machine(device), **figures}, indent=2) + "\n")
