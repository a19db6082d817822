"""Weights at rest: networks and optimisers under flat names, with JSON beside them, in one safetensors file.

Nothing in such a file can run.
"""

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.optim import Optimizer

from redoseg.config import TrainConfig
from redoseg.errors import ModelError
from redoseg.files import write_aside
from redoseg.networks.build import build_generators
from redoseg.networks.layers import Conv

_INFO = "redoseg"


def save_tensors(path: Path, tensors: dict[str, Tensor], info: dict[str, Any]) -> None:
    """The file is whole or not there."""
    whole = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    # As bytes: safetensors' own writing would leave files of other names when killed, for their owner alone.
    content = save(whole, {_INFO: json.dumps(info, allow_nan=False)})
    write_aside(path, lambda aside: aside.write_bytes(content))


def load_tensors(path: Path, prefixes: tuple[str, ...] = ("",)) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors whose names begin with one of `prefixes`, and the JSON. ModelError for a damaged file."""
    try:
        with safe_open(path, framework="pt") as file:
            info = json.loads((file.metadata() or {}).get(_INFO, ""))
            tensors = {name: file.get_tensor(name) for name in file.keys() if name.startswith(prefixes)}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(f"{path} is no checkpoint of redoseg, or it is damaged ({error})") from error
    return tensors, info


def flat_weights(networks: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """`f.*` of the network called f, and so on."""
    return {
        f"{letter}.{name}": tensor
        for letter, network in networks.items()
        for name, tensor in network.state_dict().items()
    }


def flat_moments(optimisers: Mapping[str, Optimizer]) -> dict[str, Tensor]:
    """Of the optimiser called f its first tensor's as `adam.f.0.exp_avg`, and so on."""
    return {
        f"adam.{letter}.{index}.{name}": moment
        for letter, optimiser in optimisers.items()
        for index, found in optimiser.state_dict()["state"].items()
        for name, moment in found.items()
    }


def load_flat(
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


def load_network(network: nn.Module, tensors: dict[str, Tensor], letter: str, file: Path) -> None:
    """Fill a network from the tensors called `letter.*`. ModelError if they don't fit."""
    state = {
        name.removeprefix(f"{letter}."): t for name, t in tensors.items() if name.startswith(f"{letter}.")
    }
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise ModelError(f"{file} doesn't fit the network {letter} that its run describes") from error


def save_generators(generators: nn.ModuleList, file: Path) -> None:
    """Spectral norm is worked into the weights. ModelError for weights that float16 can't hold."""
    folded = copy.deepcopy(generators).cpu()
    for layer in folded.modules():
        if isinstance(layer, Conv):
            layer.fold()
    tensors = {name: _halved(tensor) for name, tensor in folded.state_dict().items()}
    if not all(torch.isfinite(tensor).all() for tensor in tensors.values()):
        raise ModelError("the generators' weights are too large for float16, or not finite")
    save_tensors(file, tensors, {})


def load_generators(config: TrainConfig, file: Path) -> nn.ModuleList:
    """What `save_generators` wrote of a run with these options, as float32. ModelError if it doesn't fit."""
    generators, (tensors, _) = build_generators(config), load_tensors(file)
    try:
        generators.load_state_dict(tensors)
    except RuntimeError as error:
        raise ModelError(f"{file} doesn't fit the generators that its card describes") from error
    return generators.eval()


def _halved(tensor: Tensor) -> Tensor:
    """Vectors stay: they weigh little, and variances may be smaller than what float16 knows."""
    return tensor.half() if tensor.is_floating_point() and tensor.ndim > 1 else tensor
