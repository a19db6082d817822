"""The pictures that a photo gets: its mask, its soft mask, and three that show its own pixels."""

import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from redoseg.config.segment import Picture
from redoseg.figures.own_png import save_own_png
from redoseg.segmentation.objects import Labels, Objects, box_of

_PNG: dict[str, Any] = {"compress_type": zlib.Z_RLE}  # of masks it makes smaller files in half the time
_COLOURS = np.array(
    [(230, 40, 60), (40, 130, 240), (40, 190, 90), (250, 170, 20), (160, 80, 220), (20, 200, 210)], np.uint8
)
"""Of the labels 1, 2, 3 ... in an overlay; the seventh has the first one again."""


def draw(type: Picture, objects: Objects, photo: Image.Image | None) -> Image.Image:
    """The picture of this type. `photo`, RGB, has the labels' size, and is None for masks alone."""
    if type == "mask":
        return Image.fromarray(objects.labels * 255 if objects.single else objects.labels)
    if type == "colmap":  # features are looked for where it isn't black
        return Image.fromarray((objects.labels > 0).astype(np.uint8) * 255)
    if type == "soft":
        assert objects.soft is not None
        return Image.fromarray(np.rint(objects.soft * np.float32(65535)).astype(np.uint16))
    assert photo is not None
    if type == "overlay":
        return tint(photo, objects.labels)
    whole = objects.labels > 0
    if type == "rgba":
        return cut_out(photo, whole)
    box = box_of(whole)
    if box is None:  # a picture has at least one pixel
        return Image.new("RGBA", (1, 1))
    left, top, right, bottom = box
    return cut_out(photo.crop(box), whole[top:bottom, left:right])


def saving(picture: Image.Image) -> Callable[[Path], None]:
    """What writes a picture as a PNG file of redoseg's own."""
    return partial(save_own_png, picture, **_PNG)


def cut_out(photo: Image.Image, objects: NDArray[np.bool_]) -> Image.Image:
    """An RGB photo with alpha: opaque where `objects` (H, W) is true, else transparent and black."""
    alpha = objects[..., None].astype(np.uint8)
    return Image.fromarray(np.concatenate((np.asarray(photo) * alpha, 255 * alpha), 2))


def tint(photo: Image.Image, labels: Labels) -> Image.Image:
    """An RGB photo on which every label (H, W) but 0 has a colour of its own: the mean of the two."""
    pixels = np.array(photo)
    inside = labels > 0
    colours = _COLOURS[(labels[inside] - 1) % len(_COLOURS)]
    pixels[inside] = (pixels[inside].astype(np.uint16) + colours + 1) // 2
    return Image.fromarray(pixels)
