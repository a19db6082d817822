"""Pages of several blocks: rows of tiles with words beside and numbers beneath, titles, small files.

Pictures are (H, W, 3) uint8 arrays, as in `figures`; pages are PIL images.
"""

from collections.abc import Sequence
from math import isqrt

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from redoseg.figures.tiles import MIN_TILE, Picture

_GAP, _MARGIN, _BETWEEN = 2, 8, 10  # pixels between tiles, around a strip, between blocks
_LINES = (170, 170, 170)  # between tiles
_WORDS, _TITLE = 14, 18  # sizes of fonts
_SAMPLED = 50_000  # pixels, about, that a page's colours are found from


def strip(rows: Sequence[Sequence[Picture]], words: Sequence[str], captions: Sequence[str]) -> Image.Image:
    """Rows of equal tiles, one of the `words` to the left of each row, a caption beneath each column.

    Tiles below 96 pixels are enlarged by a whole number. ValueError unless there are as many words as rows,
    and as many captions as columns, or none.
    """
    if len(words) != len(rows) or any(len(row) != len(captions or rows[0]) for row in rows):
        raise ValueError(f"{[len(row) for row in rows]} tiles, {len(words)} words, {len(captions)} captions")
    scale = -(-MIN_TILE // min(rows[0][0].shape[:2]))
    height, width = (scale * side for side in rows[0][0].shape[:2])
    font, below = ImageFont.load_default(_WORDS), round(1.5 * _WORDS) if captions else 0
    left = _MARGIN + round(max(font.getlength(word) for word in words)) + _MARGIN
    size = left + len(rows[0]) * (width + _GAP) + _MARGIN, len(rows) * (height + _GAP) + below
    page = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(page)
    ends = left + len(rows[0]) * (width + _GAP) - _GAP, len(rows) * (height + _GAP) - _GAP
    page.paste(_LINES, (left, 0, *ends))  # or white masks would run into each other
    for y, (row, word) in enumerate(zip(rows, words, strict=True)):
        top = y * (height + _GAP)
        draw.text((left - _MARGIN, top + height / 2), word, "black", font, anchor="rm")
        for x, picture in enumerate(row):
            large = picture.repeat(scale, 0).repeat(scale, 1)
            page.paste(Image.fromarray(np.ascontiguousarray(large)), (left + x * (width + _GAP), top))
    for x, caption in enumerate(captions):
        middle = left + x * (width + _GAP) + width / 2
        draw.text((middle, len(rows) * (height + _GAP)), caption, "black", font, anchor="ma")
    return page


def stacked(blocks: Sequence[tuple[str, Image.Image]]) -> Image.Image:
    """A white page of blocks beneath each other, flush left, a title above each. ValueError without any."""
    if not blocks:
        raise ValueError("no blocks to put on a page")
    font, band = ImageFont.load_default(_TITLE), round(1.6 * _TITLE)
    width = max(max(block.width, round(font.getlength(title)) + 2 * _MARGIN) for title, block in blocks)
    height = _BETWEEN + sum(band + block.height + _BETWEEN for _, block in blocks)
    page, top = Image.new("RGB", (width, height), "white"), _BETWEEN
    draw = ImageDraw.Draw(page)
    for title, block in blocks:
        draw.text((_MARGIN, top), title, "black", font)
        page.paste(block, (0, top + band))
        top += band + block.height + _BETWEEN
    return page


def few_colours(page: Image.Image, colours: int = 256) -> Image.Image:
    """The page with its best `colours`, up to 256: as a PNG about a third as large.

    Nothing is dithered, so that the pixels of enlarged tiles stay flat.
    """
    rgb = page.convert("RGB")
    step = 1 + isqrt(
        rgb.width * rgb.height // _SAMPLED
    )  # all pixels of a large page would take half a minute
    some = rgb.resize((-(-rgb.width // step), -(-rgb.height // step)), Image.Resampling.NEAREST)
    palette = some.quantize(colours, Image.Quantize.MAXCOVERAGE, kmeans=2)
    return rgb.quantize(palette=palette, dither=Image.Dither.NONE)
