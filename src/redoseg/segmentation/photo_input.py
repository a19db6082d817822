"""What a Segmenter accepts as a photo: a PIL image, an (H, W, 3) uint8 array or the path of a file."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from redoseg.data.images import decode_image, to_rgb
from redoseg.errors import DataError
from redoseg.files import expanded

Photo = Image.Image | NDArray[np.uint8] | str | os.PathLike[str]


def to_rgb_image(photo: object) -> Image.Image:
    """An image or array as an RGB image of at least 1 x 1. DataError, one line, for anything else."""
    if isinstance(photo, np.ndarray):
        return _from_array(photo)
    if not isinstance(photo, Image.Image):
        raise DataError(
            f"{type(photo).__name__} is no photo: give a PIL image, an (H, W, 3) uint8 array or a path"
        )
    if 0 in photo.size:
        raise DataError(f"the image is empty: {photo.width}x{photo.height}")
    return photo if photo.mode == "RGB" else to_rgb(photo)


@contextmanager
def naming_errors(photo: str | os.PathLike[str]) -> Iterator[Path]:
    """Gives the photo's path to a block, and puts its name in front of the DataErrors that the block raises.
    DataError, too, where there is no such file or where it is a folder."""
    path = expanded(os.fspath(photo))
    if path.is_dir():
        raise DataError(
            f"{path} is a folder: `redoseg segment` takes one, a Segmenter takes a list of photos"
        )
    if not path.exists():
        raise DataError(f"there is no {path}")
    try:
        yield path
    except DataError as error:
        raise DataError(f"{path} can't be read: {error}") from error


def read_whole(photo: str | os.PathLike[str]) -> Image.Image:
    """The photo in a file at its full size, RGB. DataError, with its name, if it can't be read."""
    with naming_errors(photo) as path:
        return decode_image(path)


def _from_array(array: NDArray[np.generic]) -> Image.Image:
    cure = None
    if array.dtype != np.uint8:
        cure = "values must be uint8, 0 to 255"
    elif array.ndim == 2:
        cure = "a grey photo becomes RGB by np.stack([photo] * 3, axis=-1)"
    elif array.ndim == 3 and array.shape[2] == 4:
        cure = "leave out the alpha channel: photo[..., :3]"
    elif array.ndim == 3 and array.shape[0] == 3 and array.shape[2] != 3:
        cure = "channels come last: photo.transpose(1, 2, 0)"
    elif array.ndim == 4:
        cure = "give several photos as a list"
    elif array.ndim != 3 or array.shape[2] != 3:
        cure = "red, green and blue are the last axis"
    elif 0 in array.shape:
        cure = "it is empty"
    if cure is not None:
        raise DataError(f"an array photo is (H, W, 3) uint8, this one is {array.shape} {array.dtype}: {cure}")
    return Image.fromarray(np.ascontiguousarray(array))
