"""What the one loop trains: the contract between `Trainer` and what is learned in a step.

A learner is a file of about a hundred lines: `training/redo.py` and `distillation/learner.py` are two.
"""

from collections.abc import Mapping
from typing import Any, Protocol

from torch import nn
from torch.optim import Optimizer

from redoseg.errors import DivergenceError
from redoseg.method.algorithm import Metrics, divergence
from redoseg.networks.mask import MaskNetwork


class Learner(Protocol):
    """To be subclassed: `step`, `check_finite` and `restart` must be written, the rest has defaults.

    What is random in step t must depend on (seed, attempt, t) alone: then a resumed run needs no state of
    random generators, and several processes draw the same and take their part of it.
    """

    networks: Mapping[str, nn.Module]
    """By letter; all their weights are in a checkpoint. `f` is the mask network, `f_ema` its moving average.
    Where there is a `G`, samples/ has its redraws; with `delta`, too, signals say how well codes are read."""

    optimizers: Mapping[str, Optimizer]
    """By the letter of what they move; their moments are in a checkpoint to resume from."""

    supervision: dict[str, Any] | None = None
    """What masks are read in training (`Labelled.supervision`). None: none is."""

    channels_named: bool = False
    """Whether channel k of f is region k from the start. If not, images' borders tell the background."""

    can_restart: bool = False
    """Whether a collapse begins it anew. If not, it is said once and training goes on."""

    cure: str = "try a smaller --lr, or --precision float32"
    """What to do about a loss that is not finite."""

    @property
    def f(self) -> MaskNetwork:
        """The mask network to use: the moving average where one is kept."""
        f = self.networks.get("f_ema", self.networks["f"])
        assert isinstance(f, MaskNetwork)
        return f

    @property
    def monitored(self) -> MaskNetwork:
        """The mask network that is looked at for a collapse."""
        return self.f

    @property
    def state(self) -> dict[str, Any]:
        """What checkpoints keep beside the weights; `begin` gets it back."""
        return {}

    def begin(self, saved: dict[str, Any] | None) -> None:
        """Called once, before the first step: with what the last checkpoint says beside its weights, or None.

        ConfigError or ModelError for what can't be begun, or gone on with.
        """
        return

    def describe(self) -> dict[str, Any]:
        """For run.json, beside the options and the data."""
        return {}

    def log_entry(self, means: dict[str, float]) -> dict[str, Any]:
        """What the log says of the means of what `step` reported. The entry `losses` is shown to people."""
        return {"losses": means}

    def step(self, t: int) -> Metrics:
        """One update of everything; t counts from 0."""
        ...

    def check_finite(self, t: int) -> None:
        """DivergenceError if a loss was not finite before step t."""
        ...

    def restart(self, attempt: int) -> None:
        """Fresh weights and optimizers; attempt counts from 0, each has other weights and another order."""
        ...

    def divergence(self, what: str) -> DivergenceError:
        """`what` is no finite number, and what to do."""
        return divergence(what, self.cure)
