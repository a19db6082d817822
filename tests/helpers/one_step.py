"""One update of tiny networks on made pictures."""

import os
from pathlib import Path
from typing import Any

import torch

from redoseg.config import TrainConfig
from redoseg.method.algorithm import ReDO
from redoseg.method.drawing import RandomDraws
from redoseg.models.weights import flat_weights

CPU = torch.device("cpu")


# Traced and differentiated as when compiled, but run by PyTorch's own kernels: seconds, where a C++ compiler
# needs minutes and tests no more of ours. REDOSEG_COMPILER=inductor has it do so.
COMPILER = os.environ.get("REDOSEG_COMPILER", "aot_eager")
# Traced into the same graphs, but differentiated as the eager step is: a third of the time again.
TRACER = os.environ.get("REDOSEG_COMPILER", "eager")


def new_redo(recipe="default", **options):
    small: dict[str, Any] = {
        "size": 32, "width": 8, "g_width": 8, "f_width": 8, "f_blocks": 1, "batch": 5, "compile": "off"
    }  # fmt: skip
    return ReDO(TrainConfig.of(recipe=recipe, data="digit", out=Path("unused"), **small | options), 0, CPU)


def pictures(redo, seed):
    """Smooth, as photos are: (B, 3, S, S) in [-1, 1]."""
    config = redo.config
    coarse = torch.rand(config.batch, 3, 4, 4, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return torch.nn.functional.interpolate(coarse, size=config.size, mode="bilinear")


def one_step(redo, t):
    config, random = redo.config, torch.Generator().manual_seed(100 + t)
    losses = redo.generator_update(pictures(redo, 3 * t), RandomDraws.sample(config, random, t), t)
    draws = RandomDraws.sample(config, random, t)
    return losses | redo.discriminator_update(pictures(redo, 3 * t + 1), pictures(redo, 3 * t + 2), draws, t)


def gradient(network):
    return torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])


def apart(one, other):
    """The largest difference of a weight, beside the largest weight of its tensor."""
    mine, theirs = flat_weights(one.networks.items()), flat_weights(other.networks.items())
    assert mine.keys() == theirs.keys()
    return max(
        ((mine[name] - value).abs().max() / value.abs().max().clamp(min=1e-3)).item()
        for name, value in theirs.items()
        if value.is_floating_point()
    )
