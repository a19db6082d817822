"""Oxford Flowers-102 as its owner distributes it: jpg/, segmim/, setid.mat."""

import logging
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from redoseg.data.folder import FolderListing, ImageRef
from redoseg.data.images import MaskRule, decode_image
from redoseg.data.native.layout import check_files, complete_splits, find_files, invert_splits
from redoseg.errors import DataError

NAME = "flowers"
IMAGES = 8189
SPLITS = {"train": 6149, "val": 1020, "test": 1020}
PHOTOS = "102flowers.tgz"

_log = logging.getLogger("redoseg.data")
_SUBSETS = {"train": "tstid", "val": "valid", "test": "trnid"}  # the paper's: it trains on the largest
_BLUE = (0, 0, 254)  # what pure blue is after JPEG
_TOLERANCE = 90
"""How far from it background may be, in RGB. JPEG with half the colours' resolution blurs them along an
outline, so that any tolerance errs there. With this one, outlines laid over 24 flower photos come back from
JPEG (quality 75) at IoU .98 to .99, a little too wide, and 2 in 10,000 of the flowers' pixels are lost."""
# What scipy raises for a file that isn't MATLAB's, or is damaged
_UNREADABLE = (
    *(OSError, EOFError, ValueError, TypeError, LookupError, AttributeError, NotImplementedError),
    *(RuntimeError, NameError, MemoryError, ArithmeticError, struct.error, zlib.error),
)


def list_images(root: Path, *, sidecars: bool) -> FolderListing:
    """The photos `image_00001` ..., which are all of `root`/jpg; DataError without one.

    `sidecars`: also the segmentations, where there are any, and the paper's splits from setid.mat; without
    that file all is `train`.
    """
    images = _find_photos(root)
    if not images:
        raise DataError(f"{root} holds no jpg/image_00001.jpg or the like: unpack {PHOTOS} there")
    if not sidecars:
        return FolderListing(root, list(images.values()), native=NAME)
    masks = {name: ref for name, ref in _find_masks(root).items() if name in images}
    file, splits = root / "setid.mat", {}
    if file.exists():
        splits = complete_splits(root, "setid.mat", read_setid(file), images)
    else:
        _log.warning("%s has no setid.mat: all its images are in `train`, which is not the paper's", root)
    return FolderListing(root, list(images.values()), masks, splits, NAME, RULE)


def find_missing(root: Path) -> list[str]:
    """A line for each thing that `root` lacks of the whole set."""
    images = _find_photos(root)
    lines = check_files(root / "jpg", "photos image_*.jpg", images, IMAGES, f"unpack {PHOTOS} in {root}")
    cure = f"unpack 102segmentations.tgz in {root}"
    masks = _find_masks(root)
    lines += check_files(root / "segmim", "segmentations segmim_*.jpg", masks, IMAGES, cure, list(images))
    return lines + _check_splits(root / "setid.mat")


def _check_splits(file: Path) -> list[str]:
    if not file.exists():
        return [f"{file} is not there: fetch setid.mat of Flowers-102 and put it there"]
    try:
        splits = list(read_setid(file).values())
    except DataError as error:
        return [str(error)]
    counts = {split: splits.count(split) for split in SPLITS}
    if counts == SPLITS:
        return []
    return [f"{file} gives {counts}, and the set's own {SPLITS}: fetch setid.mat of Flowers-102 anew"]


def _find_photos(root: Path) -> dict[str, ImageRef]:
    return find_files(root / "jpg", r"(?P<name>image_\d{5})\.jpg")


def _find_masks(root: Path) -> dict[str, ImageRef]:
    """By the names of their photos."""
    masks = find_files(root / "segmim", r"seg(?P<name>mim_\d{5})\.jpg")
    return {name.replace("mim", "image", 1): ref for name, ref in masks.items()}


def read_setid(file: Path) -> dict[str, str]:
    """Photo -> split, as the paper takes them: tstid trains. DataError if that can't be read from `file`."""
    from scipy.io import loadmat  # noqa: PLC0415 - takes a while, which other sets needn't wait
    from scipy.io.matlab import MatReadError  # noqa: PLC0415

    try:
        content = loadmat(file, variable_names=tuple(_SUBSETS.values()))
        numbers = {split: np.ravel(content[subset]).tolist() for split, subset in _SUBSETS.items()}
        parts = {split: [f"image_{int(k):05d}" for k in found] for split, found in numbers.items()}
    except (*_UNREADABLE, MatReadError) as error:
        raise DataError(
            f"{file} is not the setid.mat of Flowers-102, with trnid, valid and tstid: fetch it anew"
        ) from error
    return invert_splits(file, parts)


def read_flower(file: BinaryIO) -> NDArray[np.uint8]:
    """(H, W) uint8 of a segmentation: 0 where it is blue, within what JPEG does to that, 1 elsewhere."""
    pixels = np.asarray(decode_image(file), np.int32)
    distance = np.square(pixels - _BLUE).sum(axis=2)
    away: NDArray[np.bool_] = distance > _TOLERANCE**2
    return away.astype(np.uint8)


RULE = MaskRule("flowers 1", read_flower)
