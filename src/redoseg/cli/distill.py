"""The action that trains a student: distill."""

from pathlib import Path
from typing import Annotated, Literal

from redoseg.cli.early import check_teacher
from redoseg.cli.options import by_group
from redoseg.cli.terminal import errors
from redoseg.cli.train import trained
from redoseg.config import DistillConfig


def distill(
    config: Annotated[DistillConfig, by_group(DistillConfig)], rounds: int | Literal["auto"] = 1
) -> int:
    """Train a better segmenter on a run's own masks, without any label.

    Args:
        rounds: At most so many students, each taught by the one before it, as long as label-free score and
            share of sure masks say that they get better; the best one is kept. 'auto': 4.
    """
    check_teacher(config.run)
    return trained(lambda: _distill(config, rounds), config.out)


def _distill(config: DistillConfig, rounds: int | str) -> Path:
    from redoseg.distillation.rounds import distill_rounds

    return distill_rounds(config, rounds=rounds, console=errors)
