"""The pictures that a photo gets: its mask, its soft mask, and three that show its own pixels."""

import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from redoseg.config.segment import Picture
from redoseg.figures.own_png import save_own_png
from redoseg.segmentation.crops import cut_out, cut_out_close, tint
from redoseg.segmentation.objects import Objects

_PNG: dict[str, Any] = {"compress_type": zlib.Z_RLE}  # of masks it makes smaller files in half the time


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
    return cut_out_close(photo, whole)


def saving(picture: Image.Image) -> Callable[[Path], None]:
    """What writes a picture as a PNG file of redoseg's own."""
    return partial(save_own_png, picture, **_PNG)
