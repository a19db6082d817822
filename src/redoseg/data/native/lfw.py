"""Labeled Faces in the Wild as its owner distributes it: lfw_funneled/, part labels, lists of splits."""

import logging
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from redoseg.data.image_ref import ImageRef
from redoseg.data.images import decode_image
from redoseg.data.mask_files import MaskRule, numbered
from redoseg.data.naming import join_names
from redoseg.data.native import layout
from redoseg.errors import DataError

NAME = "lfw"
EXAMPLE, ARCHIVE = "lfw_funneled/NAME/NAME_0001.jpg", "lfw-funneled.tgz"
IMAGES = 13_233
LABELLED = 2_927
VAL = 1_327 / 2_927
"""The share of the labelled faces that the paper validates on. It tests on the others."""

_PHOTOS, _PARTS = "lfw_funneled", "parts_lfw_funneled_gt_images"
_AUTHORS = {"train": "train.txt", "val": "val.txt", "test": "test.txt"}
_OWN = {"train": "parts_train.txt", "val": "parts_validation.txt", "test": "parts_test.txt"}
_KEY = 0x1F3  # seed of the order in which persons are dealt to val and test without lists

_log = logging.getLogger("redoseg.data")


def find_missing(root: Path) -> list[str]:
    images, masks = find_photos(root), find_masks(root)
    cure = f"unpack {ARCHIVE} in {root}"
    lines = layout.check_files(root / _PHOTOS, "photos NAME/NAME_0001.jpg", images, IMAGES, cure)
    cure = f"unpack {_PARTS}.tgz in {root}"
    lines += layout.check_files(root / _PARTS, "part labels NAME_0001.ppm", masks, LABELLED, cure)
    return lines + _check_lists(root, masks, cure)


def _check_lists(root: Path, masks: Mapping[str, ImageRef], cure: str) -> list[str]:
    """`cure`: what to do if part labels are missing."""
    lists = _choose_lists(root)
    if lists is None:
        papers, own = ", ".join(_AUTHORS.values()), ", ".join(_OWN.values())
        return [f"{root} holds no lists of splits: put the paper's {papers} there, or {own}"]
    absent = [file for file in lists.values() if not (root / file).is_file()]
    if absent:
        return [f"{root} lacks {', '.join(absent)}, which belongs to the other lists there: fetch it"]
    try:
        splits = _read_splits(root, lists)
    except DataError as error:
        return [str(error)]
    labelled = ("val", "test") if lists is _AUTHORS else tuple(lists)
    wanted = [name for name, split in splits.items() if split in labelled]
    lost = [name for name in wanted if name not in masks] if masks else []
    if not lost:
        return []
    return [f"{root / _PARTS} lacks the labels of {len(lost):,} listed faces: {join_names(lost)}: {cure}"]


def find_photos(root: Path) -> dict[str, ImageRef]:
    """The faces, named `Aaron_Eckhart_0001` and so on."""
    return layout.find_files(root / _PHOTOS, r"(?P<person>[^/]+)/(?P<name>(?P=person)_\d{4})\.jpg")


def find_masks(root: Path) -> dict[str, ImageRef]:
    """The part labels, by the names of their faces."""
    return layout.find_files(root / _PARTS, r"(?P<name>[^/]+_\d{4})\.ppm")


def _choose_lists(root: Path) -> Mapping[str, str] | None:
    """The files of the lists of splits that count in `root`; only some of them may be there. None without."""
    found = (lists for lists in (_AUTHORS, _OWN) if any((root / file).is_file() for file in lists.values()))
    return next(found, None)


def _read_splits(root: Path, lists: Mapping[str, str]) -> dict[str, str]:
    """Face -> split, by those of the lists that are there. DataError for broken ones."""
    parts = {
        split: [_parse_face(root / file, *pair) for pair in layout.read_pairs(root / file)]
        for split, file in lists.items()
        if (root / file).is_file()
    }
    return layout.invert_splits(root, parts)


def _parse_face(file: Path, person: str, which: str) -> str:
    """The face in a line of the set's lists, "NAME 1", or the authors', "NAME NAME_0001"; else DataError."""
    if which.isdecimal():
        return f"{person}_{int(which):04d}"
    if not which.startswith(f"{person}_"):
        said = join_names([f"{person} {which}"])
        raise DataError(f"{file}: a line should be NAME 1 or NAME NAME_0001, and is: {said}")
    return which


def find_splits(root: Path, images: Mapping[str, ImageRef], masks: Mapping[str, ImageRef]) -> dict[str, str]:
    """By the first that is there: the authors' lists, the set's own part lists, or the part labels alone."""
    lists = _choose_lists(root)
    if lists is None:
        return _deal_splits(root, images, masks)
    listed = _read_splits(root, lists)
    if lists is _AUTHORS:
        _log.info("%s: splits by the authors' lists, the paper's", root)
        return layout.complete_splits(root, ", ".join(lists.values()), listed, images)
    text = (
        "%s: splits by the set's own part lists, not the paper's: `test` is parts_test.txt, `val` the other "
        "faces with part labels, `train` all without"
    )
    _log.warning(text, root)
    labelled = masks.keys() | listed.keys()
    return {
        name: "train" if name not in labelled else "test" if listed.get(name) == "test" else "val"
        for name in images
    }


def _deal_splits(root: Path, images: Mapping[str, ImageRef], masks: Mapping[str, ImageRef]) -> dict[str, str]:
    """Deal faces with labels to val and test, all of one person to the same; the others train."""
    faces: dict[str, list[str]] = {}
    for name in masks:
        faces.setdefault(person(name), []).append(name)
    splits = dict.fromkeys(images, "train")
    dealt = 0
    for one in layout.shuffle_names(list(faces), _KEY):
        split = "val" if dealt < VAL * len(masks) else "test"
        dealt += len(faces[one])
        splits |= dict.fromkeys(faces[one], split)
    counts = Counter(splits.values())
    text = (
        "%s holds no lists of splits: its faces with part labels are dealt to %d val and %d test, by person, "
        "which is not the paper's split"
    )
    _log.warning(text, root, counts["val"], counts["test"])
    return splits


def person(name: str) -> str:
    """The person whose face it is: `Aaron_Eckhart` for `Aaron_Eckhart_0001`."""
    return name.rpartition("_")[0]


def read_parts(file: BinaryIO) -> NDArray[np.uint8]:
    """(H, W) uint8 from a file of part labels: 0 background (blue), 1 skin (green), 2 hair (red). A pixel is
    what its largest channel says; skin wins over hair and both over background if they are equal."""
    red, green, blue = np.moveaxis(np.asarray(decode_image(file)), 2, 0)
    background = blue > np.maximum(red, green)
    return np.where(background, 0, np.where(red > green, 2, 1)).astype(np.uint8)


RULE = MaskRule("lfw 1", numbered(read_parts))
