"""The action that trains a student: distill."""

from pathlib import Path
from typing import Annotated

from redoseg.cli.options import by_group
from redoseg.cli.terminal import errors
from redoseg.cli.train import trained
from redoseg.config import DistillConfig


def distill(config: Annotated[DistillConfig, by_group(DistillConfig)]) -> int:
    """Train a better segmenter on a run's own masks, without any label."""
    return trained(lambda: _distill(config), config.out)


def _distill(config: DistillConfig) -> Path:
    from redoseg.distillation.distill import distill as run

    return run(config, console=errors)
