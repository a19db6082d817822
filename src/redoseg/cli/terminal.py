"""What actions print with: errors and progress to stderr, results to stdout."""

import logging
import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from rich.console import Console

from redoseg.data.quiet import pillow_silenced
from redoseg.errors import named_reason
from redoseg.files import expanded

if TYPE_CHECKING:
    from redoseg.data.cache import Report
    from redoseg.evaluation.evaluate import Evaluation
    from redoseg.segmentation.written import SegmentReport

Weights = Literal["ema", "raw"]
"""Of a run's mask networks: the moving average, or what the optimiser moves."""

Device = Annotated[str, tyro.conf.arg(help="auto, cpu, cuda, cuda:1, mps ...")]
Cache = Annotated[
    Path | None, tyro.conf.arg(help="Folder of the resized images. None: the user's cache folder.")
]
Json = Annotated[bool, tyro.conf.arg(name="json", help="Print one JSON object instead of a table.")]

_log = logging.getLogger("redoseg.cli")
errors = Console(stderr=True)
output = Console()


class _Lines(logging.Handler):
    """Prints warnings at once, each on a line of its own, and keeps what is only to be known for the end."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.kept: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING:
            print(record.getMessage(), file=sys.stderr)  # what standard error is at that moment
        elif record.getMessage() not in self.kept:
            self.kept.append(record.getMessage())


@contextmanager
def lines_on_stderr() -> Iterator[list[str]]:
    """In this context what the package says about photos and masks is printed; what is only to be known at
    its end, unless it has been taken out of the list. What Pillow says isn't."""
    log, lines = logging.getLogger("redoseg"), _Lines()
    level = log.level
    log.addHandler(lines)
    log.setLevel(logging.INFO)
    try:
        with pillow_silenced():
            yield lines.kept
        for line in lines.kept:
            print(line, file=sys.stderr)
    finally:
        log.removeHandler(lines)
        log.setLevel(level)


_EVERY = 10.0  # seconds between two lines


@contextmanager
def progress_of(what: str, *, quiet: bool = False) -> Iterator["Report"]:
    """What shows the progress of `what`: a bar on a terminal; elsewhere a line now and then."""
    from rich.progress import Progress

    with Progress(console=errors, transient=True, disable=quiet or not errors.is_terminal) as bar:
        task, said = bar.add_task(what, total=None), time.monotonic()

        def show(done: int, total: int) -> None:
            nonlocal said
            bar.update(task, completed=done, total=total)
            if not (quiet or errors.is_terminal) and time.monotonic() - said >= _EVERY:
                said = time.monotonic()
                print(f"{what}: {done} of {total}", file=sys.stderr, flush=True)

        yield show


_interrupts: list[int] = []  # that this command line has had


@contextmanager
def interrupts_noted() -> Iterator[None]:
    """In this context Ctrl-C does what it does, and `was_interrupted` knows of it. A library that is cut off
    by it, while it is imported, may raise an error of its own instead."""
    _interrupts.clear()
    before = signal.getsignal(signal.SIGINT)

    def note(number: int, frame: FrameType | None) -> None:
        _interrupts.append(number)
        signal.default_int_handler(number, frame)

    if before is not signal.default_int_handler or threading.current_thread() is not threading.main_thread():
        yield  # it is ignored, as in a shell's background, or someone else's, or never comes here
        return
    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def was_interrupted() -> bool:
    """Whether Ctrl-C has been pressed since this command line was begun."""
    return bool(_interrupts)


def note_frames(
    model: str, photos: Sequence[str], cure: str = "name copies without (`redoseg trim`, or {copies})"
) -> None:
    """A line where a run's folder has learned photos without their frames and these, which are others, may
    have some; `cure` says what to do then, with {copies} for where its own are."""
    from redoseg.models.run_folder import RunFolder

    run = RunFolder(Path(model))
    copies = os.path.realpath(run.trimmed)
    if not (run.exists and run.learned_trimmed) or all(_lies_in(copies, photo) for photo in photos):
        return
    said = cure.format(copies=shlex.quote(str(run.trimmed)))
    _log.warning("%s has learned photos without their frames: if these have some, %s", run.path, said)


def _lies_in(folder: str, photo: str) -> bool:
    return Path(os.path.realpath(expanded(photo))).is_relative_to(folder)


def print_failed(failed: Iterable[tuple[str, str]]) -> None:
    """A line for each photo that could not be done, and why."""
    for photo, reason in failed:
        errors.print(f"redoseg: {named_reason(photo, reason)}", markup=False, highlight=False, soft_wrap=True)


def counted(report: "SegmentReport", what: str, place: object) -> str:
    """How many photos there were, and how much of `what` was made of them. "" where what was named holds no
    photo at all: that has been said."""
    failed = len(report.failed) - report.missing
    photos = report.written + report.doubtful + failed
    if report.missing and not photos + report.left_out:
        return ""
    said = [f"{photos} photos, {report.left_out} left out: {report.written} {what} in {place}"]
    if report.trimmed:
        said.append(f"{report.trimmed} of the photos within a frame (--trim)")
    if report.doubtful:
        said.append(f"{report.doubtful} were too doubtful (--max-doubt)")
    if failed:
        said.append(f"{failed} could not be done, they are named above")
    if report.missing:
        said.append(f"{report.missing} of what was named holds no photo, as is said above")
    return "; ".join(said)


def print_scores(evaluation: "Evaluation") -> None:
    """As a table."""
    from redoseg.evaluation.tables import scores_table

    output.print(scores_table(evaluation))
