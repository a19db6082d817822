"""The shapes in a photo's labels: exact run lengths, and polygons along their outlines."""

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from redoseg.segmentation.crops import box_of

Points = list[list[int]]

_LEAST, _MOST = 0.5, 1.0  # pixels that a polygon may leave a pixel's edge, in small and in large shapes
_SHARE = 0.01  # of the side of a square of what is outlined: how far within these


@dataclass(frozen=True, slots=True)
class Piece:
    """A connected piece: its outline and those of its holes, polygons of (x, y) on the corners of pixels,
    where 0, 0 is the photo's upper left corner."""

    outline: Points
    holes: tuple[Points, ...]

    def as_one(self) -> Points:
        """One polygon with cuts of no width to its holes, for forms that know no holes."""
        ring = self.outline
        for hole in self.holes:
            apart = np.abs(np.array(ring)[:, None] - np.array(hole)[None]).sum(2)
            i, j = divmod(int(apart.argmin()), len(hole))
            ring = [*ring[: i + 1], *hole[j:], *hole[: j + 1], *ring[i:]]
        return ring


@dataclass(frozen=True, slots=True)
class Shape:
    """All pixels of one label: `area` in pixels, `box` (left, top, right, bottom), the last two just outside.
    `counts` are the lengths of the runs of pixels outside and inside by turns, down the columns."""

    label: int
    area: int
    box: tuple[int, int, int, int]
    counts: list[int]
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class PhotoShapes:
    """The shapes of a photo of this (width, height); a label is the region's, or the instance's, number."""

    size: tuple[int, int]
    shapes: tuple[Shape, ...]


def shapes_in(labels: NDArray[np.uint8]) -> PhotoShapes:
    """The shapes of the labels (H, W) from 1 up."""
    found = []
    for label in np.unique(labels[labels > 0]).tolist():
        inside = labels == label
        box = box_of(inside)
        assert box is not None
        area = int(inside.sum())
        found.append(Shape(label, area, box, run_lengths(inside), trace(inside, box)))
    return PhotoShapes((labels.shape[1], labels.shape[0]), tuple(found))


def run_lengths(inside: NDArray[np.bool_]) -> list[int]:
    """COCO's run lengths of a mask (H, W): column by column, the first run is outside and may be 0."""
    flat = inside.ravel(order="F")
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    edges = np.concatenate(([0], changes, [flat.size]))
    return [0] * int(flat[0]) + np.diff(edges).tolist()


def trace(inside: NDArray[np.bool_], box: tuple[int, int, int, int]) -> tuple[Piece, ...]:
    """The pieces of a mask (H, W) that lies in `box`; those that touch at a corner are one."""
    left, top, right, bottom = box
    part = inside[top:bottom, left:right].view(np.uint8)
    # OpenCV's outlines go through the centres of pixels. Of a mask of twice the size they go through quarters
    # of the pixels, and the nearest corner of a quarter's pixel is a point of the true outline.
    twice = part.repeat(2, 0).repeat(2, 1)
    found, tree = cv2.findContours(twice, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    rings = [_simplified((contour[:, 0] + 1) // 2 + (left, top)) for contour in found]
    parents = [int(row[3]) for row in np.asarray(tree).reshape(-1, 4)]
    return tuple(
        Piece(ring, tuple(hole for hole, above in zip(rings, parents, strict=True) if above == number))
        for number, (ring, parent) in enumerate(zip(rings, parents, strict=True))
        if parent < 0
    )


def _simplified(ring: NDArray[Any]) -> Points:
    """A closed polygon (N, 2) with fewer corners, nowhere far from the old one."""
    points = np.asarray(ring, np.int32).reshape(-1, 1, 2)
    away = min(max(_SHARE * math.sqrt(cv2.contourArea(points)), _LEAST), _MOST)
    fewer = cv2.approxPolyDP(points, away, True)
    if len(fewer) < 4:  # what is small would lose its area
        fewer = cv2.approxPolyDP(points, 0, True)
    return [[int(x), int(y)] for x, y in np.asarray(fewer).reshape(-1, 2)]
