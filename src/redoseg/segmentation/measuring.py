"""Measurements of the objects in a photo: size, place, shape and colour."""

import math
from dataclasses import dataclass, fields

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from redoseg.segmentation.crops import box_of
from redoseg.segmentation.objects import count_pieces

_DIGITS = 4


@dataclass(frozen=True, slots=True)
class Measures:
    """An object, by the `number` of its region or instance; lengths in pixels.

    `share`: of the photo's area. `left` ... `bottom`: its box, the last two just outside. `x`, `y`: its
    centroid; 0, 0 is the middle of the upper left pixel. `major_axis` and `minor_axis` are those of the
    ellipse with the same second moments, `orientation` is the angle of the first with the horizontal, from
    -90 (left out) to 90 degrees, counter-clockwise. `perimeter` is Crofton's, along four directions: right on
    average, 5 % short along rows and columns; holes count. `red`, `green`, `blue`: mean colour, 0 to 255."""

    number: int
    area: int
    share: float
    left: int
    top: int
    right: int
    bottom: int
    x: float
    y: float
    orientation: float
    major_axis: float
    minor_axis: float
    perimeter: float
    red: float
    green: float
    blue: float
    pieces: int
    touches_border: bool

    def as_row(self) -> tuple[object, ...]:
        """Its fields, numbers rounded to a ten-thousandth, yes or no as true or false."""
        values = (getattr(self, name) for name in NAMES)
        return tuple(
            str(value).lower() if isinstance(value, bool) else round(value, _DIGITS) for value in values
        )


NAMES = tuple(field.name for field in fields(Measures))
COLUMNS = ("object", *NAMES[1:])


def measure(labels: NDArray[np.uint8], photo: Image.Image) -> tuple[Measures, ...]:
    """The objects in labels (H, W), from 1 up, on their RGB photo of the same size."""
    pixels = np.asarray(photo)
    return tuple(_measure(labels == label, label, pixels) for label in np.unique(labels[labels > 0]).tolist())


def _measure(inside: NDArray[np.bool_], label: int, pixels: NDArray[np.uint8]) -> Measures:
    box = box_of(inside)
    assert box is not None
    left, top, right, bottom = box
    height, width = inside.shape
    part = inside[top:bottom, left:right]
    moments = cv2.moments(part.view(np.uint8), True)
    area = round(moments["m00"])
    major, minor, orientation = _ellipse(*(moments[name] / area for name in ("mu20", "mu11", "mu02")))
    red, green, blue = pixels[top:bottom, left:right][part].mean(0).tolist()
    return Measures(
        label, area, area / inside.size, *box,
        x=left + moments["m10"] / area, y=top + moments["m01"] / area,
        orientation=orientation, major_axis=major, minor_axis=minor, perimeter=_perimeter(part),
        red=red, green=green, blue=blue, pieces=count_pieces(np.ascontiguousarray(part)),
        touches_border=left == 0 or top == 0 or right == width or bottom == height,
    )  # fmt: skip


def _ellipse(xx: float, xy: float, yy: float) -> tuple[float, float, float]:
    """Axes and orientation, in degrees, of the ellipse with these second moments about its middle; a pixel is
    a square, so that a single one has moments, too."""
    xx, yy = xx + 1 / 12, yy + 1 / 12
    mean, apart = (xx + yy) / 2, math.hypot((xx - yy) / 2, xy)
    angle = -math.degrees(math.atan2(2 * xy, xx - yy)) / 2 + 0.0  # y goes down; no -0
    return 4 * math.sqrt(mean + apart), 4 * math.sqrt(max(mean - apart, 0.0)), 90.0 if angle <= -90 else angle


def _perimeter(inside: NDArray[np.bool_]) -> float:
    """By Cauchy and Crofton: from how often lines along rows, columns and diagonals cross the outline."""
    padded = np.pad(inside, 1)
    straight = _count(padded[:, 1:], padded[:, :-1]) + _count(padded[1:], padded[:-1])
    slanted = _count(padded[1:, 1:], padded[:-1, :-1]) + _count(padded[1:, :-1], padded[:-1, 1:])
    return math.pi / 8 * (straight + slanted / math.sqrt(2))


def _count(ones: NDArray[np.bool_], others: NDArray[np.bool_]) -> int:
    return int(np.count_nonzero(ones != others))
