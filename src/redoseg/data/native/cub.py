"""CUB-200-2011 as its owner distributes it: images/, segmentations/ (an archive of its own), images.txt."""

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from redoseg.data.folder import FolderListing, ImageRef
from redoseg.data.images import MaskRule, decode_grey
from redoseg.data.native.layout import (
    check_files,
    complete_splits,
    find_files,
    invert_splits,
    read_pairs,
    shuffle_names,
)
from redoseg.errors import DataError

NAME = "cub"
IMAGES = 11_788
VAL, TEST = 788 / 11_788, 1_000 / 11_788
"""Shares of the images, where there is no list: the paper's numbers."""

_INSIDE = "CUB_200_2011"  # the folder that the photos' archive unpacks to
_SPLITS, _NUMBERS = "train_val_test_split.txt", "images.txt"
_BY_DIGIT = {"0": "train", "1": "val", "2": "test"}
_KEY = 0xCB  # of the order in which images are dealt to splits

_log = logging.getLogger("redoseg.data")


def list_images(root: Path, *, sidecars: bool) -> FolderListing:
    """The photos, named by their paths below images/ without suffix; DataError without one.

    `root` is the folder with images/, or the one around CUB_200_2011/. `sidecars`: also the segmentations,
    there or beside that folder, where there are any, and splits from train_val_test_split.txt (the authors'),
    else dealt in the paper's proportions.
    """
    images = _find_photos(root)
    if not images:
        raise DataError(f"{root} holds no images/FOLDER/NAME.jpg: unpack {_INSIDE}.tgz there")
    if not sidecars:
        return FolderListing(root, list(images.values()), native=NAME)
    masks = {name: ref for name, ref in _find_masks(root).items() if name in images}
    splits = (
        _take_listed_splits(root, images)
        if _list_file(root, _SPLITS).exists()
        else _deal_splits(root, images)
    )
    return FolderListing(root, list(images.values()), masks, splits, NAME, RULE)


def find_missing(root: Path) -> list[str]:
    """A line for each thing that `root` lacks of the whole set, to which the authors' list doesn't belong."""
    images, masks = _find_photos(root), _find_masks(root)
    cure = f"unpack {_INSIDE}.tgz in {root}"
    lines = check_files(_photo_folder(root) / "images", "photos", images, IMAGES, cure)
    unpack = f"unpack segmentations.tgz in {root}"
    lines += check_files(
        _photo_folder(root) / "segmentations", "segmentations", masks, IMAGES, unpack, list(images)
    )
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


def _photo_folder(root: Path) -> Path:
    """The folder with images/."""
    return root if (root / "images").is_dir() or not (root / _INSIDE).is_dir() else root / _INSIDE


def _list_file(root: Path, name: str) -> Path:
    """A list of the set, or where it belongs: someone may have put it beside CUB_200_2011/."""
    own = _photo_folder(root) / name
    return own if own.exists() or not (root / name).exists() else root / name


def _find_photos(root: Path) -> dict[str, ImageRef]:
    return find_files(_photo_folder(root) / "images", r"(?P<name>[^/]+/[^/]+)\.jpg")


def _find_masks(root: Path) -> dict[str, ImageRef]:
    """By the names of their photos."""
    for place in (_photo_folder(root), _photo_folder(root).parent):
        masks = find_files(place / "segmentations", r"(?P<name>[^/]+/[^/]+)\.png")
        if masks:
            return masks
    return {}


def _read_numbers(root: Path) -> dict[str, str]:
    """The number of each photo, as images.txt has it. DataError if that can't be read."""
    return {number: os.path.splitext(path)[0] for number, path in read_pairs(_list_file(root, _NUMBERS))}


def _read_splits(root: Path) -> dict[str, str]:
    """Photo -> split by the authors' list, for those that images.txt knows."""
    file, names = _list_file(root, _SPLITS), _read_numbers(root)
    parts: dict[str, list[str]] = {split: [] for split in _BY_DIGIT.values()}
    for number, digit in read_pairs(file):
        if digit not in _BY_DIGIT:
            raise DataError(f"{file}: photo {number} has {digit}, not 0 (train), 1 (val) or 2 (test)")
        if number in names:
            parts[_BY_DIGIT[digit]].append(names[number])
    return invert_splits(file, parts)


def _take_listed_splits(root: Path, images: Mapping[str, ImageRef]) -> dict[str, str]:
    _log.info("%s: splits by the authors' list, the paper's", root)
    return complete_splits(root, f"{_SPLITS} and {_NUMBERS}", _read_splits(root), images)


def _deal_splits(root: Path, images: Mapping[str, ImageRef]) -> dict[str, str]:
    """10,000, 788 and 1,000 of the whole set, of fewer in proportion, but of three at least one each."""
    order = shuffle_names(list(images), _KEY)
    least = 1 if len(order) > 2 else 0
    val, test = (max(round(share * len(order)), least) for share in (VAL, TEST))
    splits = dict.fromkeys(order[: val + test], "test") | dict.fromkeys(order[:val], "val")
    _log.warning(
        "%s has no %s: splits of %d train, %d val, %d test by chance, always the same, but not the paper's",
        *(root, _SPLITS, len(order) - len(splits), val, test),
    )
    return {name: splits.get(name, "train") for name in images}


def read_bird(file: BinaryIO) -> NDArray[np.uint8]:
    """(H, W) uint8 of a segmentation: 1 where its grey, on which several people agree, is above one half."""
    return (decode_grey(file) > 127).astype(np.uint8)


RULE = MaskRule("cub 1", read_bird)
