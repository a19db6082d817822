"""Outlines of COCO and labelme to labels, pixel by pixel."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from redoseg.errors import DataError, MissingExtraError

Labels = NDArray[np.uint8]
_SIDES = 2_000  # of a polygon that are looked at at once


@contextmanager
def wellformed(file: Path) -> Iterator[None]:
    """A context in which what is missing or of another kind in `file` becomes a DataError."""
    try:
        yield
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
        what = " ".join(f"{type(error).__name__}: {error}".split())
        raise DataError(f"{file} isn't as COCO or labelme write it ({what})") from error


def draw_coco(source: Path, size: tuple[int, int], parts: list[tuple[int, Any]]) -> Labels:
    """The labels (H, W) of a photo of this (width, height): of pairs of a region and COCO's segmentation,
    later ones on top. DataError for what is no such outline; `source` is the file that it names."""
    with wellformed(source):
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


_LEAST_CORNERS = {"polygon": 3, "rectangle": 2, "circle": 2}


def kind_of(shape: dict[str, Any]) -> str:
    """What a shape of labelme is; in old files it isn't said, and all are polygons."""
    return str(shape.get("shape_type") or "polygon")


def has_area(shape: dict[str, Any]) -> bool:
    """Whether a shape of labelme has enough corners for its kind; those that aren't areas are refused when
    they are drawn."""
    return len(shape["points"]) >= _LEAST_CORNERS.get(kind_of(shape), 0)


def draw_labelme(file: Path, size: tuple[int, int], parts: list[tuple[int, Any]]) -> Labels:
    """As `draw_coco`, of labelme's shapes."""
    with wellformed(file):
        labels = _empty(size)
        for region, shape in parts:
            points = np.asarray(shape["points"], np.float64).reshape(-1, 2)
            kind = kind_of(shape)
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
