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
from redoseg.data.native.layout import completed, found, joined, pieces, rows, shuffled
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


def listing(root: Path, *, sidecars: bool) -> FolderListing:
    """The photos, named by their paths below images/ without suffix; DataError without one.

    `root` is the folder with images/, or the one around CUB_200_2011/. `sidecars`: also the segmentations,
    there or beside that folder, where there are any, and splits from train_val_test_split.txt (the authors'),
    else dealt in the paper's proportions.
    """
    images = _photos(root)
    if not images:
        raise DataError(f"{root} holds no images/FOLDER/NAME.jpg: unpack {_INSIDE}.tgz there")
    if not sidecars:
        return FolderListing(root, list(images.values()), native=NAME)
    masks = {name: ref for name, ref in _segmentations(root).items() if name in images}
    splits = _listed(root, images) if _file(root, _SPLITS).exists() else _dealt(root, images)
    return FolderListing(root, list(images.values()), masks, splits, NAME, RULE)


def missing(root: Path) -> list[str]:
    """A line for each thing that `root` lacks of the whole set, to which the authors' list doesn't belong."""
    images, masks = _photos(root), _segmentations(root)
    cure = f"unpack {_INSIDE}.tgz in {root}"
    lines = pieces(_base(root) / "images", "photos", images, IMAGES, cure)
    unpack = f"unpack segmentations.tgz in {root}"
    lines += pieces(_base(root) / "segmentations", "segmentations", masks, IMAGES, unpack, list(images))
    return lines + _wrong_lists(root, images, cure)


def _wrong_lists(root: Path, images: Mapping[str, ImageRef], cure: str) -> list[str]:
    file = _file(root, _NUMBERS)
    if not file.exists():
        return [f"{file} is not there: {cure}"]
    try:
        names = set(_numbers(root).values())
        if _file(root, _SPLITS).exists():
            _read(root)
    except DataError as error:
        return [str(error)]
    unlike = len(names ^ images.keys()) if images else 0
    return [f"{file} and images/ differ in {unlike:,} images: {cure}"] if unlike else []


def _base(root: Path) -> Path:
    """The folder with images/."""
    return root if (root / "images").is_dir() or not (root / _INSIDE).is_dir() else root / _INSIDE


def _file(root: Path, name: str) -> Path:
    """A list of the set, or where it belongs: someone may have put it beside CUB_200_2011/."""
    own = _base(root) / name
    return own if own.exists() or not (root / name).exists() else root / name


def _photos(root: Path) -> dict[str, ImageRef]:
    return found(_base(root) / "images", r"(?P<name>[^/]+/[^/]+)\.jpg")


def _segmentations(root: Path) -> dict[str, ImageRef]:
    """By the names of their photos."""
    for place in (_base(root), _base(root).parent):
        masks = found(place / "segmentations", r"(?P<name>[^/]+/[^/]+)\.png")
        if masks:
            return masks
    return {}


def _numbers(root: Path) -> dict[str, str]:
    """The number of each photo, as images.txt has it. DataError if that can't be read."""
    return {number: os.path.splitext(path)[0] for number, path in rows(_file(root, _NUMBERS))}


def _read(root: Path) -> dict[str, str]:
    """Photo -> split by the authors' list, for those that images.txt knows."""
    file, names = _file(root, _SPLITS), _numbers(root)
    parts: dict[str, list[str]] = {split: [] for split in _BY_DIGIT.values()}
    for number, digit in rows(file):
        if digit not in _BY_DIGIT:
            raise DataError(f"{file}: photo {number} has {digit}, not 0 (train), 1 (val) or 2 (test)")
        if number in names:
            parts[_BY_DIGIT[digit]].append(names[number])
    return joined(file, parts)


def _listed(root: Path, images: Mapping[str, ImageRef]) -> dict[str, str]:
    _log.info("%s: splits by the authors' list, the paper's", root)
    return completed(root, f"{_SPLITS} and {_NUMBERS}", _read(root), images)


def _dealt(root: Path, images: Mapping[str, ImageRef]) -> dict[str, str]:
    """10,000, 788 and 1,000 of the whole set, of fewer in proportion, but of three at least one each."""
    order = shuffled(list(images), _KEY)
    least = 1 if len(order) > 2 else 0
    val, test = (max(round(share * len(order)), least) for share in (VAL, TEST))
    splits = dict.fromkeys(order[: val + test], "test") | dict.fromkeys(order[:val], "val")
    _log.warning(
        "%s has no %s: splits of %d train, %d val, %d test by chance, always the same, but not the paper's",
        *(root, _SPLITS, len(order) - len(splits), val, test),
    )
    return {name: splits.get(name, "train") for name in images}


def bird(file: BinaryIO) -> NDArray[np.uint8]:
    """(H, W) uint8 of a segmentation: 1 where its grey, on which several people agree, is above one half."""
    return (decode_grey(file) > 127).astype(np.uint8)


RULE = MaskRule("cub 1", bird)
