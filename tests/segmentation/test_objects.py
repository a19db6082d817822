"""What counts as the object: threshold, region, largest piece, holes, instances; SciPy is the referee."""

import numpy as np
import pytest
from scipy import ndimage

from redoseg import segment_files
from redoseg.segmentation.objects import choose_pieces, choose_region, count_pieces
from shapes import BRIGHT, COLOURS, HEIGHT, WIDTH, asked, box, disc, photo, read, save

BIG, SMALL, SPECK = disc(25, 30, 14), disc(60, 20, 8), box(90, 60, 92, 62)
RING = disc(25, 30, 14) & ~disc(25, 30, 6)


def mask_of(tmp_path, pixels, segmenter=BRIGHT, **options):
    save(tmp_path / "a.png", pixels)
    segment_files(segmenter, [tmp_path / "a.png"], tmp_path / "out", config=asked(**options))
    return read(tmp_path / "out" / "a.png")


def test_a_threshold_cuts_the_soft_mask_there(tmp_path):
    ramp = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    ramp[..., 0] = np.linspace(0, 255, WIDTH).round()
    for threshold in (0.2, 0.5, 0.9):
        expected = 255 * (ramp[..., 0] / 255 > threshold)
        np.testing.assert_array_equal(mask_of(tmp_path, ramp, threshold=threshold), expected)
    np.testing.assert_array_equal(mask_of(tmp_path, ramp, threshold=0.5), mask_of(tmp_path, ramp))


def test_a_threshold_of_several_regions_weighs_them_against_the_background():
    soft = np.array([0.5, 0.2, 0.3]).reshape(3, 1, 1)
    labels = {t: int(choose_region(soft, asked(threshold=t))[0, 0]) for t in (0.3, 0.37, 0.38, 0.6)}
    assert labels == {0.3: 2, 0.37: 2, 0.38: 0, 0.6: 0}  # 0.3 > 0.5 t / (1 - t) as long as t < 0.375


@pytest.mark.parametrize("region", [0, 1, 2])
def test_one_region_of_several_is_black_and_white(tmp_path, region):
    pixels = photo(BIG) | photo(SMALL, colour=1)
    expected = [~BIG & ~SMALL, BIG, SMALL][region]
    for threshold in (None, 0.6):
        found = mask_of(tmp_path, pixels, COLOURS, region=region, threshold=threshold)
        np.testing.assert_array_equal(found, 255 * expected)
    np.testing.assert_array_equal(mask_of(tmp_path, pixels, COLOURS), 1 * BIG + 2 * SMALL)


def test_the_largest_piece_stays_alone(tmp_path):
    np.testing.assert_array_equal(mask_of(tmp_path, photo(SMALL, BIG, SPECK), largest=True), 255 * BIG)
    assert not mask_of(tmp_path, photo(), largest=True).any()


def test_holes_are_filled_and_bays_are_not(tmp_path):
    bay = box(50, 0, 60, 20) & ~box(53, 0, 57, 12)
    found = mask_of(tmp_path, photo(RING, bay), fill_holes=True)
    np.testing.assert_array_equal(found > 0, ndimage.binary_fill_holes(RING | bay))
    np.testing.assert_array_equal(found > 0, BIG | bay)


def test_instances_are_numbered_from_the_largest_and_specks_left_out(tmp_path):
    pixels = photo(SMALL, BIG, SPECK)
    np.testing.assert_array_equal(mask_of(tmp_path, pixels, instances=0.01), 1 * BIG + 2 * SMALL)
    whole = mask_of(tmp_path, pixels, instances=0.1)  # of 6144 pixels the large disc has 613 or more
    assert (BIG.sum() >= 615, SMALL.sum() >= 615) == (whole.any(), False)
    np.testing.assert_array_equal(whole, 1 * (BIG & (BIG.sum() >= 614.4)))


def test_of_as_many_instances_as_fit_each_has_a_label_of_its_own():
    labels = np.zeros((100, 100), np.uint8)
    for row in range(0, 96, 8):
        for column in range(0, 96, 8):
            labels[row : row + 7, column : column + 7] = 1
    found = choose_pieces(labels, asked(instances=0.004))
    assert np.array_equal(np.unique(found), np.arange(1 + 12 * 12))


@pytest.mark.parametrize("seed", range(4))
def test_pieces_are_those_that_scipy_finds(seed):
    labels = (np.random.default_rng(seed).random((30, 40)) < 0.4).astype(np.uint8)
    pieces, count = ndimage.label(labels, structure=np.ones((3, 3)))
    assert count_pieces(labels > 0) == count
    areas = np.bincount(pieces.ravel())[1:]
    largest = choose_pieces(labels, asked(largest=True)) > 0
    assert largest.sum() == areas.max()
    assert len(np.unique(pieces[largest])) == 1
    filled = choose_pieces(labels, asked(fill_holes=True)) > 0
    np.testing.assert_array_equal(filled, ndimage.binary_fill_holes(labels))


def test_an_island_in_the_hole_of_the_largest_piece_is_part_of_it(tmp_path):
    island = disc(25, 30, 3)
    np.testing.assert_array_equal(
        mask_of(tmp_path, photo(RING, island), largest=True, fill_holes=True), 255 * BIG
    )


def test_a_model_that_refines_is_cut_off_where_it_is_asked(tmp_path):
    """The refined soft mask is what is written as soft, and the threshold cuts that one."""
    pixels = photo(BIG, value=180)
    soft = mask_of(tmp_path, pixels, type="soft") / 65535
    np.testing.assert_array_equal(mask_of(tmp_path / "m", pixels, threshold=0.7) > 0, soft > 0.7)
