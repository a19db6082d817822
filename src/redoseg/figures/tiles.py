"""Pictures for people: the grid of the paper's Figure 2, masks in colours, pages of tiles.

A picture is an (H, W, 3) uint8 array; a page of them is a PIL image.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from redoseg.config import Box
from redoseg.data.labels import UNLABELLED

Picture = NDArray[np.uint8]
Groups = Sequence[tuple[str, int]]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

MIN_TILE = 96  # pixels: the sides of smaller tiles are enlarged to at least this, by a whole number
_THIN, _WIDE, _MARGIN = 2, 10, 8  # gaps in pixels: between tiles, between groups of columns, around the page
_BLURRED_CELLS = 4  # a side: a blurred box keeps nothing but the means of 4 x 4 cells
_GREY = (150, 150, 150)  # pixels without a label
# Okabe and Ito's colours, which colour-blind people can tell apart; the background is black.
_PALETTE = (
    *((0, 0, 0), (230, 159, 0), (86, 180, 233), (0, 158, 115)),
    *((240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167)),
)


@dataclass(frozen=True)
class GridContent:
    """What a grid shows of B images; region 0 is the background.

    `images` (B, S, S, 3) uint8; `masks` (B, n, S, S) float32 that sum to one; `truth` (B, S, S) uint8 labels,
    255 unlabelled, or None; `redrawn[r]` (B, K, S, S, 3) uint8, the images with region r redrawn with K
    codes, the same for all images. Columns follow the order of the regions in `redrawn`.
    """

    images: Picture
    masks: NDArray[np.float32]
    redrawn: Mapping[int, Picture]
    truth: NDArray[np.uint8] | None = None


def sample_grid(content: GridContent, *, blur: Box | None = None) -> Image.Image:
    """The paper's Figure 2: a row for each image, with its truth if known, its mask, and the image with a
    region redrawn, in a column for each code.

    The box `blur` (left, top, right, bottom, as shares of the side) is blurred in all tiles of photos.
    """
    n = content.masks.shape[1]
    groups = [("input", 1), *([("truth", 1)] if content.truth is not None else []), ("mask", 1)]
    groups += [(_redrawn_label(region, n), tiles.shape[1]) for region, tiles in content.redrawn.items()]
    rows = []
    for b, (image, masks) in enumerate(zip(content.images, content.masks, strict=True)):
        row = [blur_box(image, blur)]
        if content.truth is not None:
            row.append(label_colours(content.truth[b], n))
        row.append(mask_colours(masks))
        row += [blur_box(tile, blur) for tiles in content.redrawn.values() for tile in tiles[b]]
        rows.append(row)
    return sheet(rows, groups)


def blur_rows(content: GridContent, boxes: Sequence[Box | None]) -> GridContent:
    """The same content, with each image's box, if it has one, blurred in the image and its redrawn copies."""
    images = np.stack([blur_box(image, box) for image, box in zip(content.images, boxes, strict=True)])
    redrawn = {
        region: np.stack([[blur_box(tile, boxes[b]) for tile in row] for b, row in enumerate(rows)])
        for region, rows in content.redrawn.items()
    }
    return replace(content, images=images, redrawn=redrawn)


def region_colours(n: int) -> NDArray[np.uint8]:
    """(n, 3), a colour for each region. Two are black and white; from the ninth on colours repeat, darker."""
    if n == 2:
        return np.array([[0, 0, 0], [255, 255, 255]], np.uint8)
    objects = len(_PALETTE) - 1
    colours = [_PALETTE[0], *(_PALETTE[1 + k % objects] for k in range(n - 1))]
    shade = [1.0, *(0.6 ** (k // objects) for k in range(n - 1))]
    return np.rint(np.array(colours) * np.array(shade)[:, None]).astype(np.uint8)


def mask_colours(masks: NDArray[np.float32]) -> Picture:
    """Masks (n, H, W) as a picture: a pixel mixes the colours of its regions, so that doubtful ones show."""
    mixed = np.tensordot(masks, region_colours(len(masks)).astype(np.float32), axes=(0, 0))
    return np.rint(mixed.clip(0, 255)).astype(np.uint8)


def label_colours(labels: NDArray[np.uint8], n: int) -> Picture:
    """Labels (H, W) as a picture: 0 is background, 255 unlabelled (grey); all others for n = 2 the object."""
    known = np.where(labels == UNLABELLED, 0, labels)
    if n == 2:
        known = np.minimum(known, 1)
    picture = region_colours(max(n, int(known.max(initial=0)) + 1))[known]
    picture[labels == UNLABELLED] = _GREY
    return picture


def mask_overlay(photo: Picture, masks: NDArray[np.float32], *, strength: float = 0.4) -> Picture:
    """The photo (H, W, 3) with its objects tinted and outlined; masks (n, H, W) are of the same size."""
    colours = region_colours(max(len(masks), 3)).astype(np.float32)  # a tint of white would not show
    region = masks.argmax(0)
    share = strength * (1 - masks[0])[..., None]
    # The mean of the objects' colours, weighted by their masks alone, without the background's.
    tint = np.tensordot(masks[1:], colours[1 : len(masks)], axes=(0, 0)) / (1 - masks[0] + 1e-6)[..., None]
    picture = photo + share * (tint - photo)
    outline = _find_outline(region, max(1, round(min(region.shape) / 150)))
    picture[outline] = colours[region[outline]]
    return np.rint(picture.clip(0, 255)).astype(np.uint8)


def blur_box(picture: Picture, box: Box | None) -> Picture:
    """The picture (H, W, 3) with a `box` (left, top, right, bottom, as shares of the sides) unrecognisable.
    Nothing is left of the box but the means of 4 x 4 cells, interpolated. None: the picture as it is."""
    if box is None:
        return picture
    height, width = picture.shape[:2]
    left, upper = int(np.floor(box[0] * width)), int(np.floor(box[1] * height))
    right, lower = int(np.ceil(box[2] * width)), int(np.ceil(box[3] * height))
    inside = Image.fromarray(np.ascontiguousarray(picture[upper:lower, left:right]))
    cells = min(_BLURRED_CELLS, inside.width), min(_BLURRED_CELLS, inside.height)
    smooth = inside.resize(cells, Image.Resampling.BOX).resize(inside.size, Image.Resampling.BICUBIC)
    blurred = picture.copy()
    blurred[upper:lower, left:right] = np.asarray(smooth)
    return blurred


def sheet(rows: Sequence[Sequence[Picture]], groups: Groups) -> Image.Image:
    """A white page of tiles of one size. `groups` has each group's label, written above, and its columns.

    Tiles below 96 pixels are enlarged by a whole number. ValueError if a row hasn't a tile for each column.
    """
    columns = sum(count for _, count in groups)
    if any(len(row) != columns for row in rows):
        raise ValueError(f"rows of {sorted({len(row) for row in rows})} tiles under {columns} columns")
    height, width = rows[0][0].shape[:2]
    scale = -(-MIN_TILE // min(height, width))
    height, width = height * scale, width * scale
    lefts = _column_lefts(groups, width)
    font, band = _header_font(groups, width)
    page_size = lefts[-1] + width + _MARGIN, band + len(rows) * (height + _THIN) - _THIN + _MARGIN
    page = Image.new("RGB", page_size, "white")
    _write_header(page, groups, lefts, width, font, band)
    for y, row in enumerate(rows):
        for left, picture in zip(lefts, row, strict=True):
            tile_image = Image.fromarray(np.ascontiguousarray(picture))
            tile_image = tile_image.resize((width, height), Image.Resampling.NEAREST)
            page.paste(tile_image, (left, band + y * (height + _THIN)))
    return page


def tile(pictures: Sequence[Picture], *, columns: int = 8, side: int = 128) -> Image.Image:
    """A white page of pictures of any size, each fitted into a square of `side` pixels."""
    return in_rows([fit_square(picture, side) for picture in pictures], columns)


def in_rows(cells: Sequence[Picture], columns: int) -> Image.Image:
    """A white page of pictures (H, W, 3) of one size, `columns` a row at most. ValueError without any."""
    if not cells:
        raise ValueError("no pictures to put on a page")
    columns = min(columns, len(cells))
    whole = [*cells, *[np.full_like(cells[0], 255)] * (-len(cells) % columns)]
    return sheet([whole[start : start + columns] for start in range(0, len(whole), columns)], [("", columns)])


def _redrawn_label(region: int, n: int) -> str:
    if region == 0:
        return "background redrawn"
    return "object redrawn" if n == 2 else f"region {region} redrawn"


def _find_outline(region: NDArray[np.intp], thickness: int) -> NDArray[np.bool_]:
    """(H, W): where an object lies within `thickness` pixels of another region, above, below or beside it."""
    edge = np.zeros(region.shape, bool)
    for step in range(1, thickness + 1):
        for axis in (0, 1):
            first, second = (np.moveaxis(array, axis, 0) for array in (region, edge))  # views
            differs = first[step:] != first[:-step]
            second[step:] |= differs
            second[:-step] |= differs
    return edge & (region > 0)


def fit_square(picture: Picture, side: int) -> Picture:
    """The picture in the middle of a white square of `side` pixels, as large as it fits in; enlarged by whole
    numbers."""
    image = Image.fromarray(np.ascontiguousarray(picture))
    share = side / max(image.size)
    whole = int(share) if share >= 1 else share
    how = Image.Resampling.NEAREST if share >= 1 else Image.Resampling.LANCZOS
    image = image.resize((max(1, round(image.width * whole)), max(1, round(image.height * whole))), how)
    square = Image.new("RGB", (side, side), "white")
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return np.asarray(square)


def _column_lefts(groups: Groups, width: int) -> list[int]:
    """The left edge of each column."""
    lefts, left = [], _MARGIN
    for _, count in groups:
        lefts += [left + k * (width + _THIN) for k in range(count)]
        left = lefts[-1] + width + _WIDE
    return lefts


def _header_font(groups: Groups, width: int) -> tuple[Font, int]:
    """The largest font, of 18 pixels down to 9, in which every label fits its group; the header's height."""
    if not any(label for label, _ in groups):
        return ImageFont.load_default(8), _MARGIN
    room = [count * (width + _THIN) - _THIN for _, count in groups]
    for size in range(18, 8, -1):
        font = ImageFont.load_default(size)
        if all(font.getlength(label) <= space for (label, _), space in zip(groups, room, strict=True)):
            break
    return font, round(1.6 * size) + _MARGIN // 2


def _write_header(
    page: Image.Image, groups: Groups, lefts: Sequence[int], width: int, font: Font, band: int
) -> None:
    canvas, first = ImageDraw.Draw(page), 0
    for label, count in groups:
        middle = (lefts[first] + lefts[first + count - 1] + width) / 2
        canvas.text((middle - font.getlength(label) / 2, band * 0.2), label, "black", font)
        first += count
