"""Squares beside the centred ones of photos that aren't square: else nobody learns heads and tails."""

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from redoseg.data import cache
from redoseg.data.folder import digest
from redoseg.data.images import Resize, decoding, fit_image
from redoseg.data.labels import UNLABELLED
from redoseg.data.photos import DRAFT, PhotoSet, cache_keys, load_quietly

_log = logging.getLogger("redoseg.data")
_NEARLY_SQUARE = 1.1  # a photo whose sides differ by no more has its centred square alone


class SidesSplit:
    """Squares of one source's wide and high photos, as a `Split` without labels: `count` of each photo."""

    def __init__(self, photos: PhotoSet, rows: NDArray[np.int64], sides: cache.Store, count: int) -> None:
        """`rows`: the photos' rows in the listing, in the order of `sides`, (N, count, S, S, 3)."""
        kept = np.array([row for row in range(len(rows)) if row not in sides.failed], np.int64)
        names = [photos.listing.images[rows[row]].name for row in kept]
        self.names: Sequence[str] = [f"{name}#{number}" for name in names for number in range(1, count + 1)]
        self.labelled = np.zeros(0, np.int64)
        self._size, self._sides, self._kept, self._count = photos.size, sides, kept, count

    def __len__(self) -> int:
        return len(self.names)

    def images(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        indices = np.asarray(indices, np.int64)
        found = self._sides.rows.take(self._kept[indices // self._count])
        return found[np.arange(len(indices)), indices % self._count]

    def labels(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        return np.full((len(indices), self._size, self._size), UNLABELLED, np.uint8)

    def whole(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """The square itself: a part of a photo."""
        one = np.array([index])
        return self.images(one)[0], self.labels(one)[0]


def open_sides(
    photos: PhotoSet, resize: Resize, squares: int, folder: Path, progress: cache.Progress
) -> SidesSplit | None:
    """The squares beside the centred one of the training photos that aren't nearly square, so that there are
    `squares` of each, evenly from end to end of the long side; from the cache in `folder`, where they are put
    first if need be. None if there are none."""
    listing, notes = photos.listing, photos.images.notes
    rows = np.array(
        [
            row
            for row, ref in enumerate(listing.images)
            if row not in photos.images.failed
            and listing.splits.get(ref.name, "train") == "train"
            and notes[row, :2].max() > _NEARLY_SQUARE * notes[row, :2].min()
        ],
        np.int64,
    )
    places = [place for place in np.linspace(0, 1, squares).tolist() if place != 0.5]
    if squares == 1 or not len(rows):
        return None
    refs = [listing.images[row] for row in rows]
    key = digest(refs, "sides", squares, cache_keys(listing, photos.size, resize)[0])
    shape = (len(places), photos.size, photos.size, 3)
    work = partial(_read_sides, photos.size, resize, places)
    sides = load_quietly(folder, cache.Task(key, refs, shape, 0, work), progress)
    if sides.failed:  # what could be read a moment ago
        _log.warning(
            "%s: of %d photos only the centred square could be read", listing.path, len(sides.failed)
        )
    return SidesSplit(photos, rows, sides, len(places))


def _read_sides(size: int, resize: Resize, places: Sequence[float], _: int, file: BinaryIO) -> cache.Row:
    least = DRAFT * size if resize == "antialias" else None
    with decoding(file, least) as image:
        pixels = [fit_image(image, size, resize, place) for place in places]
    return np.stack(pixels), np.zeros(0, np.int64)
