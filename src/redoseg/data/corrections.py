"""Masks that somebody corrected, in the forms in which other tools keep them: labels, photo by photo."""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from redoseg.data.archive import Entry
from redoseg.data.formats import MASK_SUFFIXES
from redoseg.data.image_ref import ImageRef
from redoseg.data.listing import Files, list_archive, list_folder, suffix_of
from redoseg.data.mask_files import read_mask
from redoseg.data.naming import folded, join_names
from redoseg.data.outlines import draw_coco, draw_labelme, has_area, wellformed
from redoseg.errors import DataError

Labels = NDArray[np.uint8]


@dataclass(frozen=True)
class Correction:
    """A corrected `photo`; `read` gives its labels (H, W), 0 background, and raises DataError or OSError.
    `outlined`: whether they come from polygons, which leave out what is smaller than a pixel or so."""

    photo: ImageRef
    read: Callable[[], Labels]
    outlined: bool = True


@dataclass(frozen=True)
class Corrections:
    """`found`: what there is for each corrected photo. `form`: what the masks were. `unknown`: names of masks
    without such a photo, or that could be of several; `empty`: names of photos in the list without any
    outline."""

    form: str
    found: list[Correction]
    unknown: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)


def find_corrections(source: Path, photos: Sequence[ImageRef], n: int) -> Corrections:
    """The corrected masks of `photos` in `source`: a folder or an archive of mask files, a COCO file, or a
    folder of labelme's files or one of them. A mask belongs to the photo of its name, with or without the
    photo's suffix and folders, as long as no other photo is called so. `n`: regions; for two, whatever is
    outlined is the object, for more the number of a category, or the one in which its name ends, is the
    region's. DataError if there is nothing of the kind."""
    if not source.exists():
        raise DataError(f"there is no {source}: give a folder of masks, a COCO file or a folder of labelme's")
    by_name = _ByName(photos)
    if source.is_file() and source.suffix.lower() == ".json":
        content = _read_json(source)
        if isinstance(content, dict) and {"images", "annotations"} <= content.keys():
            return _from_coco(source, content, by_name, n)
        if isinstance(content, dict) and content.get("redoseg") == "ticks":
            raise DataError(f"{source} is a list of ticks: give it with --ticks")
        return _from_labelme([source], by_name, n)
    entries = _entries(source)
    outlines = [entry for entry in entries if entry.kind == "file" and _is_labelme(entry)]
    # In a folder of labelme's the photos lie beside their outlines.
    outlined = {os.path.splitext(entry.path)[0] for entry in outlines}
    masks = [
        entry
        for entry in entries
        if suffix_of(entry.path) in MASK_SUFFIXES and os.path.splitext(entry.path)[0] not in outlined
    ]
    if not masks and not outlines:
        raise DataError(f"{source} holds no masks (PNG ...) and no labelme files: name what was corrected")
    files = _from_files(masks, by_name)
    if not outlines:
        return files
    drawn = _from_labelme([Path(entry.source, entry.path) for entry in outlines], by_name, n)
    if not masks:
        return drawn
    unknown, empty = [*files.unknown, *drawn.unknown], [*files.empty, *drawn.empty]
    return Corrections("masks and labelme files", [*files.found, *drawn.found], unknown, empty)


def _is_labelme(entry: Entry) -> bool:
    if suffix_of(entry.path) != ".json":
        return False
    content = _read_json(Path(entry.source, entry.path))
    return isinstance(content, dict) and "imagePath" in content


class _ByName:
    """Photos by whatever part of their path tells them apart."""

    def __init__(self, photos: Sequence[ImageRef]) -> None:
        self._photos: dict[str, set[int]] = {}
        self._all = photos
        for number, photo in enumerate(photos):
            parts = photo.entry.path.split("/")
            for start in range(len(parts)):
                path = folded("/".join(parts[start:]))
                for key in (path, os.path.splitext(path)[0]):
                    self._photos.setdefault(key, set()).add(number)

    def find(self, name: str) -> ImageRef | None:
        """The photo that is called so, or as the end of it says; None if there is none, or several."""
        parts = folded(name).replace("\\", "/").split("/")
        for start in range(len(parts)):
            path = "/".join(parts[start:])
            for key in (path, os.path.splitext(path)[0]):
                numbers = self._photos.get(key, set())
                if len(numbers) == 1:
                    return self._all[next(iter(numbers))]
                if numbers:
                    return None
        return None


def _entries(source: Path) -> Sequence[Entry]:
    if source.is_dir():
        return list_folder(source).entries
    if suffix_of(source.name) in MASK_SUFFIXES:
        return [Entry(str(source.parent), source.name, source.stat().st_size, 0)]
    try:
        listed: Files = list_archive(source, None)
    except DataError as error:
        raise DataError(
            f"{source} is no folder or archive of masks, no COCO file (.json) and none of labelme's"
        ) from error
    return listed.entries


def _from_files(masks: Sequence[Entry], by_name: _ByName) -> Corrections:
    found, unknown = [], []
    for entry in masks:
        photo = by_name.find(entry.path)
        if photo is None:
            unknown.append(entry.path)
        else:
            found.append(Correction(photo, partial(_read_file, entry), outlined=False))
    return Corrections("mask files", found, unknown)


def _read_file(entry: Entry) -> Labels:
    with entry.open() as file:
        return read_mask(file)[0]


def _from_coco(source: Path, content: dict[str, Any], by_name: _ByName, n: int) -> Corrections:
    found, unknown, empty = [], [], []
    with wellformed(source):
        shapes: dict[Any, list[Any]] = {image["id"]: [] for image in content["images"]}
        for annotation in content["annotations"]:
            outline = annotation.get("segmentation")
            if outline != [] and outline is not None:  # a box alone says nothing of pixels
                shapes.setdefault(annotation["image_id"], []).append(annotation)
        names = {one["id"]: str(one["name"]) for one in content.get("categories", [])}
        for image in content["images"]:
            photo = by_name.find(str(image["file_name"]))
            if photo is None:
                unknown.append(str(image["file_name"]))
            elif not shapes[image["id"]]:
                empty.append(str(image["file_name"]))
            else:
                size = int(image["width"]), int(image["height"])
                parts = [
                    (_region(one["category_id"], names.get(one["category_id"], ""), n), one["segmentation"])
                    for one in shapes[image["id"]]
                ]
                found.append(Correction(photo, partial(draw_coco, source, size, parts)))
    return Corrections("a COCO file", found, unknown, empty)


def _from_labelme(files: Sequence[Path], by_name: _ByName, n: int) -> Corrections:
    found, unknown, empty = [], [], []
    for file in files:
        content = _read_json(file)
        with wellformed(file):
            name = str(content["imagePath"]).replace("\\", "/").rsplit("/", 1)[-1]
            photo = by_name.find(f"{file.with_suffix('')}") or by_name.find(name)
            size = int(content["imageWidth"]), int(content["imageHeight"])
            areas = [one for one in content["shapes"] if has_area(one)]
            parts = [(_region(None, str(one["label"]), n), one) for one in areas]
        if photo is None:
            unknown.append(file.name)
        elif not parts:
            empty.append(file.name)
        else:
            found.append(Correction(photo, partial(draw_labelme, file, size, parts)))
    return Corrections("labelme files", found, unknown, empty)


def _region(number: Any, name: str, n: int) -> int:
    """The region of a category. DataError for one that `n` regions have no place for."""
    if n == 2:
        return 1
    last = name.rsplit(" ", 1)[-1]
    region = int(last) if last.isdecimal() else number
    if not isinstance(region, int) or not 0 < region < n:
        regions = f"the regions 1 to {n - 1}: end its name in one"
        raise DataError(f"the category {name or number} is none of {regions}")
    return region


def _read_json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        why = " ".join(str(error).split())
        raise DataError(f"{file} is no sound JSON, export it again: {why}") from error


def said(corrections: Corrections) -> Iterator[str]:
    """What was not used, in lines."""
    for names, why in (
        (corrections.unknown, "are of no photo of the run, or could be of several"),
        (corrections.empty, "have no outline, and count as not corrected"),
    ):
        if names:
            yield f"{len(names)} of {corrections.form} {why}: {join_names(names)}"
