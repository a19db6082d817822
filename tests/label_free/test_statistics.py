"""What f does on a fixed set of images, against numpy."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from redoseg.config import TrainConfig
from redoseg.label_free.statistics import MaskStatistics, measure_masks
from redoseg.networks.mask import MaskNetwork

RESULTS = Path(__file__).parents[2] / "results"


class Given(nn.Module):
    """An f whose masks are given; image i is filled with the number i."""

    def __init__(self, masks):
        super().__init__()
        self.masks = torch.as_tensor(masks, dtype=torch.float32)
        self.batches = []

    def forward(self, images):
        self.batches.append(len(images))
        return self.masks[images[:, 0, 0, 0].long()]


def numbered(count, size=8):
    return torch.arange(count).float()[:, None, None, None].expand(count, 3, size, size)


def statistics_of(masks, **options):
    return measure_masks(Given(masks), numbered(len(masks), masks.shape[-1]), **options)


def random_masks(count, n, size=8, seed=0):
    masks = np.random.default_rng(seed).dirichlet(np.ones(n), (count, size, size))
    return masks.transpose(0, 3, 1, 2).astype(np.float32)


def statistics(sizes=(0.5, 0.5), border=(0.5, 0.5), variation=0.1):
    return MaskStatistics(tuple(sizes), tuple(border), variation)


@pytest.mark.parametrize("n", [2, 3, 5])
@pytest.mark.parametrize("batch", [1, 3, 64])
def test_sizes_border_and_variation(n, batch):
    masks = random_masks(7, n)
    found = statistics_of(masks, batch=batch)
    edge = np.zeros((8, 8), bool)
    edge[0] = edge[-1] = edge[:, 0] = edge[:, -1] = True
    assert found.sizes == pytest.approx(masks.mean((0, 2, 3)), abs=1e-6)
    assert found.border == pytest.approx(masks[..., edge].mean((0, 2)), abs=1e-6)
    assert found.variation == pytest.approx(masks.std(0, ddof=1).mean(), abs=1e-6)
    assert sum(found.sizes) == pytest.approx(1, abs=1e-5)
    assert sum(found.border) == pytest.approx(1, abs=1e-5)


def test_images_go_through_f_in_batches():
    f = Given(random_masks(7, 2))
    measure_masks(f, numbered(7), batch=3)
    assert f.batches == [3, 3, 1]


def test_f_is_left_as_it_is():
    f = MaskNetwork(width=4, blocks=1, size=32).train()
    before = {name: value.clone() for name, value in f.state_dict().items()}
    images = torch.rand(3, 3, 32, 32) * 2 - 1
    found = measure_masks(f, images)
    assert f.training
    assert all(torch.equal(value, before[name]) for name, value in f.state_dict().items())
    assert all(p.grad is None for p in f.parameters())
    assert measure_masks(f, images) == found


def test_the_background_is_the_region_at_the_border():
    """Not the largest one: an object may fill most of the image."""
    masks = np.zeros((4, 3, 8, 8), np.float32)
    masks[:, 2] = 1
    masks[:, :, 1:7, 1:7] = np.array([0.9, 0.1, 0])[:, None, None]
    found = statistics_of(masks)
    assert found.sizes[0] > found.sizes[2]
    assert found.order == [2, 0, 1]


@pytest.mark.parametrize(
    ("sizes", "border", "order"),
    [
        ((0.35, 0.65), (0.46, 0.54), [0, 1]),  # a flower that fills most of the picture, in front of leaves
        ((0.65, 0.35), (0.54, 0.46), [1, 0]),
        ((0.9, 0.1), (0.95, 0.05), [0, 1]),
        ((0.09, 0.9, 0.01), (0.0, 0.95, 0.05), [1, 0, 2]),  # a speck in a corner is no background
    ],
)
def test_a_large_object_covers_much_of_the_border_too(sizes, border, order):
    assert statistics(sizes, border).order == order


@pytest.mark.parametrize(
    ("border", "order"),
    [
        ((0.9, 0.1), [0, 1]),
        ((0.1, 0.9), [1, 0]),
        ((0.5, 0.5), [0, 1]),
        ((0.2, 0.5, 0.3), [1, 0, 2]),
        ((0.2, 0.2, 0.6), [2, 0, 1]),
    ],
)
def test_the_others_stay_in_their_order(border, order):
    sizes = [1 / len(border)] * len(border)
    assert statistics(sizes, border).order == order


@pytest.mark.parametrize(
    ("sizes", "smallest", "trouble"),
    [
        ((0.5, 0.5), 0.01, None),
        ((0.99, 0.01), 0.01, None),
        ((0.995, 0.005), 0.01, "a region covers 0.0050 of the images"),
        ((0.005, 0.995), 0.01, "a region covers 0.0050 of the images"),
        ((0.5, 0.4996, 0.0004), 0.001, "a region covers 0.0004 of the images"),
        ((1.0, 0.0), 0.0, None),
        ((0.6, 0.4), 0.45, "a region covers 0.4000 of the images"),
    ],
)
def test_a_region_that_vanishes_is_a_collapse(sizes, smallest, trouble):
    assert statistics(sizes).collapse(smallest, 0.0) == trouble


@pytest.mark.parametrize(
    ("variation", "least", "trouble"),
    [
        (0.1, 1e-3, None),
        (1e-3, 1e-3, None),
        (5e-4, 1e-3, "masks hardly differ between images (0.00050)"),
        (0.0, 0.0, None),
    ],
)
def test_masks_that_no_longer_vary_are_a_collapse(variation, least, trouble):
    assert statistics(variation=variation).collapse(0.01, least) == trouble


def test_one_mask_for_all_images_is_found():
    """Sizes are as they should be, and yet f doesn't look at the image."""
    masks = np.repeat(random_masks(1, 2), 5, 0)
    found = statistics_of(masks)
    assert min(found.sizes) > 0.3
    assert found.variation == pytest.approx(0, abs=1e-6)
    assert found.collapse(0.01, 1e-3).startswith("masks hardly differ")
    assert statistics_of(random_masks(5, 2)).collapse(0.01, 1e-3) is None


def test_an_object_that_is_the_whole_picture_is_a_collapse():
    whole = statistics(
        sizes=(0.04, 0.96), border=(0.02, 0.98)
    )  # named by its border: channel 1 has more of it
    assert whole.order == [1, 0]
    assert whole.collapse(0.01, 1e-3, 0.8) is None
    both = statistics(sizes=(0.03, 0.97), border=(0.1, 0.9))
    assert both.order == [0, 1]
    assert both.collapse(0.01, 1e-3, 0.8) == "the object is the whole picture: it covers 0.90 of the border"
    assert both.collapse(0.01, 1e-3) is None
    assert dataclasses.replace(both, named=True).collapse(0.01, 1e-3, 0.8) is None


def recorded():
    """Of each recorded run its last IoU and the object's largest share of the border in any checkpoint."""
    runs: dict[tuple[str, str], list[tuple[int, float, float]]] = {}
    for folder in ("chosen-on", "held-out"):
        table = json.loads((RESULTS / "rule" / folder / "signals.json").read_text())
        of = table["columns"].index
        for row in table["rows"]:
            runs.setdefault((row[of("data")], row[of("run")]), []).append(
                (row[of("step")], row[of("iou")], row[of("signals.border")])
            )
    return [(max(rows)[1], max(border for _, _, border in rows)) for rows in runs.values()]


def test_of_recorded_runs_those_without_an_object_are_caught_and_no_other():
    runs = recorded()
    assert len(runs) == 53
    limit = TrainConfig.collapse_border
    assert max(border for iou, border in runs if iou >= 0.2) < limit - 0.05
    dead = [border for iou, border in runs if iou < 0.2]
    assert len(dead) == 10
    assert sum(border > limit for border in dead) == 9
