"""Oxford Flowers-102 as its owner distributes it: jpg/, segmim/, setid.mat."""

import logging
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from redoseg.data.image_ref import ImageRef
from redoseg.data.images import decode_image
from redoseg.data.mask_files import MaskRule, numbered
from redoseg.data.native import layout
from redoseg.errors import DataError

NAME = "flowers"
IMAGES = 8189
SPLITS = {"train": 6149, "val": 1020, "test": 1020}
EXAMPLE, ARCHIVE = "jpg/image_00001.jpg or the like", "102flowers.tgz"

_log = logging.getLogger("redoseg.data")
_SUBSETS = {"train": "tstid", "val": "valid", "test": "trnid"}  # the paper trains on the set's largest part
_BLUE = (0, 0, 254)  # the background of segmentations: pure blue after JPEG
_TOLERANCE = 90
"""How far from _BLUE the background may be, in RGB. JPEG stores colours at half the resolution and blurs them
along an outline, so that any tolerance errs there. With this one, outlines laid over 24 flower photos come
back from JPEG (quality 75) at IoU .98 to .99, a little too wide, and 2 in 10,000 of the flowers' pixels are
lost."""
# What scipy raises for a file that isn't MATLAB's, or is damaged
_UNREADABLE = (
    *(OSError, EOFError, ValueError, TypeError, LookupError, AttributeError, NotImplementedError),
    *(RuntimeError, NameError, MemoryError, ArithmeticError, struct.error, zlib.error),
)


def find_missing(root: Path) -> list[str]:
    images = find_photos(root)
    cure = f"unpack {ARCHIVE} in {root}"
    lines = layout.check_files(root / "jpg", "photos image_*.jpg", images, IMAGES, cure)
    masks, place = find_masks(root), root / "segmim"
    cure = f"unpack 102segmentations.tgz in {root}"
    lines += layout.check_files(place, "segmentations segmim_*.jpg", masks, IMAGES, cure, list(images))
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


def find_photos(root: Path) -> dict[str, ImageRef]:
    """The photos `image_00001` and so on."""
    return layout.find_files(root / "jpg", r"(?P<name>image_\d{5})\.jpg")


def find_masks(root: Path) -> dict[str, ImageRef]:
    """The segmentations, by the names of their photos."""
    masks = layout.find_files(root / "segmim", r"seg(?P<name>mim_\d{5})\.jpg")
    return {name.replace("mim", "image", 1): ref for name, ref in masks.items()}


def find_splits(root: Path, images: Mapping[str, ImageRef], masks: Mapping[str, ImageRef]) -> dict[str, str]:
    """The paper's splits, by setid.mat; without that file all images train."""
    file = root / "setid.mat"
    if file.exists():
        return layout.complete_splits(root, "setid.mat", read_setid(file), images)
    _log.warning("%s has no setid.mat: all its images are in `train`, which is not the paper's", root)
    return {}


def read_setid(file: Path) -> dict[str, str]:
    """Photo -> split, with tstid to train on, as in the paper. DataError if `file` doesn't hold that."""
    from scipy.io import loadmat  # noqa: PLC0415 - its import takes a while, and other sets don't need it
    from scipy.io.matlab import MatReadError  # noqa: PLC0415

    try:
        content = loadmat(file, variable_names=tuple(_SUBSETS.values()))
        numbers = {split: np.ravel(content[subset]).tolist() for split, subset in _SUBSETS.items()}
        parts = {split: [f"image_{int(k):05d}" for k in found] for split, found in numbers.items()}
    except (*_UNREADABLE, MatReadError) as error:
        text = f"{file} is not the setid.mat of Flowers-102, with trnid, valid and tstid: fetch it anew"
        raise DataError(text) from error
    return layout.invert_splits(file, parts)


def read_flower(file: BinaryIO) -> NDArray[np.uint8]:
    """(H, W) uint8 from a segmentation: 0 where it is blue, as far as JPEG leaves it so, 1 elsewhere."""
    pixels = np.asarray(decode_image(file), np.int32)
    return np.asarray(np.square(pixels - _BLUE).sum(axis=2) > _TOLERANCE**2, np.uint8)


RULE = MaskRule("flowers 1", numbered(read_flower))
