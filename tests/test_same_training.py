"""Faster must be the same training: bfloat16 and the compiled step against float32, step by step."""

import os
from pathlib import Path

import pytest
import torch
from torch._dynamo.utils import counters

from redoseg.algorithm import Game
from redoseg.config import TrainConfig
from redoseg.drawing import Codes
from redoseg.errors import ConfigError

CPU = torch.device("cpu")
RECIPES = ("default", "paper", "authors")
# Traced and differentiated as when compiled, but run by PyTorch's own kernels: seconds, where a C++ compiler
# needs minutes and tests no more of ours. REDOSEG_COMPILER=inductor has it do so.
COMPILER = os.environ.get("REDOSEG_COMPILER", "aot_eager")


def game(recipe="default", **options):
    small = {"size": 32, "width": 8, "g_width": 8, "f_width": 8, "f_blocks": 1, "batch": 5, "compile": "off"}
    return Game(TrainConfig.of(recipe=recipe, data="digit", out=Path("unused"), **small | options), 0, CPU)


def pictures(player, seed):
    """Smooth, as photos are: (B, 3, S, S) in [-1, 1]."""
    config = player.config
    coarse = torch.rand(config.batch, 3, 4, 4, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return torch.nn.functional.interpolate(coarse, size=config.size, mode="bilinear")


def one_step(player, t):
    config, random = player.config, torch.Generator().manual_seed(100 + t)
    losses = player.generator_update(pictures(player, 3 * t), Codes.sample(config, random, t), t)
    drawn = Codes.sample(config, random, t)
    return losses | player.discriminator_update(
        pictures(player, 3 * t + 1), pictures(player, 3 * t + 2), drawn, t
    )


def gradient(network):
    return torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])


def apart(one, other):
    """The largest difference of a weight, beside the largest weight of its tensor."""
    mine, theirs = one.state_dict(optimisers=False), other.state_dict(optimisers=False)
    assert mine.keys() == theirs.keys()
    return max(
        ((mine[name] - value).abs().max() / value.abs().max().clamp(min=1e-3)).item()
        for name, value in theirs.items()
        if value.is_floating_point()
    )


@pytest.mark.parametrize("recipe", RECIPES)
def test_bfloat16_gradients_point_where_float32_ones_do(recipe):
    exact, rough = (game(recipe, precision=precision) for precision in ("float32", "bfloat16"))
    for player in (exact, rough):
        one_step(player, 0)
    for letter in ("f", "G", "D", "delta"):
        pair = (gradient(player.networks.items()[letter]) for player in (exact, rough))
        assert torch.cosine_similarity(*pair, dim=0) >= 0.99, letter


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_compiled_step_is_one_graph_that_is_compiled_once(recipe):
    torch._dynamo.reset()
    counters.clear()
    eager, compiled = (game(recipe, binarise=0.1, binarise_from=5) for _ in range(2))
    compiled.compile(backend=COMPILER)
    graphs = []
    for t in range(20):
        expected, found = one_step(eager, t), one_step(compiled, t)
        for name, loss in expected.items():
            torch.testing.assert_close(found[name], loss, rtol=1e-3, atol=1e-3, msg=name)
        graphs.append(counters["stats"]["unique_graphs"])
    assert apart(compiled, eager) < 1e-3
    assert not counters["graph_break"]
    # a batch of 5 falls to two regions in two ways: two graphs for each update, where one region is redrawn
    assert graphs[-1] <= (4 if compiled.config.redraw == "one" else 2)
    assert graphs[10] == graphs[-1]


def test_where_nothing_can_be_compiled_it_says_so_in_a_line():
    def no_compiler(graph, inputs):
        raise RuntimeError("no C++ compiler here\nand more")

    player = game()
    player.compile(backend=no_compiler)
    with pytest.raises(
        ConfigError, match=r"can't be compiled here .*no C\+\+ compiler here.*--compile off"
    ) as error:
        one_step(player, 0)
    assert "\n" not in str(error.value)
