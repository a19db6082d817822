"""The verb resume, for every kind of run: of `train`, of its --tries, of `distill` and of its --rounds."""

from pathlib import Path
from typing import Any

from rich.console import Console

from redoseg.distillation.distill import resume as resume_student
from redoseg.distillation.rounds import resume_rounds
from redoseg.models.run_folder import RunFolder
from redoseg.training.train import resume as resume_run
from redoseg.training.tries import resume_tries


def resume(path: str | Path, *, console: Console | None = None, **changed: Any) -> Path:
    """Go on with the run in a folder, with some options `changed` (steps, minutes, device, threads).

    Returns the run's folder. Raises what `redoseg.train` and `redoseg.distill` raise; ConfigError if the
    folder holds no run, or for a changed option that must stay the same.
    """
    folder = RunFolder(Path(path))
    folder.check_begun()
    if folder.rounds.is_file():
        return resume_rounds(folder.path, console=console, **changed)
    if folder.distilled:
        return resume_student(folder.path, console=console, **changed)
    if folder.trying:
        return resume_tries(folder.path, console=console, **changed)
    return resume_run(folder.path, console=console, **changed)
