"""Photos that aren't square, shown to a network as the squares that it has learned."""

import itertools

import numpy as np
import pytest

from redoseg.segmentation.segmenter import Segmenter
from redoseg.segmentation.squares import by_squares, joined, squares_of

SHAPES = [(64, 64), (64, 68), (68, 64), (96, 64), (64, 96), (128, 64), (64, 132), (256, 64)]


def pixels(height, width):
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 3), np.uint8)


def brightness(pictures):
    """Two masks of each picture, pixel by pixel: what isn't red, and what is."""
    red = [picture[..., 0].astype(np.float32) / 255 for picture in pictures]
    return [np.stack([1 - one, one]) for one in red]


@pytest.mark.parametrize(("height", "width"), SHAPES)
def test_the_squares_cover_a_picture_each_half_over_the_next(height, width):
    picture, short = pixels(height, width), min(height, width)
    squares = squares_of(picture)
    assert all(square.shape == (short, short, 3) for square in squares)
    squeezed = short < max(height, width) <= 2 * short
    along = squares[:-1] if squeezed else squares
    upright = picture if height >= width else picture.transpose(1, 0, 2)
    starts = []
    for square in along:
        square = square if height >= width else square.transpose(1, 0, 2)
        places = range(max(height, width) - short + 1)
        starts.append(next(at for at in places if np.array_equal(upright[at : at + short], square)))
    if max(height, width) > 1.1 * short or not squeezed:
        assert starts[0] == 0
        assert starts[-1] == max(height, width) - short
        assert all(0 < far - near <= short / 2 for near, far in itertools.pairwise(starts))
    else:
        assert not along
    if squeezed:
        long = len(upright)  # a row of the squeezed picture is the mean of long / short rows
        rows = np.repeat(upright.astype(float), short, 0).reshape(short, long, short, 3).mean(1)
        whole = rows if height > width else rows.transpose(1, 0, 2)
        assert np.abs(squares[-1] - whole).max() <= 0.6  # whole numbers


@pytest.mark.parametrize(("height", "width"), SHAPES)
def test_what_all_squares_agree_on_is_the_picture_s(height, width):
    picture = np.zeros((height, width, 3), np.uint8)
    picture[height // 4 :, : width // 2, 0] = 255
    (masks,) = by_squares(brightness, [picture])
    assert masks.shape == (2, height, width)
    assert masks.dtype == np.float32
    assert np.allclose(masks.sum(0), 1, atol=1e-6)
    (expected,) = brightness([picture])
    wrong = (masks[1] > 0.5) != (expected[1] > 0.5)
    assert wrong.mean() < 0.03  # along the region's border, where the squeezed picture is blurred
    if max(height, width) > 2 * min(height, width) or height == width:
        assert np.allclose(masks, expected, atol=1e-6)  # nothing is squeezed


def test_a_square_s_border_counts_less_than_its_middle_and_the_whole_picture_half():
    squares = squares_of(pixels(64, 96))
    assert len(squares) == 3  # at 0, at 32, and the whole picture
    masks = [np.stack([np.full((64, 64), 1 - value), np.full((64, 64), value)]) for value in (0.0, 1.0, 0.5)]
    found = joined([mask.astype(np.float32) for mask in masks], 64, 96)[1]
    assert np.allclose(found[:, :32], 0.25)
    assert np.allclose(found[:, 64:], 0.75)
    ours, theirs = 32.0, 1.0  # column 32 is the 33rd of the one, 32 from its end, and the other's first
    assert np.allclose(found[:, 32], 0.5 * 0.5 + 0.5 * theirs / (ours + theirs))
    assert (np.diff(found[0, 32:64]) > 0).all()
    upright = joined([mask.transpose(0, 2, 1).astype(np.float32) for mask in masks], 96, 64)[1]
    assert np.array_equal(upright, found.T)


def test_a_network_that_has_learned_squares_sees_nothing_else():
    seen = []

    def backend(images):
        seen.append(images.shape)
        return np.full((len(images), 2, *images.shape[2:]), 0.5, np.float32)

    photos = [pixels(80, 120), pixels(200, 70), pixels(64, 64)]
    Segmenter(backend, n=2, size=32, squares=True)(photos)
    assert {shape[2:] for shape in seen} == {(32, 32)}
    assert sum(shape[0] for shape in seen) == 3 + 5 + 1
    seen.clear()
    Segmenter(backend, n=2, size=32)(photos)
    assert sorted(shape[2:] for shape in seen) == [(32, 32), (32, 48), (92, 32)]
