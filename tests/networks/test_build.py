"""Networks out of options: seeds, the average of f, widths."""

from pathlib import Path

import torch

from redoseg.config import TrainConfig
from redoseg.networks.build import build_generators, build_mask_network, build_networks
from small_networks import CPU, config, parameters


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
