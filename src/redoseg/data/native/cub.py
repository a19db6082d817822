"""CUB-200-2011 as its owner distributes it: images/, images.txt, and segmentations/ from their own archive.

They lie in `root` or in its CUB_200_2011/, the segmentations perhaps beside that folder.
"""

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from redoseg.data.image_ref import ImageRef
from redoseg.data.images import decode_grey
from redoseg.data.mask_files import MaskRule, numbered
from redoseg.data.native import layout
from redoseg.errors import DataError

NAME = "cub"
EXAMPLE, ARCHIVE = "images/FOLDER/NAME.jpg", "CUB_200_2011.tgz"
IMAGES = 11_788
VAL, TEST = 788 / 11_788, 1_000 / 11_788
"""The shares of the images that validate and test if there is no list: the paper's numbers."""

_INSIDE = "CUB_200_2011"  # the folder that the photos' archive unpacks to
_SPLITS, _NUMBERS = "train_val_test_split.txt", "images.txt"
_BY_DIGIT = {"0": "train", "1": "val", "2": "test"}
_KEY = 0xCB  # seed of the order in which images are dealt to splits without a list

_log = logging.getLogger("redoseg.data")


def find_missing(root: Path) -> list[str]:
    """The authors' list of splits is no part of the set, so that it isn't missed."""
    images, masks, base = find_photos(root), find_masks(root), _base(root)
    cure, unpack = f"unpack {ARCHIVE} in {root}", f"unpack segmentations.tgz in {root}"
    lines = layout.check_files(base / "images", "photos", images, IMAGES, cure)
    lines += layout.check_files(base / "segmentations", "segmentations", masks, IMAGES, unpack, list(images))
    return lines + _check_lists(root, images, cure)


def _check_lists(root: Path, images: Mapping[str, ImageRef], cure: str) -> list[str]:
    file = _list_file(root, _NUMBERS)
    if not file.exists():
        return [f"{file} is not there: {cure}"]
    try:
        names = set(_read_numbers(root).values())
        if _list_file(root, _SPLITS).exists():
            _read_splits(root)
    except DataError as error:
        return [str(error)]
    unlike = len(names ^ images.keys()) if images else 0
    return [f"{file} and images/ differ in {unlike:,} images: {cure}"] if unlike else []


def _base(root: Path) -> Path:
    """The folder that holds images/."""
    return root if (root / "images").is_dir() or not (root / _INSIDE).is_dir() else root / _INSIDE


def _list_file(root: Path, name: str) -> Path:
    """Where a list of the set is or belongs; one may have been put beside CUB_200_2011/, too."""
    own = _base(root) / name
    return own if own.exists() or not (root / name).exists() else root / name


def find_photos(root: Path) -> dict[str, ImageRef]:
    """The photos, named by their paths below images/ without the suffix."""
    return layout.find_files(_base(root) / "images", r"(?P<name>[^/]+/[^/]+)\.jpg")


def find_masks(root: Path) -> dict[str, ImageRef]:
    """The segmentations, by the names of their photos."""
    places, pattern = (_base(root), _base(root).parent), r"(?P<name>[^/]+/[^/]+)\.png"
    found = (layout.find_files(place / "segmentations", pattern) for place in places)
    return next(filter(None, found), {})


def _read_numbers(root: Path) -> dict[str, str]:
    """Number -> photo, by images.txt. DataError if it can't be read."""
    pairs = layout.read_pairs(_list_file(root, _NUMBERS))
    return {number: os.path.splitext(path)[0] for number, path in pairs}


def _read_splits(root: Path) -> dict[str, str]:
    """Photo -> split by the authors' list, of the photos in images.txt. DataError for broken lists."""
    file, names = _list_file(root, _SPLITS), _read_numbers(root)
    parts: dict[str, list[str]] = {split: [] for split in _BY_DIGIT.values()}
    for number, digit in layout.read_pairs(file):
        if digit not in _BY_DIGIT:
            raise DataError(f"{file}: photo {number} has {digit}, not 0 (train), 1 (val) or 2 (test)")
        if number in names:
            parts[_BY_DIGIT[digit]].append(names[number])
    return layout.invert_splits(file, parts)


def find_splits(root: Path, images: Mapping[str, ImageRef], masks: Mapping[str, ImageRef]) -> dict[str, str]:
    """By train_val_test_split.txt, the authors' list; without it, dealt in the paper's proportions."""
    if not _list_file(root, _SPLITS).exists():
        return _deal_splits(root, images)
    _log.info("%s: splits by the authors' list, the paper's", root)
    return layout.complete_splits(root, f"{_SPLITS} and {_NUMBERS}", _read_splits(root), images)


def _deal_splits(root: Path, images: Mapping[str, ImageRef]) -> dict[str, str]:
    """10,000 train, 788 val, 1,000 test, else in proportion; of three images or more each split gets one."""
    order = layout.shuffle_names(list(images), _KEY)
    least = 1 if len(order) > 2 else 0
    val, test = (max(round(share * len(order)), least) for share in (VAL, TEST))
    splits = dict.fromkeys(order[: val + test], "test") | dict.fromkeys(order[:val], "val")
    _log.warning(
        "%s has no %s: splits of %d train, %d val, %d test by chance, always the same, but not the paper's",
        *(root, _SPLITS, len(order) - len(splits), val, test),
    )
    return {name: splits.get(name, "train") for name in images}


def read_bird(file: BinaryIO) -> NDArray[np.uint8]:
    """(H, W) uint8 from a segmentation, grey by how many people saw the bird there: 1 for more than half."""
    return (decode_grey(file) > 127).astype(np.uint8)


RULE = MaskRule("cub 1", numbered(read_bird))
