"""Small networks of every kind, with what each takes and gives."""

import copy
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import nn

from redoseg.config import TrainConfig
from redoseg.networks.build import build_networks
from redoseg.networks.layers import (
    SelfAttention,
)

CPU = torch.device("cpu")
CODE_SIZE = 5

ATTENTION = {r"\.(query|key|value|out)\.weight": "the attention's gain starts at 0"}
BIAS_IN_F = {r"conv2\.bias": "the instance norm after the sum takes a channel's mean away"}
BIASES_IN_G = {
    r"blocks\.\d\.(conv2|shortcut)\.bias": "every path on leads through norms that take a channel's mean away"
}


class Case(NamedTuple):
    letter: str
    options: dict[str, object]  # of TrainConfig
    zero: Mapping[str, str] = {}  # parameters without a gradient at the first step: pattern -> reason


CASES = {
    "f n=2": Case("f", {"n": 2}, BIAS_IN_F),
    "f n=3": Case("f", {"n": 3}, BIAS_IN_F),
    "f without pyramid": Case("f", {"f_pyramid": False}, BIAS_IN_F),
    "G instance": Case("G", {"g_norm": "instance", "attention": False}, BIASES_IN_G),
    "G instance attention": Case("G", {"g_norm": "instance"}, BIASES_IN_G | ATTENTION),
    "G batch": Case("G", {"g_norm": "batch", "attention": False}, BIASES_IN_G),
    "G batch attention": Case("G", {"g_norm": "batch"}, BIASES_IN_G | ATTENTION),
    "D": Case("D", {"attention": False}),
    "D attention": Case("D", {}, ATTENTION),
    "delta n=2": Case("delta", {"n": 2}),
    "delta n=3": Case("delta", {"n": 3}),
    "delta attention": Case("delta", {"delta_attention": True}, ATTENTION),
}

every_network = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def config(**options):
    small = {"size": 32, "width": 4, "g_width": 4, "f_width": 4, "f_blocks": 2, "code_size": CODE_SIZE}
    return TrainConfig(data=("digit",), out=Path("unused"), **{"attention": True} | small | options)


@functools.cache
def built(config, seed):
    return build_networks(config, seed, CPU).items()


def build(case, size=32, seed=0):
    """The case's network as a run has it, spectral norm and all."""
    networks = built(config(size=size, **case.options), seed)
    return copy.deepcopy(networks["G"][0] if case.letter == "G" else networks[case.letter])


def inputs(case, size=32, batch=3):
    generator = torch.Generator().manual_seed(0)
    if case.letter == "G":
        mask = torch.rand(batch, 1, size, size, generator=generator)
        return mask, torch.randn(batch, CODE_SIZE, generator=generator)
    return (torch.rand(batch, 3, size, size, generator=generator) * 2 - 1,)


def output_shape(case, size, batch):
    n = case.options.get("n", 2)
    return {
        "f": (batch, n, size, size),
        "G": (batch, 3, size, size),
        "D": (batch,),
        "delta": (batch, n, CODE_SIZE),
    }[case.letter]


def parameters(network):
    return {name: p.detach().clone() for name, p in network.named_parameters()}


def attentive(network):
    """The same with every attention's gain off its 0, as after some training."""
    for module in network.modules():
        if isinstance(module, SelfAttention):
            nn.init.constant_(module.gain, 0.7)
    return network
