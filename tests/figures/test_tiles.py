"""Figures: what is where on a page, which colours, and that blurred boxes keep no face."""

import numpy as np
import pytest
from numpy.typing import NDArray

from redoseg.figures.tiles import (
    MIN_TILE,
    GridContent,
    blur_box,
    label_colours,
    mask_colours,
    mask_overlay,
    region_colours,
    sample_grid,
    sheet,
    tile,
)

BOX = (0.25, 0.25, 0.75, 0.75)


def noise(*shape: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def hard_masks(labels: NDArray[np.uint8], n: int) -> NDArray[np.float32]:
    """(n, H, W) from (H, W)."""
    return np.eye(n, dtype=np.float32)[labels].transpose(2, 0, 1)


def content(b: int = 2, n: int = 2, k: int = 3, size: int = 32, truth: bool = True) -> GridContent:
    labels = noise(b, size, size) % np.uint8(n)
    return GridContent(
        images=noise(b, size, size, 3, seed=1),
        masks=np.stack([hard_masks(one, n) for one in labels]),
        redrawn={r: noise(b, k, size, size, 3, seed=2 + r) for r in (*range(1, n), 0)},
        truth=labels if truth else None,
    )


def tiles_of(page: NDArray[np.uint8], count: int, side: int) -> list[NDArray[np.uint8]]:
    """Tiles in reading order: the top left corners are where the page is no longer white."""
    rows, columns = starts(page.min((1, 2)), side), starts(page[page.shape[0] // 2 :].min((0, 2)), side)
    found = [page[y : y + side, x : x + side] for y in rows for x in columns]
    assert len(found) == count
    return found


def starts(dark: NDArray[np.uint8], side: int) -> list[int]:
    """Where runs of at least `side` pixels that aren't white begin, in one dimension."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], dark < 250, [0]])))
    return [int(start) for start, end in zip(edges[::2], edges[1::2], strict=True) if end - start >= side]


@pytest.mark.parametrize(("n", "truth"), [(2, True), (2, False), (3, True)])
def test_the_grid_shows_everything_in_the_papers_order(n: int, truth: bool) -> None:
    shown = content(n=n, truth=truth)
    columns = 2 + truth + 3 * n
    page = np.asarray(sample_grid(shown))
    found = tiles_of(page, 2 * columns, 96)  # 32 pixels, three times
    for b in range(2):
        expected = [shown.images[b]]
        if shown.truth is not None:
            expected.append(label_colours(shown.truth[b], n))
        expected.append(mask_colours(shown.masks[b]))
        expected += [drawn for r in (*range(1, n), 0) for drawn in shown.redrawn[r][b]]
        for picture, tile_found in zip(expected, found[b * columns : (b + 1) * columns], strict=True):
            np.testing.assert_array_equal(tile_found[1::3, 1::3], picture)
    assert (page[0] == 255).all()
    assert page[2:24].min() < 100, "a header is written above the tiles"


def test_blur_reaches_photos_and_redraws_but_not_masks() -> None:
    shown = content()
    plain = tiles_of(np.asarray(sample_grid(shown)), 18, 96)
    blurred = tiles_of(np.asarray(sample_grid(shown, blur=BOX)), 18, 96)
    for index, (before, after) in enumerate(zip(plain, blurred, strict=True)):
        is_mask = index % 9 in (1, 2)
        assert np.array_equal(before, after) == is_mask


def test_a_blurred_box_forgets_what_was_in_it_and_nothing_else() -> None:
    picture = noise(64, 64, 3)
    blurred = blur_box(picture, BOX)
    inside = np.zeros((64, 64), bool)
    inside[16:48, 16:48] = True
    np.testing.assert_array_equal(blurred[~inside], picture[~inside])
    assert blurred[inside].std() < 0.25 * picture[inside].std()
    steps = np.abs(np.diff(blurred[16:48, 16:48].astype(int), axis=0))
    assert steps.max() < 30, "no detail is left"
    assert not np.shares_memory(picture, blurred)


@pytest.mark.parametrize("box", [(0.0, 0.0, 1.0, 1.0), (0.5, 0.5, 0.51, 0.51)])
def test_any_box_can_be_blurred(box: tuple[float, float, float, float]) -> None:
    assert blur_box(noise(32, 48, 3), box).shape == (32, 48, 3)


def test_two_regions_are_black_and_white_and_more_are_in_distinct_colours() -> None:
    np.testing.assert_array_equal(region_colours(2), [[0, 0, 0], [255, 255, 255]])
    for n in range(3, 14):
        colours = region_colours(n)
        assert colours.shape == (n, 3)
        assert len({tuple(colour) for colour in colours.tolist()}) == n


def test_labels_and_hard_masks_look_the_same_and_soft_masks_show_doubt() -> None:
    labels = noise(8, 8) % np.uint8(3)
    np.testing.assert_array_equal(label_colours(labels, 3), mask_colours(hard_masks(labels, 3)))
    half = mask_colours(np.full((2, 4, 4), 0.5, np.float32))
    assert (half == 128).all()


def test_unlabelled_pixels_are_grey_and_with_two_regions_all_others_are_the_object() -> None:
    shown = label_colours(np.array([[0, 1, 7, 255]], np.uint8), 2)[0]
    assert shown[0].max() == 0
    assert shown[1].min() == shown[2].min() == 255
    assert 100 < shown[3].min() == shown[3].max() < 200
    assert label_colours(np.full((2, 2), 9, np.uint8), 3).shape == (2, 2, 3), "truth may hold more than n"


def test_an_overlay_tints_and_outlines_the_object_only() -> None:
    photo = np.full((60, 60, 3), 128, np.uint8)
    labels = np.zeros((60, 60), np.uint8)
    labels[20:40, 20:40] = 1
    shown = mask_overlay(photo, hard_masks(labels, 2))
    np.testing.assert_array_equal(shown[labels == 0], photo[labels == 0])
    outline, inner = shown[20, 30], shown[30, 30]
    np.testing.assert_array_equal(outline, region_colours(3)[1])
    assert (inner != 128).any()
    assert (inner != outline).any()


def test_tiles_are_at_least_so_large_and_keep_their_pixels() -> None:
    for size in (32, 64, 100, 128):
        page = sheet([[noise(size, size, 3)]], [("", 1)])
        assert page.width - 16 >= MIN_TILE
        assert (page.width - 16) % size == 0


def test_a_long_header_over_one_column_still_fits() -> None:
    page = np.asarray(sample_grid(content(k=1)))
    assert (page[:, :4] == 255).all()
    assert (page[:, -4:] == 255).all()


def test_a_row_too_short_is_refused() -> None:
    with pytest.raises(ValueError, match="under 2 columns"):
        sheet([[noise(32, 32, 3)]], [("a", 2)])


def test_pages_take_pictures_of_any_size() -> None:
    page = tile([noise(20, 50, 3), noise(300, 30, 3), noise(1, 1, 3)], columns=2, side=100)
    assert page.size == (100 * 2 + 2 + 16, 100 * 2 + 2 + 16)
    with pytest.raises(ValueError, match="no pictures"):
        tile([])
