"""Photos that aren't square, shown to a network as the squares that it has learned."""

import itertools

import numpy as np
import pytest

from redoseg.segmentation.segmenter import Segmenter
from redoseg.segmentation.squares import by_squares, joined, squares_of

AS_IT_IS = [(64, 64), (64, 132), (132, 64), (256, 64), (1, 1)]
CUT = {  # how many squares there are along the long side
    (64, 68): 0, (68, 64): 0, (64, 72): 2, (72, 64): 2, (64, 96): 2, (96, 64): 2, (64, 100): 3, (128, 64): 3,
}  # fmt: skip


def pixels(height, width):
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 3), np.uint8)


def brightness(pictures):
    """Two masks of each picture, pixel by pixel: what isn't red, and what is."""
    red = [picture[..., 0].astype(np.float32) / 255 for picture in pictures]
    return [np.stack([1 - one, one]) for one in red]


def test_a_square_and_a_long_picture_are_shown_as_they_are():
    for height, width in AS_IT_IS:
        picture = pixels(height, width)
        (shown,) = squares_of(picture)
        assert np.array_equal(shown, picture)
        (masks,), (expected,) = by_squares(brightness, [picture]), brightness([picture])
        assert np.array_equal(masks, expected)


@pytest.mark.parametrize(("shape", "count"), CUT.items())
def test_squares_cover_other_pictures_each_half_over_the_next(shape, count):
    picture, short, long = pixels(*shape), min(shape), max(shape)
    *along, squeezed = squares_of(picture)
    assert all(square.shape == (short, short, 3) for square in (*along, squeezed))
    upright = picture if shape[0] > shape[1] else picture.transpose(1, 0, 2)
    starts = []
    for square in along:
        square = square if shape[0] > shape[1] else square.transpose(1, 0, 2)
        places = range(long - short + 1)
        starts.append(next(at for at in places if np.array_equal(upright[at : at + short], square)))
    assert len(starts) == count
    assert all(0 < far - near <= short / 2 for near, far in itertools.pairwise(starts))
    assert not starts or (starts[0], starts[-1]) == (0, long - short)
    # a row of the squeezed picture is the mean of long / short rows
    rows = np.repeat(upright.astype(float), short, 0).reshape(short, long, short, 3).mean(1)
    whole = rows if shape[0] > shape[1] else rows.transpose(1, 0, 2)
    assert np.abs(squeezed - whole).max() <= 0.6  # whole numbers


@pytest.mark.parametrize("shape", CUT)
def test_what_all_squares_agree_on_is_the_picture_s(shape):
    picture = np.zeros((*shape, 3), np.uint8)
    picture[shape[0] // 4 :, : shape[1] // 2, 0] = 255
    (masks,), (expected,) = by_squares(brightness, [picture]), brightness([picture])
    assert masks.shape == (2, *shape)
    assert masks.dtype == np.float32
    assert np.allclose(masks.sum(0), 1, atol=1e-6)
    wrong = (masks[1] > 0.5) != (expected[1] > 0.5)
    assert wrong.mean() < 0.03  # along the region's border, where the squeezed picture is blurred


def test_regions_keep_their_numbers():
    picture = np.zeros((64, 96, 3), np.uint8)
    picture[:, :20, 0] = picture[:, 70:, 1] = 255

    def colours(pictures):
        values = [picture[..., :2].transpose(2, 0, 1).astype(np.float32) / 255 for picture in pictures]
        return [np.concatenate((1 - value.sum(0, keepdims=True), value)) for value in values]

    (masks,) = by_squares(colours, [picture])
    regions = masks.argmax(0)
    assert (regions[:, :19] == 1).all()
    assert (regions[:, 22:68] == 0).all()
    assert (regions[:, 72:] == 2).all()


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

    photos = [pixels(80, 120), pixels(130, 70), pixels(64, 64)]
    Segmenter(backend, n=2, size=32, squares=True)(photos)
    assert {shape[2:] for shape in seen} == {(32, 32)}
    assert sum(shape[0] for shape in seen) == 3 + 4 + 1
    seen.clear()
    Segmenter(backend, n=2, size=32)(photos)
    assert sorted(shape[2:] for shape in seen) == [(32, 32), (32, 48), (60, 32)]
