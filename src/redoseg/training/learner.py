"""The contract between `Trainer` and a learner: `training/redo.py` and `distillation/learner.py` are two."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from redoseg.method.algorithm import Metrics
from redoseg.models.weights import flat_moments, flat_weights
from redoseg.networks.mask import MaskNetwork


class Learner(ABC):
    """A subclass defines `networks` and `optimizers`, `step`, `check_finite` and `restart`; the rest has
    defaults. It calls `restart(0)` itself when it is made, and averages gradients over the processes itself.
    The random numbers of step t must depend on (seed, attempt, t) alone. Then a resumed run needs no state of
    random generators, and several processes draw the same numbers and take their part of them."""

    networks: Mapping[str, nn.Module]
    """The networks by letter, all of which a checkpoint holds. `f` is the mask network, `f_ema` its moving
    average. With a `G`, samples/ shows redrawn images; with `delta`, too, its error is among the signals."""

    optimizers: Mapping[str, Optimizer]
    """By the letter of the network that each updates. A checkpoint to resume from holds their moments."""

    supervision: dict[str, Any] | None = None
    """Which masks are read in training (`Labelled.supervision`); None if none are."""

    channels_named: bool = False
    """Whether channel k of f is region k from the start. If not, the background is the region that fills the
    images' borders (`MaskStatistics.order`)."""

    can_restart: bool = False
    """Whether training starts again after a collapse. If not, it warns once and goes on."""

    cure: str = "try a smaller learning rate, or --precision float32"
    """What to do about a loss that is not finite."""

    @property
    def f(self) -> MaskNetwork:
        """The mask network to use: the moving average of f's weights if there is one, else f itself."""
        f = self.networks.get("f_ema", self.networks["f"])
        assert isinstance(f, MaskNetwork)
        return f

    @property
    def monitored(self) -> MaskNetwork:
        """The mask network whose masks are checked for a collapse."""
        return self.f

    def start(self) -> None:  # noqa: B027 - most have nothing to start from
        """Called after `restart` where no checkpoint follows: new weights may be taken from elsewhere."""

    @property
    def state(self) -> dict[str, Any]:
        """Numbers of the learner's own, under names that `State` doesn't have, for `begin` to take up."""
        return {}

    def begin(self, saved: dict[str, Any] | None) -> None:  # noqa: B027 - most have nothing to begin with
        """Called once, before the first step, with the numbers of the last checkpoint, or None without one.
        Raises ConfigError or ModelError if training can't begin, or can't go on from that checkpoint."""

    def describe(self) -> dict[str, Any]:
        """Entries for run.json, beside the options and the data."""
        return {}

    def log_entry(self, means: dict[str, float]) -> dict[str, Any]:
        """The log's entries made of the means of what `step` returned. The progress bar shows `losses`."""
        return {"losses": means}

    @abstractmethod
    def step(self, t: int) -> Metrics:
        """Update every network once, and return at least one metric, always of the same names. t from 0."""

    @abstractmethod
    def check_finite(self, t: int) -> None:
        """Raise DivergenceError if a loss was not finite before step t."""

    @abstractmethod
    def restart(self, attempt: int) -> None:
        """Start with new weights and optimizers. Attempts count from 0, each with its own random numbers."""

    def tensors(self) -> dict[str, Tensor]:
        """All tensors of a checkpoint to resume from: weights as `f.*`, moments as `adam.f.0.exp_avg`."""
        return flat_weights(self.networks) | flat_moments(self.optimizers)
