"""Generators to draw with, without the run that trained them: in half precision, for a model's folder."""

import copy
from pathlib import Path

import torch
from torch import Tensor, nn

from redoseg.config import TrainConfig
from redoseg.errors import ModelError
from redoseg.networks.build import build_generators
from redoseg.networks.layers import Conv
from redoseg.tensorfiles import load_tensors, save_tensors


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
