"""Layers, spectral norm and the orthogonal start, each against its definition."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations

from redoseg.networks.build import build_networks
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
from redoseg.networks.mask import PyramidPooling
from small_networks import CASES, CODE_SIZE, CPU, build, config, inputs, parameters

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
