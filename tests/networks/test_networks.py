"""One contract that every network keeps, then what is particular to each."""

import copy
import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.utils import parametrizations

from redoseg.config import TrainConfig
from redoseg.networks.build import build_generators, build_mask_network, build_networks
from redoseg.networks.code_encoder import CodeEncoder
from redoseg.networks.discriminator import Discriminator, DownBlock, Trunk
from redoseg.networks.generator import RegionGenerator
from redoseg.networks.layers import (
    ConditionalNorm,
    Conv,
    ConvPool,
    SelfAttention,
    UpsampleConv,
    block_count,
    frozen,
    initialise,
    instance_norm,
    iterate_spectrum,
    normalise_spectrum,
)
from redoseg.networks.mask import MaskNetwork, PyramidPooling

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


# The contract


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


# build


def test_building_leaves_the_global_random_state_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    build_networks(config(), 0, CPU)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_global_random_state_does_not_matter():
    torch.manual_seed(5)
    one = build_networks(config(), 0, CPU).D.state_dict()
    torch.manual_seed(6)
    again = build_networks(config(), 0, CPU).D.state_dict()
    assert all(torch.equal(one[name], again[name]) for name in one)


def test_each_region_has_a_generator_of_its_own():
    G = build_networks(config(n=3), 0, CPU).G
    assert len(G) == 3
    weights = [parameters(G_k)["first.weight"] for G_k in G]
    assert not torch.isclose(weights[0], weights[1]).all()
    assert not torch.isclose(weights[1], weights[2]).all()


def test_the_average_of_f_is_a_copy_without_gradients():
    networks = build_networks(config(ema_half_life=1000.0), 0, CPU)
    f, average = networks.f, networks.f_ema
    assert all(torch.equal(a, b) for a, b in zip(f.parameters(), average.parameters(), strict=True))
    assert all(a is not b for a, b in zip(f.parameters(), average.parameters(), strict=True))
    assert not any(p.requires_grad for p in average.parameters())
    assert all(p.requires_grad for p in f.parameters())
    assert "f_ema" in networks.items()
    assert "f_ema" not in build_networks(config(ema_half_life=0.0), 0, CPU).items()


def test_widths_follow_the_size_where_none_is_given():
    half = TrainConfig(data=("digit",), out=Path("unused"), size=64)
    G = build_generators(half)
    assert G[0].get_submodule("out").in_channels == 32 + 1
    assert build_mask_network(half).size == 64


# Spectral norm and the orthogonal start


def spectrum(weight):
    return torch.linalg.svdvals(weight.detach().flatten(1).double())


def convolutions(*networks):
    return [m for network in networks for m in network.modules() if isinstance(m, nn.Conv2d)]


def linears(*networks):
    return [m for network in networks for m in network.modules() if isinstance(m, nn.Linear)]


def test_spectral_norm_is_on_the_convolutions_of_G_D_and_delta_alone():
    networks = build_networks(config(delta_attention=True), 0, CPU)
    spectral = networks.G, networks.D, networks.delta
    assert all(layer.u is not None for layer in convolutions(*spectral))
    assert not any(name.endswith((".u", ".v")) for name in networks.f.state_dict())


@pytest.mark.parametrize("size", [32, 64])
def test_spectral_norm_brings_the_largest_singular_value_to_one(size):
    D = build_networks(config(size=size), 0, CPU).D
    for layer in convolutions(D):
        assert layer._sigma().item() == pytest.approx(spectrum(layer.weight)[0].item(), rel=0.1)
    for _ in range(200):
        iterate_spectrum(D)
    for layer in convolutions(D):
        assert layer._sigma().item() == pytest.approx(spectrum(layer.weight)[0].item(), rel=0.01)


KINDS = {
    "plain": lambda: Conv(3, 8),
    "1x1": lambda: Conv(3, 8, 1, padding=0),
    "without bias": lambda: Conv(3, 8, bias=False),
    "upsampling": lambda: UpsampleConv(3, 8),
    "pooling": lambda: ConvPool(3, 8),
}


@pytest.mark.parametrize("side", [2, 32], ids=["more weights than pixels", "more pixels than weights"])
@pytest.mark.parametrize("kind", KINDS)
def test_spectral_norm_is_pytorchs(kind, side):
    """Values and gradients, with the same directions u and v, against the library's own way."""
    ours = KINDS[kind]()
    plain = copy.deepcopy(ours)
    theirs = parametrizations.spectral_norm(
        copy.deepcopy(ours)
    ).eval()  # the layer as it was, W / sigma put in
    normalise_spectrum(ours)
    norm = theirs.get_submodule("parametrizations.weight.0")
    norm.get_buffer("_u").copy_(ours.u)
    norm.get_buffer("_v").copy_(ours.v)
    x = torch.randn(1, 3, side, side)
    y = ours(x)
    assert not torch.allclose(y, plain(x), rtol=0.01)
    torch.testing.assert_close(y, theirs(x), atol=1e-5, rtol=1e-5)
    direction = torch.randn_like(y)
    (y * direction).sum().backward()
    (theirs(x) * direction).sum().backward()
    torch.testing.assert_close(
        ours.weight.grad, theirs.get_parameter("parametrizations.weight.original").grad, atol=1e-4, rtol=1e-4
    )
    if ours.bias is not None:
        torch.testing.assert_close(ours.bias.grad, theirs.bias.grad, atol=1e-4, rtol=1e-4)


def test_spectral_norm_stays_in_float32_under_bfloat16():
    layer = Conv(64, 64)
    normalise_spectrum(layer)
    expected = layer._sigma()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(layer._sigma(), expected)
        assert layer(torch.randn(2, 64, 4, 4)).dtype == torch.bfloat16


@pytest.mark.parametrize("gain", [0.8, 1.1])
def test_an_orthogonal_start_reaches_the_weights_under_spectral_norm(gain):
    networks = build_networks(config(init="orthogonal", init_gain=gain, centred_start=False), 0, CPU)
    for layer in convolutions(networks.G, networks.D, networks.delta):
        torch.testing.assert_close(
            spectrum(layer.weight),
            torch.full((min(layer.weight.flatten(1).shape),), gain, dtype=torch.double),
            atol=1e-5,
            rtol=0,
        )
        assert layer._sigma().item() == pytest.approx(gain, abs=1e-4)  # so what is used has no value but 1
    for layer in [*convolutions(networks.f), *linears(networks.G, networks.D, networks.delta)]:
        assert spectrum(layer.weight).sub(gain).abs().max() < 1e-5


def test_an_orthogonal_free_start_stops_at_spectral_norm():
    free, plain = (build_networks(config(init=init), 0, CPU) for init in ("orthogonal-free", "pytorch"))
    for layer in linears(free.G, free.D, free.delta):
        assert spectrum(layer.weight).sub(0.8).abs().max() < 1e-5
    for layer in convolutions(free.f)[:-1]:  # all but the head, which is centred
        assert spectrum(layer.weight).sub(0.8).abs().max() < 1e-5
    for ours, theirs in zip(
        convolutions(free.G, free.D, free.delta), convolutions(plain.G, plain.D, plain.delta), strict=True
    ):
        assert torch.equal(ours.weight, theirs.weight)


def test_initialising_too_late_is_refused():
    D = Discriminator(32, 4)
    normalise_spectrum(D)
    with pytest.raises(ValueError, match="initialise first, then normalise_spectrum"):
        initialise(D, 0.8)


def test_biases_stay_as_pytorch_draws_them():
    D = Discriminator(32, 4)
    before = parameters(D)
    initialise(D, 0.8)
    after = parameters(D)
    assert all(torch.equal(before[name], after[name]) for name in before if name.endswith("bias"))
    assert not any(torch.equal(before[name], after[name]) for name in before if name.endswith("weight"))


# frozen


def test_a_frozen_network_passes_gradients_on_and_keeps_none():
    D = build(CASES["D attention"])
    (x,) = inputs(CASES["D attention"])
    x.requires_grad_()
    before = copy.deepcopy(D.state_dict())
    with frozen(D):
        D(x).sum().backward()
    assert x.grad.abs().max() > 0
    assert all(p.grad is None for p in D.parameters())
    assert all(torch.equal(before[name], value) for name, value in D.state_dict().items())
    assert all(p.requires_grad for p in D.parameters())


def test_a_power_iteration_moves_directions_alone():
    D = build(CASES["D attention"])
    before = copy.deepcopy(D.state_dict())
    D(*inputs(CASES["D attention"]))
    assert all(torch.equal(before[name], value) for name, value in D.state_dict().items())
    iterate_spectrum(D)
    moved = {name for name, value in D.state_dict().items() if not torch.equal(before[name], value)}
    assert moved <= {name for name in before if name.endswith((".u", ".v"))}
    assert len(moved) > 20  # all that aren't there yet


def test_frozen_gives_back_what_it_found():
    D = build(CASES["D"]).eval()
    D.head.requires_grad_(False)
    with pytest.raises(RuntimeError, match="within"), frozen(D):
        raise RuntimeError("within")
    assert not any(module.training for module in D.modules())
    assert [name for name, p in D.named_parameters() if not p.requires_grad] == ["head.weight", "head.bias"]


# f, the mask network


@pytest.mark.parametrize("n", [2, 3, 5])
@pytest.mark.parametrize(("height", "width"), [(32, 48), (36, 100), (44, 32), (60, 92), (128, 40)])
def test_masks_are_positive_and_sum_to_one_at_any_size(n, height, width):
    f = MaskNetwork(n, 4, 1, 32)
    images = torch.rand(2, 3, height, width) * 2 - 1
    with torch.no_grad():
        masks = f(images)
    assert masks.shape == (2, n, height, width)
    assert masks.min() > 0
    assert (masks.sum(1) - 1).abs().max() < 1e-6


@pytest.mark.parametrize(("height", "width"), [(28, 64), (64, 28), (33, 64), (64, 50), (0, 32)])
def test_other_sizes_of_image_are_refused(height, width):
    with pytest.raises(ValueError, match=f"images are {width}x{height}: .* multiples of 4, from 32"):
        MaskNetwork(2, 4, 1)(torch.zeros(1, 3, height, width))


@pytest.mark.parametrize("n", [-1, 0, 1])
def test_less_than_two_regions_are_refused(n):
    with pytest.raises(ValueError, match=f"n is {n}: .* at least 2 regions"):
        MaskNetwork(n)


def initial_sizes(n, seed, init, centre):
    """The mean of each mask over a batch of noise, for an f that saw no training."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        f = MaskNetwork(n, 8, 2, 32)
        if init == "orthogonal":
            initialise(f, 0.8)
    if centre:
        f.centre()
    with torch.no_grad():
        return f(*inputs(CASES["f n=2"])).mean((0, 2, 3))


@pytest.mark.parametrize("n", [2, 3, 4])
@pytest.mark.parametrize("init", ["pytorch", "orthogonal"])
def test_centred_masks_start_near_1_over_n(n, init):
    off = {
        centre: max((initial_sizes(n, seed, init, centre) - 1 / n).abs().max() for seed in range(8))
        for centre in (True, False)
    }
    assert off[True] < 0.02
    assert off[False] > 0.04  # so there was something to centre


@pytest.mark.parametrize("n", [2, 3])
def test_build_centres_f_where_asked(n):
    head = {centred: built(config(n=n, centred_start=centred), 0)["f"].head for centred in (True, False)}
    assert head[True].weight.mean((1, 2, 3)).abs().max() < 1e-8
    assert head[True].bias.abs().max() == 0
    assert head[False].weight.mean((1, 2, 3)).abs().max() > 1e-4
    assert head[False].bias.abs().max() > 0


def test_the_pyramid_is_four_channels_more_and_a_file_knows_of_it(tmp_path):
    def parameters_of(**options):
        return sum(p.numel() for p in MaskNetwork(width=8, blocks=1, size=32, **options).parameters())

    # By hand: four projections of 32 channels with a bias; what 36 in place of 32 channels cost later.
    later = [9 * (36 * 18 - 32 * 16) + 2 * 2, 9 * (18 * 9 - 16 * 8) + 2 * 1, 49 * 1]
    assert parameters_of() - parameters_of(pyramid=False) == 4 * 33 + sum(later)
    without = MaskNetwork(width=4, blocks=1, size=32, pyramid=False).eval()
    without.save_pretrained(tmp_path)
    x = torch.rand(1, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        assert torch.equal(MaskNetwork.from_pretrained(tmp_path)(x), without(x))


def test_f_from_pretrained_is_the_f_saved(tmp_path, monkeypatch):
    def refuse(*_):
        raise AssertionError("a local folder needs no network")

    monkeypatch.setattr("socket.socket.connect", refuse)
    f = MaskNetwork(n=3, width=4, blocks=1, size=64)
    f.order.copy_(torch.tensor([2, 0, 1]))
    f.save_pretrained(tmp_path / "model")
    assert {path.name for path in (tmp_path / "model").iterdir()} >= {"config.json", "model.safetensors"}

    loaded = MaskNetwork.from_pretrained(tmp_path / "model")
    assert (loaded.n, loaded.size) == (3, 64)
    assert loaded.order.tolist() == [2, 0, 1]
    x = torch.rand(1, 3, 32, 36) * 2 - 1
    with torch.no_grad():
        assert torch.equal(loaded(x), f.eval()(x))
        assert torch.equal(loaded.ordered_masks(x), f(x)[:, [2, 0, 1]])


# Layers, each against its definition


def test_instance_norm_is_pytorchs():
    x = torch.randn(2, 6, 8, 12)
    torch.testing.assert_close(instance_norm(6, affine=False)(x), nn.InstanceNorm2d(6)(x))


@pytest.mark.parametrize("kind", ["instance", "batch"])
def test_conditional_norm_scales_and_shifts_by_the_code(kind):
    layer = ConditionalNorm(6, CODE_SIZE, kind)
    x, z = torch.randn(4, 6, 8, 8) * 3 + 1, torch.randn(4, CODE_SIZE)
    axes = (2, 3) if kind == "instance" else (0, 2, 3)
    normal = (x - x.mean(axes, keepdim=True)) / (x.var(axes, unbiased=False, keepdim=True) + 1e-5).sqrt()
    scale = z @ layer.scale.weight.T + layer.scale.bias
    shift = z @ layer.shift.weight.T + layer.shift.bias
    expected = scale[:, :, None, None] * normal + shift[:, :, None, None]
    torch.testing.assert_close(layer(x, z), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("height", "width"), [(4, 4), (5, 7)])
def test_upsample_conv_is_upsampling_and_a_convolution(bias, height, width):
    layer = UpsampleConv(3, 5, bias=bias)
    x = torch.randn(2, 3, height, width)
    plain = F.conv2d(F.interpolate(x, scale_factor=2, mode="nearest"), layer.weight, layer.bias, padding=1)
    torch.testing.assert_close(layer(x), plain, atol=1e-5, rtol=1e-5)


def test_conv_pool_is_a_convolution_and_pooling():
    layer = ConvPool(3, 5)
    x = torch.randn(2, 3, 8, 12)
    plain = F.avg_pool2d(F.conv2d(x, layer.weight, layer.bias, padding=1), 2)
    torch.testing.assert_close(layer(x), plain, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("channels", [4, 16])
def test_attention_is_a_softmax_over_pooled_keys(channels):
    layer = SelfAttention(channels)
    nn.init.constant_(layer.gain, 0.7)
    x = torch.randn(2, channels, 4, 6) * 3
    q, k, v = layer.query(x), F.max_pool2d(layer.key(x), 2), F.max_pool2d(layer.value(x), 2)
    weights = torch.einsum("bchw,bcij->bhwij", q, k).flatten(3).softmax(3).unflatten(3, (2, 3))
    expected = x + 0.7 * layer.out(torch.einsum("bhwij,bcij->bchw", weights, v))
    torch.testing.assert_close(layer(x), expected, atol=1e-5, rtol=1e-5)


def test_attention_starts_as_the_identity():
    x = torch.randn(2, 8, 4, 4)
    assert torch.equal(SelfAttention(8)(x), x)


def test_the_pyramid_averages_over_windows_of_floor_side_by_level():
    layer = PyramidPooling(3)
    x = torch.randn(1, 3, 13, 8)
    pooled = layer(x)
    assert torch.equal(pooled[:, :3], x)
    for channel, level, project in zip(range(3, 7), (1, 2, 3, 6), layer.projections, strict=True):
        h, w = 13 // level, 8 // level
        windows = x[:, :, : 13 // h * h, : 8 // w * w].unflatten(3, (-1, w)).unflatten(2, (-1, h))
        averages = project(windows.mean((3, 5)))
        expected = F.interpolate(averages, size=(13, 8), mode="bilinear")[:, 0]
        torch.testing.assert_close(pooled[:, channel], expected)


@pytest.mark.parametrize("first", [True, False])
def test_a_down_block_is_two_convolutions_beside_a_shortcut(first):
    block = DownBlock(3, 5, first=first)
    x = torch.randn(2, 3, 8, 8)
    h = F.conv2d(x if first else x.relu(), block.conv1.weight, block.conv1.bias, padding=1)
    h = F.conv2d(h.relu(), block.conv2.weight, block.conv2.bias, padding=1)
    shortcut = F.conv2d(x, block.shortcut.weight, block.shortcut.bias)
    torch.testing.assert_close(block(x), F.avg_pool2d(h + shortcut, 2), atol=1e-5, rtol=1e-5)


def test_features_are_summed_over_pixels_without_a_relu():
    trunk = Trunk(32, 4, attention=True)
    (x,) = inputs(CASES["D"])
    seen = []
    trunk.layers.register_forward_hook(lambda *call: seen.append(call[-1]))
    features = trunk(x)
    assert seen[0].shape == (3, trunk.features, 4, 4)
    assert seen[0].min() < 0
    torch.testing.assert_close(features, seen[0].sum((2, 3)))


@pytest.mark.parametrize("size", [32, 64, 128, 256])
def test_attention_sits_where_the_paper_has_it(size):
    """In D at side 64, or after the first block where that is smaller; in G before the last block."""
    with torch.device("meta"):
        D, G_k = Discriminator(size, 4), RegionGenerator(size, 4)
        sides = {}
        for name, network, x in (
            ("D", D, (torch.empty(1, 3, size, size),)),
            ("G", G_k, (torch.empty(1, 1, size, size), torch.empty(1, 32))),
        ):
            (attention,) = (module for module in network.modules() if isinstance(module, SelfAttention))
            attention.register_forward_hook(
                lambda _, args, __, name=name: sides.update({name: args[0].shape[-1]})
            )
            network(*x)
    assert sides == {"D": min(64, size // 2), "G": size // 2}


@pytest.mark.parametrize(("size", "blocks"), [(32, 3), (64, 4), (128, 5), (256, 6)])
def test_depth_follows_from_size(size, blocks):
    assert block_count(size) == blocks
