"""Weights in safetensors files, which hold no code: networks and optimizers by flat names, with JSON."""

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
from redoseg.networks.mask import MaskNetwork

_INFO = "redoseg"


def save_tensors(path: Path, tensors: dict[str, Tensor], info: dict[str, Any]) -> None:
    """Write tensors, and `info` as JSON, to a file that is whole or not there."""
    whole = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    # safetensors' own save_file would, if killed, leave files under names that `leftovers` doesn't know.
    content = save(whole, {_INFO: json.dumps(info, allow_nan=False)})
    write_aside(path, lambda aside: aside.write_bytes(content))


def save_network(f: MaskNetwork, folder: Path) -> None:
    """Write config.json, model.safetensors and README.md, as `MaskNetwork.from_pretrained` reads them.
    OSError for what a disk refuses, for which safetensors has an error of its own."""
    try:
        f.save_pretrained(folder)
    except SafetensorError as error:
        raise OSError(str(error)) from error


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
    """The networks' tensors by flat names: `f.*` for the network f, and so on."""
    return {
        f"{letter}.{name}": tensor
        for letter, network in networks.items()
        for name, tensor in network.state_dict().items()
    }


def flat_moments(optimizers: Mapping[str, Optimizer]) -> dict[str, Tensor]:
    """The optimizers' moments by flat names: `adam.f.0.exp_avg` for the first weights of f, and so on."""
    return {
        f"adam.{letter}.{index}.{name}": moment
        for letter, optimizer in optimizers.items()
        for index, moments in optimizer.state_dict()["state"].items()
        for name, moment in moments.items()
    }


def load_flat(
    networks: Mapping[str, nn.Module],
    optimizers: Mapping[str, Optimizer],
    tensors: dict[str, Tensor],
    file: Path,
) -> None:
    """Load what `flat_weights` and `flat_moments` returned. ModelError if the tensors of `file` don't fit."""
    for letter, network in networks.items():
        load_network(network, tensors, letter, file)
    for letter, optimizer in optimizers.items():
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            if name.startswith(f"adam.{letter}."):
                index, moment = name.removeprefix(f"adam.{letter}.").split(".")
                moments.setdefault(int(index), {})[moment] = tensor
        optimizer.load_state_dict(optimizer.state_dict() | {"state": moments})


def load_network(network: nn.Module, tensors: dict[str, Tensor], letter: str, file: Path) -> None:
    """Load a network from the tensors named `letter.*`. ModelError if they don't fit."""
    state = {
        name.removeprefix(f"{letter}."): t for name, t in tensors.items() if name.startswith(f"{letter}.")
    }
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise ModelError(f"{file} doesn't fit the network {letter} that its run describes") from error


def save_generators(generators: nn.ModuleList, file: Path) -> None:
    """Write generators with spectral norm folded into their weights, matrices as float16.
    Vectors stay float32: they are small, and variances may be below what float16 can hold. ModelError for
    weights that are too large for float16."""
    folded = copy.deepcopy(generators).cpu()
    for layer in folded.modules():
        if isinstance(layer, Conv):
            layer.fold()
    tensors = {
        name: tensor.half() if tensor.is_floating_point() and tensor.ndim > 1 else tensor
        for name, tensor in folded.state_dict().items()
    }
    if not all(torch.isfinite(tensor).all() for tensor in tensors.values()):
        raise ModelError("the generators' weights are too large for float16, or not finite")
    save_tensors(file, tensors, {})


def load_generators(config: TrainConfig, file: Path) -> nn.ModuleList:
    """Read what `save_generators` wrote, as float32, with a run's options. ModelError if they don't fit."""
    generators, (tensors, _) = build_generators(config), load_tensors(file)
    try:
        generators.load_state_dict(tensors)
    except RuntimeError as error:
        raise ModelError(f"{file} doesn't fit the generators that its card describes") from error
    return generators.eval()
