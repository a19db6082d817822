"""Faster must be the same training: bfloat16 and the compiled step against float32, step by step."""

import pytest
import torch
from torch._dynamo.utils import counters

from one_step import COMPILER, TRACER, apart, gradient, new_redo, one_step
from redoseg.errors import ConfigError
from refusals import refusal

pytestmark = pytest.mark.training

RECIPES = ("default", "paper", "authors")


@pytest.mark.parametrize("recipe", RECIPES)
def test_bfloat16_gradients_point_where_float32_ones_do(recipe):
    exact, rough = (new_redo(recipe, precision=precision) for precision in ("float32", "bfloat16"))
    for redo in (exact, rough):
        one_step(redo, 0)
    for letter in ("f", "G", "D", "delta"):
        one, other = (gradient(redo.networks.items()[letter]) for redo in (exact, rough))
        assert torch.cosine_similarity(one, other, dim=0) >= 0.99, letter


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "batch", "compiler"),
    [
        ("default", 4, COMPILER),
        ("paper", 5, TRACER),  # falls to two regions in two ways: two graphs for each update
        ("authors", 5, TRACER),
    ],
)
def test_a_compiled_step_is_one_graph_that_is_compiled_once(recipe, batch, compiler):
    torch._dynamo.reset()
    counters.clear()
    eager, compiled = (new_redo(recipe, batch=batch, binarise=0.1, binarise_from=2) for _ in range(2))
    compiled.compile(backend=compiler)
    graphs = []
    for t in range(10):
        expected, found = one_step(eager, t), one_step(compiled, t)
        for name, loss in expected.items():
            torch.testing.assert_close(found[name], loss, rtol=1e-3, atol=1e-3, msg=name)
        graphs.append(counters["stats"]["unique_graphs"])
    assert apart(compiled, eager) < 1e-3
    assert not counters["graph_break"]
    assert graphs[-1] <= (4 if recipe == "paper" else 2)
    assert graphs[7] == graphs[-1]


def test_where_nothing_can_be_compiled_it_says_so_in_a_line():
    def no_compiler(graph, inputs):
        raise RuntimeError("no C++ compiler here\nand more")

    redo = new_redo()
    redo.compile(backend=no_compiler)
    with refusal(ConfigError, match=r"can't be compiled here .*no C\+\+ compiler here.*--compile off"):
        one_step(redo, 0)
