"""Masks that somebody corrected, in the forms in which other tools keep them: labels, photo by photo."""

import json
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from redoseg.data.archive import Entry
from redoseg.data.formats import MASK_SUFFIXES
from redoseg.data.image_ref import ImageRef
from redoseg.data.listing import Files, list_archive, list_folder, suffix_of
from redoseg.data.mask_files import read_mask
from redoseg.data.naming import folded, join_names
from redoseg.errors import DataError, MissingExtraError

Labels = NDArray[np.uint8]
_SIDES = 2_000  # of a polygon that are looked at at once


@dataclass(frozen=True)
class Correction:
    """A corrected `photo`; `read` gives its labels (H, W), 0 background, and raises DataError or OSError.
    `file` is the mask's own one, if it has one outside of an archive."""

    photo: ImageRef
    read: Callable[[], Labels]
    file: Path | None = None


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
        return _from_labelme([source], by_name, n)
    entries = _entries(source)
    masks = [entry for entry in entries if suffix_of(entry.path) in MASK_SUFFIXES]
    if masks:
        return _from_files(masks, by_name)
    outlines = [Path(entry.source, entry.path) for entry in entries if suffix_of(entry.path) == ".json"]
    if source.is_dir() and outlines:
        return _from_labelme(outlines, by_name, n)
    raise DataError(f"{source} holds no masks (PNG ...) and no labelme files: name what was corrected")


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
    listed: Files = list_archive(source, None)
    return listed.entries


def _from_files(masks: Sequence[Entry], by_name: _ByName) -> Corrections:
    found, unknown = [], []
    for entry in masks:
        photo = by_name.find(entry.path)
        if photo is None:
            unknown.append(entry.path)
        else:
            file = Path(entry.source, entry.path) if entry.kind == "file" else None
            found.append(Correction(photo, partial(_read_file, entry), file))
    return Corrections("mask files", found, unknown)


def _read_file(entry: Entry) -> Labels:
    with entry.open() as file:
        return read_mask(file)[0]


def _from_coco(source: Path, content: dict[str, Any], by_name: _ByName, n: int) -> Corrections:
    found, unknown, empty = [], [], []
    with _wellformed(source):
        shapes: dict[Any, list[Any]] = {image["id"]: [] for image in content["images"]}
        for annotation in content["annotations"]:
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
                found.append(Correction(photo, partial(_draw_coco, source, size, parts)))
    return Corrections("a COCO file", found, unknown, empty)


def _draw_coco(source: Path, size: tuple[int, int], parts: list[tuple[int, Any]]) -> Labels:
    with _wellformed(source):
        labels = _empty(size)
        for region, segmentation in parts:
            if isinstance(segmentation, dict):
                labels[_decode_runs(segmentation, size)] = region
            else:
                _fill(labels, [np.reshape(flat, (-1, 2)) for flat in segmentation], region)
    return labels


def _decode_runs(segmentation: dict[str, Any], size: tuple[int, int]) -> NDArray[np.bool_]:
    """(H, W) of COCO's run lengths, as a list or compressed."""
    counts = segmentation["counts"]
    if isinstance(counts, str | bytes):
        try:
            from pycocotools import mask as coco  # noqa: PLC0415
        except ModuleNotFoundError as error:
            raise MissingExtraError(
                "compressed run lengths in a COCO file need pycocotools: pip install pycocotools"
            ) from error
        runs = {"size": list(segmentation["size"]), "counts": counts}
        with warnings.catch_warnings():  # it asks NumPy 2 for an array in the way of NumPy 1
            warnings.simplefilter("ignore", DeprecationWarning)
            return np.asarray(coco.decode(runs), bool)
    if min(counts, default=0) < 0 or sum(counts) != size[0] * size[1]:
        raise ValueError(f"run lengths of {sum(counts)} pixels for {size[0]} x {size[1]}")
    inside = np.repeat(np.arange(len(counts)) % 2 == 1, np.asarray(counts, np.int64))
    return np.reshape(inside, size, order="C").T


def _from_labelme(files: Sequence[Path], by_name: _ByName, n: int) -> Corrections:
    found, unknown, empty = [], [], []
    for file in files:
        content = _read_json(file)
        with _wellformed(file):
            name = str(content["imagePath"]).replace("\\", "/").rsplit("/", 1)[-1]
            photo = by_name.find(f"{file.with_suffix('')}") or by_name.find(name)
            size = int(content["imageWidth"]), int(content["imageHeight"])
            parts = [(_region(None, str(one["label"]), n), one) for one in content["shapes"]]
        if photo is None:
            unknown.append(file.name)
        elif not parts:
            empty.append(file.name)
        else:
            found.append(Correction(photo, partial(_draw_labelme, file, size, parts)))
    return Corrections("labelme files", found, unknown, empty)


def _draw_labelme(file: Path, size: tuple[int, int], parts: list[tuple[int, Any]]) -> Labels:
    with _wellformed(file):
        labels = _empty(size)
        for region, shape in parts:
            points = np.asarray(shape["points"], np.float64).reshape(-1, 2)
            kind = shape.get("shape_type") or "polygon"
            if kind == "rectangle":
                (left, top), (right, bottom) = points.min(0), points.max(0)
                points = np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
            elif kind == "circle":
                turn = np.linspace(0, 2 * np.pi, 72, endpoint=False)
                radius = np.hypot(*(points[1] - points[0]))
                points = points[0] + radius * np.stack((np.cos(turn), np.sin(turn)), 1)
            elif kind != "polygon":
                raise DataError(f"{file} has a shape of the kind {kind}: only areas say what is inside")
            _fill(labels, [points], region)
    return labels


def _empty(size: tuple[int, int]) -> Labels:
    """Labels (H, W) of the background. ValueError for more pixels than a photo may have."""
    if not 0 < size[0] * size[1] <= 2 * (Image.MAX_IMAGE_PIXELS or 0) or min(size) < 1:
        raise ValueError(f"{size[0]} x {size[1]} is no photo's size")
    return np.zeros(size[::-1], np.uint8)


def _fill(labels: Labels, rings: Sequence[NDArray[Any]], region: int) -> None:
    """Give the pixels within each ring of corners (x, y) to a region: those whose centres are inside, by the
    even-odd rule. 0, 0 is the photo's upper left corner. (OpenCV's and Pillow's polygons take their whole
    outline in, too.)"""
    height, width = labels.shape
    centres = np.arange(height)[:, None] + 0.5
    for ring in rings:
        x, y = np.asarray(ring, np.float64).T
        to_x, to_y = np.roll(x, -1), np.roll(y, -1)
        turns = np.zeros((height, width + 1), np.int64)
        for start in range(0, len(x), _SIDES):
            part = slice(start, start + _SIDES)
            rows, sides = np.nonzero((y[part] <= centres) != (to_y[part] <= centres))
            sides += start
            share = (centres[rows, 0] - y[sides]) / (to_y[sides] - y[sides])
            crossed = np.ceil(x[sides] + share * (to_x[sides] - x[sides]) - 0.5)
            np.add.at(turns, (rows, crossed.clip(0, width).astype(np.int64)), 1)
        labels[turns.cumsum(1)[:, :-1] % 2 == 1] = region


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
        raise DataError(f"{file} can't be read: {' '.join(str(error).split())}") from error


class _wellformed:
    """A context in which what is missing or of another kind in `file` becomes a DataError."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, KeyError | TypeError | ValueError | IndexError | AttributeError | OverflowError):
            what = " ".join(f"{type(error).__name__}: {error}".split())
            raise DataError(f"{self._file} isn't as COCO or labelme write it ({what})") from error


def said(corrections: Corrections) -> Iterator[str]:
    """What was not used, in lines."""
    for names, why in (
        (corrections.unknown, "are of no photo of the run, or could be of several"),
        (corrections.empty, "have no outline, and count as not corrected"),
    ):
        if names:
            yield f"{len(names)} of {corrections.form} {why}: {join_names(names)}"
