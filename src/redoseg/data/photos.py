"""One folder or archive of photos and masks, at one size: from its listing to splits."""

import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from redoseg.data import cache
from redoseg.data.folder import FolderListing, ImageRef, digest, join_names
from redoseg.data.images import MaskRule, Resize, decoding, fit_image, fit_label
from redoseg.data.labels import LabelMap
from redoseg.errors import DataError

_log = logging.getLogger("redoseg.data")
_DRAFT = 4  # a JPEG is decoded at no less than so many times the size: no visible difference, much quicker


@dataclass(frozen=True)
class PhotoSet:
    """The cached photos and masks of one source."""

    listing: FolderListing
    size: int
    images: cache.Store
    masks: cache.Store | None
    masked: Sequence[int]
    """The row of the image that each row of `masks` belongs to."""
    skipped: Sequence[str]

    def split_rows(self) -> dict[str, list[int]]:
        """The rows of images that decoded, by split; all are `train` without a splits.csv."""
        rows: dict[str, list[int]] = {}
        for row, ref in enumerate(self.listing.images):
            if row not in self.images.failed:
                rows.setdefault(self.listing.splits.get(ref.name, "train"), []).append(row)
        return rows

    def splits(self, n: int) -> dict[str, "PhotoSplit"]:
        label_map = LabelMap(self._values(), n, self.listing.stem)
        mask_rows = np.full(len(self.listing.images), -1, np.int64)
        for mask_row, row in enumerate(self.masked):
            if self.masks is not None and mask_row not in self.masks.failed:
                mask_rows[row] = mask_row
        return {
            name: PhotoSplit(self, np.array(rows, np.int64), mask_rows[rows], label_map)
            for name, rows in self.split_rows().items()
        }

    def _values(self) -> NDArray[np.int64]:
        """All label values in the masks of the whole set, at their full size."""
        if self.masks is None:
            return np.zeros(0, np.int64)
        seen = np.bitwise_or.reduce(self.masks.notes, axis=0)
        return np.flatnonzero(np.unpackbits(seen.view(np.uint8)))


class PhotoSplit:
    """Photos of one source and one split."""

    def __init__(
        self, photos: PhotoSet, rows: NDArray[np.int64], mask_rows: NDArray[np.int64], label_map: LabelMap
    ) -> None:
        """`mask_rows`: for each image its row among the masks, or -1."""
        self.names: Sequence[str] = [photos.listing.images[row].name for row in rows]
        self._photos = photos
        self._rows = rows
        self._mask_rows = mask_rows
        self._label_map = label_map

    def __len__(self) -> int:
        return len(self._rows)

    def images(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        """(B, S, S, 3) uint8."""
        return self._photos.images.rows.take(self._rows[np.asarray(indices, np.int64)])

    @property
    def labelled(self) -> NDArray[np.int64]:
        """Indices of the images that have a mask, rising."""
        return np.flatnonzero(self._mask_rows >= 0)

    def labels(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        """(B, S, S) uint8, 255 all over where there is no mask. DataError: labels beyond n - 1."""
        rows = self._mask_rows[np.asarray(indices, np.int64)]
        labels = np.full((len(rows), self._photos.size, self._photos.size), 255, np.uint8)
        if self._photos.masks is not None and (rows >= 0).any():
            labels[rows >= 0] = self._label_map(self._photos.masks.rows.take(rows[rows >= 0]))
        return labels


def cache_keys(listing: FolderListing, size: int, resize: Resize) -> tuple[str, str]:
    """Of the arrays of images and of masks. The images' one doesn't depend on the masks."""
    # in an archive times may all be 0, so its own counts here, but not in a fingerprint
    status = listing.path.stat() if listing.path.is_file() else None
    times = (status.st_size, status.st_mtime_ns) if status else ()
    how = () if resize == "antialias" else (resize,)
    images = digest(listing.images, "images", cache.FORMAT, size, _DRAFT, *how, *times)
    rule = (listing.rule.name,) if listing.rule.name else ()
    return images, digest(listing.masks.values(), "masks", images, *rule, *listing.masks)


def fingerprint(listing: FolderListing, size: int, resize: Resize) -> str:
    """Of what is trained on: the photos' names, file sizes and splits, and how they are brought to size.

    The same for a copy elsewhere, and whether there are masks or not.
    """
    return digest(listing.images, cache.FORMAT, size, resize, sorted(listing.splits.items()), times=False)


def open_photos(
    listing: FolderListing, size: int, resize: Resize, folder: Path, progress: cache.Progress
) -> PhotoSet:
    """The photos and masks of a listing, from the cache in `folder`.

    DataError if not one photo decodes. What is left out is named in one warning for photos, one for masks.
    """
    image_key, mask_key = cache_keys(listing, size, resize)
    refs = listing.images
    images = _load_or_build(
        folder, cache.Task(image_key, refs, (size, size, 3), 2, partial(_read_photo, size, resize)), progress
    )
    lost = _describe_failures(refs, images.failed)
    if len(lost) == len(refs):
        raise DataError(f"{listing.path}: not one of its {len(lost)} images decodes: {join_names(lost)}")
    if lost:
        _log.warning(
            "%s: %d images don't decode and are left out: %s", listing.path, len(lost), join_names(lost)
        )
    rows = [row for row, ref in enumerate(refs) if ref.name in listing.masks and row not in images.failed]
    if not rows:
        return PhotoSet(listing, size, images, None, [], lost)
    refs = [listing.masks[refs[row].name] for row in rows]
    work = partial(_read_mask, size, listing.rule, images.notes[rows])
    masks = _load_or_build(folder, cache.Task(mask_key, refs, (size, size), 4, work), progress)
    bad = _describe_failures(refs, masks.failed)
    if bad:
        text = "%s: %d masks can't be used, their images count as unlabelled: %s"
        _log.warning(text, listing.path, len(bad), join_names(bad))
    return PhotoSet(listing, size, images, masks, rows, [*lost, *bad])


def _load_or_build(folder: Path, task: cache.Task, progress: cache.Progress) -> cache.Store:
    with warnings.catch_warnings():  # Pillow's remarks on a file; it decodes, or it is named
        warnings.filterwarnings("ignore", module=r"PIL\.")
        return cache.load_or_build(folder, task, progress)


def _describe_failures(refs: Sequence[ImageRef], failed: Mapping[int, str]) -> list[str]:
    return [f"{refs[row].entry.path} ({reason})" for row, reason in failed.items()]


def _read_photo(size: int, resize: Resize, index: int, file: BinaryIO) -> cache.Row:
    """The photo and its own width and height (or a fraction of them)."""
    with decoding(file, at_least=_DRAFT * size if resize == "antialias" else None) as image:
        return fit_image(image, size, resize), np.array(image.size, np.int64)


def _read_mask(size: int, rule: MaskRule, photos: NDArray[np.int64], index: int, file: BinaryIO) -> cache.Row:
    """The labels, and the values in them as 256 bits. DataError if the mask hasn't the photo's shape."""
    label = rule.read(file)
    height, width = label.shape
    photo_width, photo_height = photos[index].tolist()
    expected = width * photo_height / photo_width
    if abs(height - expected) > max(1, 0.01 * expected):
        raise DataError(f"{width} x {height} is not the shape of its photo, {photo_width} x {photo_height}")
    seen = np.bincount(label.ravel(), minlength=256) > 0
    return fit_label(label, size), np.packbits(seen).view(np.int64)
