"""All tensors of a training under flat names, as its checkpoints hold them: weights and Adam's moments."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn
from torch.optim import Optimizer

from redoseg.checkpoint import load_network


def weights(networks: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """`f.*` of the network called f, and so on."""
    return {
        f"{letter}.{name}": tensor
        for letter, network in networks.items()
        for name, tensor in network.state_dict().items()
    }


def moments(optimisers: Mapping[str, Optimizer]) -> dict[str, Tensor]:
    """Of the optimiser called f its first tensor's as `adam.f.0.exp_avg`, and so on."""
    return {
        f"adam.{letter}.{index}.{name}": moment
        for letter, optimiser in optimisers.items()
        for index, found in optimiser.state_dict()["state"].items()
        for name, moment in found.items()
    }


def load(
    networks: Mapping[str, nn.Module],
    optimisers: Mapping[str, Optimizer],
    state: dict[str, Tensor],
    source: Path,
) -> None:
    """What `weights` and `moments` gave. ModelError, naming `source`, if it doesn't fit."""
    for letter, network in networks.items():
        load_network(network, state, letter, source)
    for letter, optimiser in optimisers.items():
        found: dict[int, dict[str, Tensor]] = {}
        for name, tensor in state.items():
            if name.startswith(f"adam.{letter}."):
                index, moment = name.removeprefix(f"adam.{letter}.").split(".")
                found.setdefault(int(index), {})[moment] = tensor
        optimiser.load_state_dict(optimiser.state_dict() | {"state": found})
