"""One contract that every network keeps."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from redoseg.config import TrainConfig
from redoseg.networks.build import build_generators, build_mask_network, build_networks
from redoseg.networks.code_encoder import CodeEncoder
from redoseg.networks.discriminator import Discriminator
from redoseg.networks.generator import RegionGenerator
from redoseg.networks.layers import (
    SelfAttention,
)
from redoseg.networks.mask import MaskNetwork
from small_networks import (
    ATTENTION,
    CASES,
    CODE_SIZE,
    CPU,
    attentive,
    build,
    built,
    config,
    every_network,
    inputs,
    output_shape,
    parameters,
)

pytestmark = pytest.mark.training


@every_network
@pytest.mark.parametrize(("size", "batch"), [(32, 3), (64, 3), (128, 2), (256, 1)])
def test_shapes_and_ranges(case, size, batch):
    with torch.no_grad():
        output = build(case, size)(*inputs(case, size, batch))
    assert output.shape == output_shape(case, size, batch)
    assert output.dtype == torch.float32
    assert output.isfinite().all()
    if case.letter in ("f", "G"):
        assert output.min() >= (0 if case.letter == "f" else -1)
        assert output.max() <= 1


@every_network
@pytest.mark.parametrize("size", [32, 64])
def test_no_gradient_is_missing_and_none_is_zero_without_a_reason(case, size):
    network = build(case, size)
    output = network(*inputs(case, size))
    (output * torch.randn(output.shape, generator=torch.Generator().manual_seed(1))).sum().backward()

    gradients = {name: p.grad for name, p in network.named_parameters()}
    assert [name for name, gradient in gradients.items() if gradient is None] == []
    largest = {name: gradient.abs().max().item() for name, gradient in gradients.items()}
    assert np.isfinite(list(largest.values())).all()

    # What a norm cancels is rounding, not exactly 0: 1e-6 of the largest gradient where others have 1e-4.
    rounding = 1e-5 * max(largest.values())
    zero = {name for name in largest if largest[name] < rounding}
    listed = {name for name in largest if any(re.search(pattern, name) for pattern in case.zero)}
    assert zero == listed
    assert all(any(re.search(pattern, name) for name in listed) for pattern in case.zero)
    assert all(largest[name] == 0 for name in listed if re.search(next(iter(ATTENTION)), name))


@pytest.mark.parametrize("name", [name for name in CASES if "attention" in name])
def test_an_attention_that_is_switched_on_learns_everywhere(name):
    network = attentive(build(CASES[name]))
    network(*inputs(CASES[name])).square().sum().backward()
    (attention,) = (module for module in network.modules() if isinstance(module, SelfAttention))
    assert all(p.grad.abs().max() > 0 for p in attention.parameters())


@pytest.mark.parametrize("init", ["pytorch", "orthogonal", "orthogonal-free"])
@pytest.mark.parametrize("options", [{"n": 2}, {"n": 3, "g_norm": "batch", "delta_attention": True}])
def test_a_seed_repeats_and_another_differs_in_every_weight(init, options):
    one, again, other = (
        build_networks(config(init=init, ema_half_life=1000.0, **options), seed, CPU).items()
        for seed in (0, 0, 1)
    )
    assert one.keys() == {"f", "G", "D", "delta", "f_ema"}
    for letter in one:
        state, repeated = one[letter].state_dict(), again[letter].state_dict()
        assert state.keys() == repeated.keys()
        assert all(torch.equal(state[name], repeated[name]) for name in state)

        different = parameters(other[letter])
        for name, value in parameters(one[letter]).items():
            if value.ndim > 1 or value.unique().numel() > 1:  # not a norm's ones and zeros
                assert (value != different[name]).float().mean() > 0.99, (letter, name)


@every_network
def test_its_state_goes_through_a_file(case, tmp_path):
    saved, other = attentive(build(case, seed=0)), build(case, seed=1)
    x = inputs(case)
    with torch.no_grad():
        saved(*x)  # one step of the power iterations and of the running statistics
    save_file(saved.state_dict(), tmp_path / "state.safetensors")
    other.load_state_dict(load_file(tmp_path / "state.safetensors"))
    with torch.no_grad():
        assert torch.equal(saved.eval()(*x), other.eval()(*x))
        assert torch.equal(saved.train()(*x), other.train()(*x))


@every_network
@pytest.mark.parametrize("size", [32, 64])
def test_bfloat16_is_near_float32(case, size):
    """Times the output's scale where that is above 1 (D, delta): within .01 on average, .05 nearly always."""
    errors = []
    for seed in range(8):
        network = attentive(build(case, size, seed)).eval()
        x = inputs(case, size)
        with torch.no_grad():
            exact = network(*x)
            with torch.autocast("cpu", torch.bfloat16):
                rough = network(*x)
        assert rough.dtype == torch.float32
        assert not torch.equal(rough, exact)
        errors.append((rough - exact).abs() / exact.abs().max().clamp(min=1))
    error = torch.stack(errors)
    assert error.mean() < 0.01
    assert np.quantile(error, 0.999) < 0.05


@pytest.mark.parametrize("size", [0, 16, 48, 100, 127, 200])
@pytest.mark.parametrize("network", [RegionGenerator, Discriminator, lambda size: CodeEncoder(2, size)])
def test_a_size_that_halvings_do_not_bring_to_4_is_refused(network, size):
    with torch.device("meta"), pytest.raises(ValueError, match=f"size is {size}: use 32, 64, 128 or 256"):
        network(size)


def count(network):
    return sum(p.numel() for p in network.parameters())


def test_parameter_counts_of_the_constructors_defaults_are_the_authors():
    with torch.device("meta"):
        networks = MaskNetwork(), RegionGenerator(), Discriminator(), CodeEncoder()
    assert [count(network) for network in networks] == [274_966, 30_933_791, 38_424_258, 38_483_712]


@pytest.mark.parametrize(
    ("settings", "n", "f", "G_k"), [("cub", 2, 274_966, 7_956_895), ("lfw", 3, 276_634, 30_933_791)]
)
def test_parameter_counts_of_the_authors_recipe_are_the_authors(settings, n, f, G_k):
    authors = TrainConfig.of(
        data=("photos",), out=Path("unused"), recipe="authors", settings=settings, n=n, init="pytorch"
    )
    assert authors.size == 128
    with torch.device("meta"):
        assert count(build_mask_network(authors)) == f
        assert [count(network) for network in build_generators(authors)] == [G_k] * n


def test_spectral_norm_adds_no_parameter():
    networks = built(config(), 0)
    assert count(networks["D"]) == count(Discriminator(32, 4))
    assert count(networks["delta"]) == count(CodeEncoder(2, 32, 4, CODE_SIZE))
    assert count(networks["G"]) == 2 * count(RegionGenerator(32, 4, CODE_SIZE))
