"""Where the object of a soft mask ends, found at the image's edges."""

import pytest
import torch

from redoseg.label_free.calibration import THRESHOLDS, apply_threshold, find_threshold

SIDE = 32


def squares(n=1):
    """Soft masks (4, n + 1, S, S) that fall off from the centre: squares of 4, 6, ... pixels are above .9,
    .8, ...; the object's channels share what the background leaves."""
    away = torch.maximum(*torch.meshgrid(*[(torch.arange(SIDE) - (SIDE - 1) / 2).abs()] * 2, indexing="ij"))
    object_ = (0.95 - 0.1 * (away - 1.5)).clamp(0.01, 0.99).expand(4, 1, -1, -1)
    share = torch.arange(1, n + 1) / sum(range(1, n + 1))
    return torch.cat((1 - object_, object_ * share[:, None, None]), 1)


def pictures(edge):
    """A bright square on a dark ground, `edge` pixels wide, with noise."""
    random = torch.Generator().manual_seed(0)
    images = 0.1 * torch.randn(4, 3, SIDE, SIDE, generator=random) - 0.5
    first = (SIDE - edge) // 2
    images[:, :, first : first + edge, first : first + edge] += 1
    return images


@pytest.mark.parametrize("threshold", [0.3, 0.4, 0.5, 0.6])
def test_the_threshold_whose_outline_is_the_edge(threshold):
    masks = squares()
    edge = int((masks[0, 1, SIDE // 2] > threshold).sum())
    assert find_threshold(masks, pictures(edge)) == threshold


def test_not_one_that_makes_another_object_of_it():
    """The edge is there, but about a square of a quarter of the object."""
    masks = squares()
    assert (masks[0, 1] > 0.9).sum() * 2 < (masks[0, 1] > 0.5).sum()
    assert find_threshold(masks, pictures(edge=4)) != 0.9


def test_of_equals_a_half():
    """An image without edges says nothing."""
    assert find_threshold(squares(), torch.zeros(4, 3, SIDE, SIDE)) == 0.5


@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_a_threshold_becomes_a_half(threshold):
    masks = squares()
    moved = apply_threshold(masks, threshold)
    torch.testing.assert_close(moved.sum(1), torch.ones(4, SIDE, SIDE))
    assert torch.equal(moved[:, 1] > 0.5, masks[:, 1] > threshold)


def test_three_regions_keep_their_odds_among_themselves():
    masks = squares(n=2)
    moved = apply_threshold(masks, 0.2)
    torch.testing.assert_close(moved[:, 1] / moved[:, 2], masks[:, 1] / masks[:, 2])
    torch.testing.assert_close(moved[:, 1] / moved[:, 0], 4 * masks[:, 1] / masks[:, 0])
