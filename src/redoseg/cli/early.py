"""What is refused before the imports that take seconds: PyTorch, SciPy, OpenCV.

The functions of the package check the same themselves. Of several processes of one run none refuses here:
together they see to it that only one of them says why.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from redoseg.config.auto import AutoConfig
    from redoseg.models.source import ModelSource


def check_data(data: Sequence[str]) -> None:
    """DataError for a source that isn't there."""
    from redoseg.data.dataset import check_sources

    if _is_alone():
        check_sources(data)


def check_begun(run: Path) -> None:
    """ConfigError for a folder without anything to go on with."""
    from redoseg.models.run_folder import RunFolder

    if _is_alone():
        RunFolder(run).check_begun()


def check_teacher(run: Path) -> None:
    """ConfigError where there is nothing that a student could learn from."""
    from redoseg.models.source import check_teacher

    if _is_alone() and not str(run).startswith("first:"):
        check_teacher(run)


def check_auto(config: "AutoConfig") -> None:
    """DataError for photos that aren't there, else an error for a folder that `auto` can't begin or go on."""
    from redoseg.automation.folder import AutoFolder
    from redoseg.automation.named import named_starts

    check_data(config.data)
    named_starts(config.starts)
    AutoFolder(config.out).check(config)


def find_source(model: str, checkpoint: str, weights: str | None) -> "ModelSource":
    """Where the model lies. ModelError if there is none."""
    from redoseg.models.source import find_model

    return find_model(model, checkpoint=checkpoint, weights=weights)


def _is_alone() -> bool:
    return "RANK" not in os.environ
