"""What a mask file means, by rules that look at this file alone: its values, then its labels."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from redoseg.data.images import SHADES, decode_label, label_values
from redoseg.data.labels import UNLABELLED
from redoseg.data.loading import loading
from redoseg.errors import DataError

_HALF = 128  # of a soft mask: from here on it is the object
_UNKNOWN = (127, 128)  # in a trimap of 0, one of these and 255
_SMALL = 32  # values below it are numbers of classes, unless they are rare beside 255
_RARE = 0.05
_WHITE = 240  # no class has a number from here to 254: such values are a white that was stored with loss


class Kind(IntEnum):
    """How a mask file was read."""

    BLACK_AND_WHITE = 0
    """0 is background, 255 the object; but see `mask_notes.find_unlabelled`."""
    SOFT = 1
    """Greys along the edges, or stray ones: the object is what is at least 128."""
    TRIMAP = 2
    """0 background, 255 the object, areas of 127 or 128 unlabelled."""
    NUMBERS = 3
    """The values are the labels, and 255 is unlabelled."""
    WHITE = 4
    """255 all over: an object, or unlabelled; the set's other masks tell (`mask_notes.find_unlabelled`)."""


@dataclass(frozen=True)
class MaskRule:
    """How a mask file becomes labels: `read` gives (H, W) uint8, and how the file was read.

    It raises DataError, in one line without the file's name, for a file that can't be a mask. `name` is
    part of a cache's key and has to change when `read` does.
    """

    name: str
    read: Callable[[BinaryIO], tuple[NDArray[np.uint8], Kind]]


def read_mask(file: BinaryIO | Path) -> tuple[NDArray[np.uint8], Kind]:
    """The labels in a mask file, (H, W) uint8, and how it was read. DataError as `decode_label`."""
    return to_labels(decode_label(file))


BY_VALUES = MaskRule("values 1", read_mask)
"""The files are read by their values alone."""


def is_mask(file: Path) -> bool:
    """Whether a file can be nothing but a mask: grey, without transparency, and black and white or labels by
    small numbers alone."""
    try:
        with loading(file) as (image, _):
            if image.mode not in ("1", "L", "I;16"):
                return False
            labels, kind = to_labels(label_values(image))
    except DataError:
        return False
    numbers = labels[labels < UNLABELLED]
    few = kind == Kind.NUMBERS and int(numbers.max()) < _SMALL
    return kind in (Kind.BLACK_AND_WHITE, Kind.WHITE) or few


def numbered(
    read: Callable[[BinaryIO], NDArray[np.uint8]],
) -> Callable[[BinaryIO], tuple[NDArray[np.uint8], Kind]]:
    """For a `MaskRule` whose files hold labels in a form of their own, which `read` knows."""
    return lambda file: (read(file), Kind.NUMBERS)


def to_labels(values: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], Kind]:
    """Labels (H, W) uint8 from the values (H, W) of one mask, and by which rule."""
    counts = np.bincount(values.ravel(), minlength=256)
    between = np.flatnonzero(counts[1:255]) + 1
    if counts[255] == values.size:
        return np.ones_like(values), Kind.WHITE
    if not len(between):
        return (values > 0).astype(np.uint8), Kind.BLACK_AND_WHITE
    if _are_numbers(values, counts, between):
        if counts[255] and set(between) <= set(_UNKNOWN):
            return np.select([values == 255, values == 0], [1, 0], UNLABELLED).astype(np.uint8), Kind.TRIMAP
        return values, Kind.NUMBERS
    return (values >= _HALF).astype(np.uint8), Kind.SOFT


def _are_numbers(values: NDArray[np.uint8], counts: NDArray[np.int64], between: NDArray[np.int64]) -> bool:
    """Whether the values between 0 and 255 number areas: greys of an edge have no area of one value."""
    pixels = int(counts[between].sum())
    if len(between) == 1 and not counts[255]:
        return True
    if between.max() < _SMALL and pixels >= _RARE * counts[255]:
        return True
    if between.max() >= _WHITE:
        return False
    if not counts[255] and len(between) < SHADES:
        return True
    inner = values[:-1, :-1]
    flat = (inner == values[:-1, 1:]) & (inner == values[1:, :-1]) & (inner > 0) & (inner < 255)
    return 2 * int(flat.sum()) >= pixels
