"""Shows that `kill -9` at any moment costs a run nothing: it resumes, and ends as if nothing had happened.

    python scripts/kill_test.py [--kills 10] [--seed 0] [--workdir DIR]

A small run is trained unbroken, then once more while it is killed with SIGKILL at random moments: while it
starts up, before its first checkpoint, between and amid writes. Twice on its way the run collapses and starts
again. In the end every file of the two runs is compared: tensors bit for bit, pictures byte for byte, log
lines apart from their times. Exit code 0 if nothing differs, else 1.
"""

import argparse
import json
import os
import random
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from redoseg.files import leftovers, read_json
from redoseg.models.run_folder import RunFolder
from redoseg.models.weights import load_tensors

SAVE_EVERY, STEPS = 4, 48
# Small, with something to write at nearly every step. With these values attempt 0 collapses at step 40,
# attempt 1 at step 5, attempt 2 lives.
OPTIONS = (
    "digit --size 32 --width 4 --g-width 4 --f-width 4 --f-blocks 1 --code-size 4 --batch 4 --seed 1 "
    "--lr 1e-3 --lr-f 5e-3 --lr-f-warmup 0 --ema-half-life 40 --collapse-below .22 --collapse-every 5 "
    f"--eval-every 6 --sample-every 7 --save-every {SAVE_EVERY} --steps {STEPS} --device cpu --threads 1"
)
TIMES = ("seconds", "log_offset")  # differ between any two runs; the offset counts the digits of seconds
LIMIT = 600.0  # seconds that no sitting takes unless it hangs


@dataclass(frozen=True)
class Pace:
    """Of the unbroken run: seconds until its first sign of progress, seconds from there to its end, and the
    lines of its log."""

    start_up: float
    training: float
    lines: int


@dataclass(frozen=True)
class Moment:
    """When to kill a sitting: so many seconds after its log has so many lines (None: after its start)."""

    lines: int | None
    delay: float

    def __str__(self) -> str:
        return f"{self.delay:4.2f} s after " + ("its start" if self.lines is None else f"line {self.lines:2}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=10, help="how often the run is killed")
    parser.add_argument("--seed", type=int, default=0, help="decides the moments")
    parser.add_argument("--workdir", type=Path, help="a new folder for both runs, which is kept")
    arguments = parser.parse_args()
    if arguments.workdir is not None and arguments.workdir.exists() and any(arguments.workdir.iterdir()):
        parser.error(f"{arguments.workdir} is not empty")
    workdir = arguments.workdir or Path(tempfile.mkdtemp(prefix="redoseg-kill-test-"))
    whole, killed = RunFolder(workdir / "unbroken"), RunFolder(workdir / "killed")

    pace = unbroken(whole)
    interrupted(killed, moments(arguments.kills, random.Random(arguments.seed), pace))
    found = list(differences(whole, killed))
    for line in found:
        print(f"DIFFERENT: {line}")
    if found:
        print(f"FAILED: the two runs differ; they are in {workdir}")
        return 1
    print(f"the killed run is equal to the unbroken one: {summary(killed)}")
    if arguments.workdir is None:
        shutil.rmtree(workdir)
    return 0


def unbroken(run: RunFolder) -> Pace:
    began = time.monotonic()
    process = start(run, resume=False)
    wait_until(lambda: run.exists, process)
    start_up = time.monotonic() - began
    finish(process, run)
    pace = Pace(start_up, time.monotonic() - began - start_up, len(log_lines(run)))
    print(
        f"unbroken: {pace.start_up:.1f} s to start, {pace.training:.1f} s to train: {summary(run)}",
        flush=True,
    )
    return pace


def moments(kills: int, chance: random.Random, pace: Pace) -> list[Moment]:
    """From the start to the last writes, in that order. Of five or more the first and another one come while
    the program starts, one before the first checkpoint, one after the last line of the log."""
    starting = {0, chance.randrange(2, kills - 1)} if kills > 4 else set()
    ends = [0, pace.lines] if kills > 4 else []
    lines = sorted(
        [*ends, *(chance.randint(0, pace.lines) for _ in range(kills - len(starting) - len(ends)))]
    )
    a_line = pace.training / pace.lines
    return [
        Moment(None, chance.uniform(0, pace.start_up))
        if kill in starting
        else Moment(lines.pop(0), chance.uniform(0, a_line))
        for kill in range(kills)
    ]


def interrupted(run: RunFolder, when: list[Moment]) -> None:
    """Train to the end, killed at those moments; sittings are begun by one command or the other in turn."""
    resume = False
    for kill, moment in enumerate(when, 1):
        before = written(run)
        process = start(run, resume=resume)
        if moment.lines is not None:
            wait_until(lambda was=before: written(run) != was, process)  # until then the log is the old one
            wait_until(lambda lines=moment.lines: len(log_lines(run)) >= lines, process)
        time.sleep(moment.delay)
        process.kill()
        late = process.wait() == 0
        print(f"kill {kill:2}, {moment}: {'too late, it was done' if late else state(run)}", flush=True)
        resume = not resume and run.exists
    finish(start(run, resume=resume), run)


def start(run: RunFolder, *, resume: bool) -> subprocess.Popen[bytes]:
    """One sitting of the run, in a process of its own."""
    arguments = ["resume", str(run.path)] if resume else ["train", *shlex.split(OPTIONS)]
    arguments += [] if resume else ["--out", str(run.path)]
    run.path.parent.mkdir(parents=True, exist_ok=True)
    with open(run.path.with_suffix(".out"), "ab") as said:
        return subprocess.Popen(
            [sys.executable, "-m", "redoseg", *arguments],
            stdout=said,
            stderr=said,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )


def finish(process: subprocess.Popen[bytes], run: RunFolder) -> None:
    if process.wait(LIMIT):
        sys.exit(f"FAILED: a sitting ended with {process.returncode}; see {run.path.with_suffix('.out')}")


def wait_until(happened: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    """Or until the process ends."""
    limit = time.monotonic() + LIMIT
    while not happened() and process.poll() is None and time.monotonic() < limit:
        time.sleep(0.005)


def written(run: RunFolder) -> int:
    """When the run was described last: a sitting does that when it is about to train."""
    return run.description.stat().st_mtime_ns if run.exists else 0


def state(run: RunFolder) -> str:
    """How far the run is: its log and its last checkpoint, as they lie there."""
    if not run.exists:
        return "nothing was there yet"
    logged = [line for line in log_lines(run) if "losses" in line]
    at = f"logged step {logged[-1]['step']}" if logged else "nothing logged yet"
    if run.last.is_file():
        info = load_tensors(run.last, ("none",))[1]
        at += f", last checkpoint at step {info['step']} of attempt {info['attempt']}"
    else:
        at += ", no checkpoint yet"
    torn = [file.name for folder in (run.path, run.checkpoints, run.samples) for file in leftovers(folder)]
    at += f", torn: {' '.join(torn)}" if torn else ""
    return at + (", at its last writes" if run.model.exists() else "")


def log_lines(run: RunFolder) -> list[dict[str, Any]]:
    """The log's whole lines, without times."""
    if not run.metrics.is_file():
        return []
    lines = run.metrics.read_text().splitlines(keepends=True)
    return [without_times(json.loads(line)) for line in lines if line.endswith("\n")]


def without_times(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name not in TIMES}


def differences(one: RunFolder, other: RunFolder) -> Iterator[str]:
    """Each difference in a line."""
    return folder_differences(one.path, other.path, file_differences)


def folder_differences(
    one: Path, other: Path, compare: Callable[[Path, Path], Iterator[str]]
) -> Iterator[str]:
    """Each difference in a line: files that are in one only, and what `compare` says of those in both. The
    lock, left from the last sitting, names a process and nothing else; a report is left by a command, and not
    by a function."""
    ones, others = (
        {file.relative_to(folder) for file in folder.rglob("*") if file.is_file() and file.name != ".lock"}
        for folder in (one, other)
    )
    alone = (name for name in ones ^ others if name.name != "report.html")
    yield from (f"{name} is in one run only" for name in sorted(alone))
    for name in sorted(ones & others):
        yield from (f"{name}: {what}" for what in compare(one / name, other / name))


def file_differences(one: Path, other: Path) -> Iterator[str]:
    if one.suffix == ".safetensors" and one.parent.name == "checkpoints":
        (tensors, info), (other_tensors, other_info) = load_tensors(one), load_tensors(other)
        if without_times(info) != without_times(other_info):
            yield "what is kept beside the tensors"
        if tensors.keys() != other_tensors.keys():
            yield f"tensors {sorted(tensors.keys() ^ other_tensors.keys())} are in one only"
        yield from (
            name
            for name in tensors.keys() & other_tensors.keys()
            if not same_bits(tensors[name], other_tensors[name])
        )
    elif one.name == "report.html":
        timeless = [re.sub(r"<p>\d+ steps in .*?</p>", "", page.read_text()) for page in (one, other)]
        if timeless[0] != timeless[1]:
            yield "another page"
    elif one.name == "metrics.jsonl":
        lines, other_lines = log_lines(RunFolder(one.parent)), log_lines(RunFolder(other.parent))
        if lines != other_lines:
            yield f"{len(lines)} and {len(other_lines)} lines, not the same"
    elif one.name == "run.json":
        description, other_description = read_json(one), read_json(other)
        for content in (description, other_description):
            content["config"].pop("out")
            content.pop("data_from_here", None)
        if description != other_description:
            yield "the runs' descriptions"
    elif one.read_bytes() != other.read_bytes():
        yield "its bytes"


def same_bits(one: torch.Tensor, other: torch.Tensor) -> bool:
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    return one.numpy().tobytes() == other.numpy().tobytes()


def summary(run: RunFolder) -> str:
    tensors, info = load_tensors(run.last)
    counts = {
        "tensors in the last of": len(tensors),
        "checkpoints": len(list(run.checkpoints.iterdir())),
        "log lines": len(log_lines(run)),
        "pictures": len(list(run.samples.iterdir())),
        "restarts after collapse": len(info["restarts"]),
    }
    return ", ".join(f"{count} {what}" for what, count in counts.items()).replace("of, ", "of ")


if __name__ == "__main__":
    sys.exit(main())
