"""Pages of several blocks: rows of tiles with words beside and captions beneath, and a title above each.

Pictures are (H, W, 3) uint8 arrays, as in `tiles`; blocks and pages are PIL images.
"""

from collections.abc import Sequence
from math import isqrt

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from redoseg.figures.tiles import MIN_TILE, Picture

_GAP, _MARGIN, _BETWEEN = 2, 8, 10  # pixels between tiles, around a strip, between blocks
_LINES = (170, 170, 170)  # between tiles
_WORDS, _TITLE = 14, 18  # sizes of fonts
_SAMPLED = 50_000  # pixels, about, from which a page's palette is made


def strip(rows: Sequence[Sequence[Picture]], words: Sequence[str], captions: Sequence[str]) -> Image.Image:
    """A block: rows of tiles of one size, one of the `words` left of each row, a caption beneath each column.

    Tiles below 96 pixels are enlarged by a whole number. ValueError unless there is a word for each row and a
    caption for each column (or no captions).
    """
    if len(words) != len(rows) or any(len(row) != len(captions or rows[0]) for row in rows):
        raise ValueError(f"{[len(row) for row in rows]} tiles, {len(words)} words, {len(captions)} captions")
    scale = -(-MIN_TILE // min(rows[0][0].shape[:2]))
    height, width = (scale * side for side in rows[0][0].shape[:2])
    font, below = ImageFont.load_default(_WORDS), round(1.5 * _WORDS) if captions else 0
    left = _MARGIN + round(max(font.getlength(word) for word in words)) + _MARGIN
    size = left + len(rows[0]) * (width + _GAP) + _MARGIN, len(rows) * (height + _GAP) + below
    page = Image.new("RGB", size, "white")
    canvas = ImageDraw.Draw(page)
    ends = left + len(rows[0]) * (width + _GAP) - _GAP, len(rows) * (height + _GAP) - _GAP
    page.paste(_LINES, (left, 0, *ends))  # lines between tiles: white masks would run into each other
    for y, (row, word) in enumerate(zip(rows, words, strict=True)):
        top = y * (height + _GAP)
        canvas.text((left - _MARGIN, top + height / 2), word, "black", font, anchor="rm")
        for x, picture in enumerate(row):
            large = picture.repeat(scale, 0).repeat(scale, 1)
            page.paste(Image.fromarray(np.ascontiguousarray(large)), (left + x * (width + _GAP), top))
    for x, caption in enumerate(captions):
        middle = left + x * (width + _GAP) + width / 2
        canvas.text((middle, len(rows) * (height + _GAP)), caption, "black", font, anchor="ma")
    return page


def stack_blocks(blocks: Sequence[tuple[str, Image.Image]]) -> Image.Image:
    """A white page of (title, block) beneath each other, flush left. ValueError without any."""
    if not blocks:
        raise ValueError("no blocks to put on a page")
    font, band = ImageFont.load_default(_TITLE), round(1.6 * _TITLE)
    width = max(max(block.width, round(font.getlength(title)) + 2 * _MARGIN) for title, block in blocks)
    height = _BETWEEN + sum(band + block.height + _BETWEEN for _, block in blocks)
    page, top = Image.new("RGB", (width, height), "white"), _BETWEEN
    canvas = ImageDraw.Draw(page)
    for title, block in blocks:
        canvas.text((_MARGIN, top), title, "black", font)
        page.paste(block, (0, top + band))
        top += band + block.height + _BETWEEN
    return page


def reduce_colours(page: Image.Image, colours: int = 256) -> Image.Image:
    """The page in its best `colours`, at most 256, not dithered: as a PNG it is about a third as large."""
    rgb = page.convert("RGB")
    step = 1 + isqrt(rgb.width * rgb.height // _SAMPLED)  # all pixels would take half a minute
    some = rgb.resize((-(-rgb.width // step), -(-rgb.height // step)), Image.Resampling.NEAREST)
    palette = some.quantize(colours, Image.Quantize.MAXCOVERAGE, kmeans=2)
    return rgb.quantize(palette=palette, dither=Image.Dither.NONE)
