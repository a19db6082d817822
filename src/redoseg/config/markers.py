"""What a field of `TrainConfig` or `DistillConfig` says of its option beside type, default and help text."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any


@dataclass(frozen=True)
class Bound:
    """What a value has to be. None, where the type allows it, is within every bound."""

    wanted: str
    """What to give instead, as an error says it."""
    allows: Callable[[Any], bool]


def at_least(least: int) -> Bound:
    return Bound(f"it must be at least {least}", lambda value: value >= least)


def from_0_to(most: float) -> Bound:
    return Bound(f"it must be from 0 to {most:g}", lambda value: 0 <= value <= most)


NOT_NEGATIVE = Bound("it can't be negative", lambda value: value >= 0)
POSITIVE = Bound("it must be positive", lambda value: value > 0)


class Group(Enum):
    """The box of --help in which an option stands; the boxes come in this order. Unmarked options are FIRST.

    A value is the box's title, after which tyro writes "options".
    """

    FIRST = ""
    TEACHER = "teacher"
    DATA = "data"
    NETWORKS = "network"
    GAME = "game"
    LOSSES = "loss and optimizer"
    SEEN = "what f sees: augmentation"
    CHECKPOINTS = "checkpoint"
    FILES = "file"
    OBJECT = "object"
    MACHINE = "machine"


class MayChange(Enum):
    """Marks options that a continued run may be given anew."""

    YES = True


MAY_CHANGE = MayChange.YES
