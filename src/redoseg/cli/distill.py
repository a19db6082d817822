"""The action that trains a student: distill."""

from pathlib import Path

import tyro

from redoseg.cli.terminal import errors
from redoseg.cli.train import trained
from redoseg.config import DistillConfig


def distill(config: tyro.conf.OmitArgPrefixes[DistillConfig]) -> int:
    """Train a better segmenter on a run's own masks, without any label.

    Args:
        config: the student.
    """
    return trained(lambda: _distill(config), config.out)


def _distill(config: DistillConfig) -> Path:
    from redoseg.distillation.distill import distill as run

    return run(config, console=errors)
