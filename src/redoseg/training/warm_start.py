"""A warm start (--start): the game goes on from a mask network that has found the object already."""

from torch import nn

from redoseg.config import TrainConfig
from redoseg.config.checks import option_words
from redoseg.errors import ConfigError
from redoseg.models.model import Model
from redoseg.models.source import find_model

_ARCHITECTURE = ("n", "size", "f_width", "f_blocks", "f_pyramid")
"""The options that f's weights depend on."""


class WarmStart:
    """The mask network that `config.start` names, to be copied into a run's f.

    digest: SHA-256 of its weights, "" where only the hub knows them."""

    def __init__(self, config: TrainConfig) -> None:
        """Raises ModelError if there is no such model; ConfigError if its f is another network than the
        run's, or if masks were read in its training, which this run would hide."""
        assert config.start is not None
        source = find_model(config.start)
        model = source.load("cpu")
        self.digest, self._weights = source.digest or "", model.f.state_dict()
        if model.supervision is not None:
            raise ConfigError(
                f"--start {config.start} was trained with masks: --labelled is the way to read masks openly"
            )
        _check_same_network(config, model)

    def copy_to(self, *networks: nn.Module) -> None:
        """Give each network these weights."""
        for network in networks:
            network.load_state_dict(self._weights)


def _check_same_network(config: TrainConfig, model: Model) -> None:
    if model.config is None:
        raise ConfigError(
            f"--start {config.start} has no card that says what network it is: name the run it comes from"
        )
    wanted = {name: getattr(model.config, name) for name in _ARCHITECTURE}
    if wanted != {name: getattr(config, name) for name in _ARCHITECTURE}:
        words = (word for name, value in wanted.items() for word in option_words(name, value))
        raise ConfigError(f"--start {config.start} is another network than this run's: add {' '.join(words)}")
