"""Redrawing: only the chosen region changes, one code a column, and the networks are left as they were."""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from redoseg.config import TrainConfig
from redoseg.method.compositing import redraw
from redoseg.models.model import Model
from redoseg.networks.build import Networks, build_networks
from redoseg.networks.layers import NormKind
from redoseg.redrawing.redraw import redraw_grid, redraw_photo
from redoseg.tensors import to_array

CONFIG = TrainConfig.of(data="x", out="run", size=32, width=4, g_width=4, f_width=4, f_blocks=1, code_size=5)


def networks(n: int = 2, norm: NormKind = "instance") -> Networks:
    return build_networks(dataclasses.replace(CONFIG, n=n, g_norm=norm), 0, torch.device("cpu"))


def images(count: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def as_model(net: Networks) -> Model:
    return Model(net.f.eval(), net.G.eval(), CONFIG, "last", 1, False)


class Flat(nn.Module):
    """A generator whose pixels are all the code's first number."""

    def forward(self, mask: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        return z[:, :1, None, None].expand(-1, 3, *mask.shape[2:])


def test_each_region_is_redrawn_by_the_generator_of_its_channel() -> None:
    net = networks(n=3)
    net.f.order.copy_(torch.tensor([2, 0, 1]))
    I, codes = images(4), torch.randn(3, 2, 5)
    grid = redraw_grid(net.f, net.G, I, codes)
    assert list(grid.redrawn) == [1, 2, 0]
    net.G.eval()
    with torch.no_grad():
        M = net.f.ordered_masks(I)
        np.testing.assert_array_equal(grid.masks, M.numpy())
        for r, channel in enumerate([2, 0, 1]):
            for k in range(2):
                M_r = net.f(I)[:, channel : channel + 1]
                pixels = net.G[channel](M_r, codes[r, k].expand(4, -1))
                np.testing.assert_array_equal(grid.redrawn[r][:, k], to_array(redraw(I, M_r, pixels)))


def test_a_column_is_one_code_in_every_row() -> None:
    net = networks()
    flat = nn.ModuleList([Flat(), Flat()])
    with torch.no_grad():
        net.f.head.weight.zero_()
        assert net.f.head.bias is not None
        net.f.head.bias.fill_(-50.0)  # channel 0 is nowhere, channel 1 everywhere
    grid = redraw_grid(net.f, flat, images(3), torch.tensor([[[0.0]] * 2, [[-1.0], [1.0]]]))
    assert (grid.redrawn[1][:, 0] == 0).all()
    assert (grid.redrawn[1][:, 1] == 255).all()
    np.testing.assert_array_equal(grid.redrawn[0][:, 0], grid.images)  # an empty region changes nothing


def test_shapes_and_truth() -> None:
    net = networks()
    truth = torch.randint(0, 2, (4, 32, 32))
    grid = redraw_grid(net.f, net.G, images(4), torch.randn(2, 3, 5), truth, regions=[1])
    assert grid.images.shape == (4, 32, 32, 3)
    assert grid.redrawn[1].shape == (4, 3, 32, 32, 3)
    assert list(grid.redrawn) == [1]
    assert grid.truth is not None
    np.testing.assert_array_equal(grid.truth, truth.numpy())


@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_nothing_in_the_networks_moves(norm: NormKind) -> None:
    net = networks(norm=norm)
    net.G[0].eval()
    modes = [module.training for network in (net.f, net.G) for module in network.modules()]
    before = {name: tensor.clone() for name, tensor in net.G.state_dict().items()}
    redraw_grid(net.f, net.G, images(3), torch.randn(2, 2, 5))
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.G.state_dict().items())
    assert modes == [module.training for network in (net.f, net.G) for module in network.modules()]
    assert all(parameter.grad is None for parameter in net.f.parameters())


def test_with_batch_norm_a_row_does_not_depend_on_the_others() -> None:
    net = networks(norm="batch")
    codes = torch.randn(2, 2, 5)
    together = redraw_grid(net.f, net.G, images(3), codes).redrawn[1][:1].astype(int)
    alone = redraw_grid(net.f, net.G, images(3)[:1], codes).redrawn[1].astype(int)
    assert abs(together - alone).max() <= 1


def test_a_photo_of_any_size_is_redrawn_and_the_seed_decides() -> None:
    model = as_model(networks())
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8))
    page = redraw_photo(model, photo, region=1, count=3, seed=4)
    assert page.width > 5 * 96
    assert 96 < page.height < 2 * 96
    assert page.tobytes() == redraw_photo(model, photo, region=1, count=3, seed=4).tobytes()
    assert page.tobytes() != redraw_photo(model, photo, region=1, count=3, seed=5).tobytes()
    assert (
        page.tobytes() != redraw_photo(model, photo, region=1, count=3, seed=4, blur=(0, 0, 1, 1)).tobytes()
    )
