"""What is left of a photo and its labels where the objects are: boxes, cut-outs, tints."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Box = tuple[int, int, int, int]
Labels = NDArray[np.uint8]
_COLOURS = np.array(
    [(230, 40, 60), (40, 130, 240), (40, 190, 90), (250, 170, 20), (160, 80, 220), (20, 200, 210)], np.uint8
)
"""Of the labels 1, 2, 3 ... in an overlay; the seventh has the first one again."""


def box_of(inside: NDArray[np.bool_]) -> Box | None:
    """Left, top, right and bottom of what is true, the last two just outside; None where nothing is."""
    rows, columns = (np.flatnonzero(inside.any(axis)).tolist() for axis in (1, 0))
    return (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1) if rows else None


def cut_out(photo: Image.Image, objects: NDArray[np.bool_]) -> Image.Image:
    """An RGB photo with alpha: opaque where `objects` (H, W) is true, else transparent and black."""
    alpha = objects[..., None].astype(np.uint8)
    return Image.fromarray(np.concatenate((np.asarray(photo) * alpha, 255 * alpha), 2))


def cut_out_close(photo: Image.Image, objects: NDArray[np.bool_]) -> Image.Image:
    """As `cut_out`, cropped to the objects; one transparent pixel where there are none."""
    box = box_of(objects)
    if box is None:  # a picture has at least one pixel
        return Image.new("RGBA", (1, 1))
    left, top, right, bottom = box
    return cut_out(photo.crop(box), objects[top:bottom, left:right])


def tint(photo: Image.Image, labels: Labels) -> Image.Image:
    """An RGB photo on which every label (H, W) but 0 has a colour of its own: the mean of the two."""
    pixels = np.array(photo)
    inside = labels > 0
    colours = _COLOURS[(labels[inside] - 1) % len(_COLOURS)]
    pixels[inside] = (pixels[inside].astype(np.uint16) + colours + 1) // 2
    return Image.fromarray(pixels)
