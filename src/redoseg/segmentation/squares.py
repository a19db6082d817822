"""A photo that isn't square as the squares that a network has learned to see, and their masks as the photo's.

What a network takes from the whole of its picture, such as means over it, fits no other shape than it has
learned. So it is shown squares along the photo's long side, in which things have their own shape and may be
cut off, and the whole photo squeezed to a square, in which nothing is cut off. Each has half a say. A photo
that is more than twice as long as wide is shown as it is: squeezed, things would look like others, and
squares without any of them make the network see one where none is.
"""

import math
from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from redoseg.segmentation.refining import resize_masks

Pixels = NDArray[np.uint8]
Masks = NDArray[np.float32]

_NEARLY = 1.1  # times as long as wide: squeezed alone, which changes little
_LONG = 2.0  # times as long as wide: beyond, shown as it is


def by_squares(
    predict: Callable[[Sequence[Pixels]], Sequence[Masks]], pictures: Sequence[Pixels]
) -> list[Masks]:
    """Masks (n, h, w) in [0, 1] of each picture (h, w, 3) uint8, by a `predict` that has learned squares."""
    parts = [squares_of(picture) for picture in pictures]
    masks = iter(predict([square for squares in parts for square in squares]))
    return [
        joined([next(masks) for _ in squares], *picture.shape[:2])
        for picture, squares in zip(pictures, parts, strict=True)
    ]


def squares_of(pixels: Pixels) -> list[Pixels]:
    """The squares (s, s, 3) of a picture (h, w, 3), s its short side: those along its long side, each half
    over the next one at least, then the whole picture, squeezed. Of a square, and of a long picture, that
    itself."""
    height, width = pixels.shape[:2]
    if not _is_cut(height, width):
        return [pixels]
    short, tall = min(height, width), height > width
    squares = [
        pixels[start : start + short] if tall else pixels[:, start : start + short]
        for start in _along(height, width)
    ]
    whole = cv2.resize(pixels, (short, short), interpolation=cv2.INTER_AREA)
    return [*squares, np.asarray(whole, np.uint8)]


def joined(masks: Sequence[Masks], height: int, width: int) -> Masks:
    """(n, h, w) of the masks (n, s, s) of a picture's squares, in the order of `squares_of`. They sum to one
    over n if those do."""
    if not _is_cut(height, width):
        return masks[0]
    whole, along = resize_masks(masks[-1], (width, height)), _along(height, width)
    if along:
        whole = (whole + _blended(masks[:-1], along, height, width)) / np.float32(2)
    return whole


def _along(height: int, width: int) -> list[int]:
    """Where the squares along the long side begin."""
    short, long = sorted((height, width))
    if long <= _NEARLY * short:
        return []
    count = math.ceil(2 * (long / short - 1)) + 1
    return [round(place * (long - short) / (count - 1)) for place in range(count)]


def _is_cut(height: int, width: int) -> bool:
    short, long = sorted((height, width))
    return short < long <= _LONG * short


def _blended(masks: Sequence[Masks], along: Sequence[int], height: int, width: int) -> Masks:
    """Masks of squares that begin at `along`, each counting the less the nearer it ends."""
    n, short = masks[0].shape[:2]
    ramp = np.minimum(np.arange(1, short + 1), np.arange(short, 0, -1)).astype(np.float32)
    summed = np.zeros((n, max(height, width), short), np.float32)
    weights = np.zeros(max(height, width), np.float32)
    for mask, start in zip(masks, along, strict=True):
        upright = mask if height > width else mask.transpose(0, 2, 1)  # (n, along the long side, across)
        summed[:, start : start + short] += upright * ramp[:, None]
        weights[start : start + short] += ramp
    summed /= weights[:, None]
    return summed if height > width else summed.transpose(0, 2, 1)
