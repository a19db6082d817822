"""Masks that were painted over on the page, kept where `redoseg fix` finds them."""

import shutil
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from redoseg.data.formats import UNREADABLE
from redoseg.data.mask_files import read_mask
from redoseg.errors import DataError, reason_of
from redoseg.figures.own_png import check_replaceable, is_own, save_own_png
from redoseg.files import write_aside
from redoseg.serving.limits import Refusal

_LONGEST = 2048  # pixels of a side of what is painted

UNTOUCHED = 255
"""The grey of pixels that were not painted; any other one is a region's number."""


def mask_file(folder: Path, name: str) -> Path:
    """Where the mask of the photo of that name lies: two photos may differ in their suffix alone."""
    return folder / f"{name}.png"


def corrected_before(folder: Path, name: str) -> NDArray[np.uint8] | None:
    """The labels (H, W) of the mask that was saved for a photo of that name; None without one of redoseg's
    own."""
    file = mask_file(folder, name)
    try:
        return read_mask(file)[0] if file.is_file() and is_own(file) else None
    except (DataError, OSError):  # it can't be read: saving says so
        return None


def take_over(name: str, source: Path, target: Path) -> None:
    """Copy a photo's corrected mask from one folder to another. OSError."""
    file = mask_file(target, name)
    file.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(mask_file(source, name), file)


def forget(name: str, folders: tuple[Path, ...]) -> None:
    """Remove a photo's corrected masks, as far as they are redoseg's own. OSError."""
    for file in (mask_file(folder, name) for folder in folders):
        if file.is_file() and is_own(file):
            file.unlink()


def painted(labels: NDArray[np.uint8], content: bytes, n: int) -> NDArray[np.uint8]:
    """Labels (H, W) with what was painted, a grey PNG of any size and the same shape: each pixel a region's
    number, or `UNTOUCHED`. Refusal (400, 415) for what is none."""
    height, width = labels.shape
    try:
        with Image.open(BytesIO(content), formats=["PNG"]) as image:
            if max(image.size) > _LONGEST:
                raise Refusal(400, f"what was painted has over {_LONGEST} pixels a side: make it smaller")
            if not _same_shape(image.size, (width, height)):
                given = f"{image.width} x {image.height}"
                raise Refusal(400, f"{given} is not the shape of {width} x {height} pixels")
            strokes = np.asarray(image.convert("L"))  # a browser writes greys as colours
    except UNREADABLE as error:
        raise Refusal(415, "what was painted is no PNG file") from error
    touched = strokes != UNTOUCHED
    if touched.any() and strokes[touched].max() >= n:
        raise Refusal(400, f"what was painted has region {strokes[touched].max()}: there are 0 to {n - 1}")
    enlarged = np.asarray(Image.fromarray(strokes).resize((width, height), Image.Resampling.NEAREST))
    return np.where(enlarged == UNTOUCHED, labels, enlarged)


def _same_shape(size: tuple[int, int], of: tuple[int, int]) -> bool:
    """Whether a (width, height) is another one made smaller or larger, but for rounding."""
    return abs(size[0] - of[0] * size[1] / of[1]) <= 1 or abs(size[1] - of[1] * size[0] / of[0]) <= 1


def save(labels: NDArray[np.uint8], name: str, n: int, folders: tuple[Path, ...]) -> Path:
    """Write a mask as `redoseg segment` does, by its photo's `name`, to each folder; the last one's file.
    Refusal (409) if a file that isn't redoseg's is in its place, (507) if it can't be written."""
    picture = Image.fromarray(labels * 255 if n == 2 else labels)
    files = [mask_file(folder, name) for folder in folders]
    try:
        check_replaceable(files)
        for file in files:
            file.parent.mkdir(parents=True, exist_ok=True)
            write_aside(file, partial(save_own_png, picture))
    except DataError as error:
        raise Refusal(
            409, str(error).replace("choose another --out", "choose other --corrections")
        ) from error
    except OSError as error:
        raise Refusal(507, f"{error.filename}: {reason_of(error)}") from error
    return files[-1]
