"""The photos and masks of one source, brought to one size: from a listing of files to splits."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from redoseg.data import cache
from redoseg.data.archive import status_stamp
from redoseg.data.folder import FolderListing, digest
from redoseg.data.image_ref import ImageRef
from redoseg.data.images import Resize, decoding, decoding_turned, fit_image, fit_label, turn
from redoseg.data.labels import UNLABELLED, LabelMap
from redoseg.data.mask_files import MaskRule
from redoseg.data.mask_notes import (
    WIDTH,
    find_doubts,
    find_turns,
    find_unlabelled,
    labels_in,
    note_mask,
    say_what_was_read,
)
from redoseg.data.naming import join_names
from redoseg.data.quiet import pillow_silenced
from redoseg.errors import DataError

_log = logging.getLogger("redoseg.data")
DRAFT = 4  # a JPEG is decoded at no less than this many times the size: quicker, and it looks the same


@dataclass(frozen=True)
class PhotoSet:
    """The cached photos and masks of one source, and each file that was left out, with the reason."""

    listing: FolderListing
    size: int
    images: cache.Store
    masks: cache.Store | None
    masked: Sequence[int]
    """For each row of `masks` the row of the image that it belongs to."""
    skipped: Sequence[str]

    def splits(self, n: int) -> dict[str, "PhotoSplit"]:
        """The images that decode, by split, with labels of `n` regions; without a splits.csv all train."""
        found = np.zeros(0, np.int64) if self.masks is None else labels_in(self.masks.notes)
        label_map = LabelMap(found, n, self.listing.stem)
        mask_rows = np.full(len(self.listing.images), -1, np.int64)
        for mask_row, row in enumerate(self.masked):
            if self.masks is not None and mask_row not in self.masks.failed:
                mask_rows[row] = mask_row
        rows: dict[str, list[int]] = {}
        for row, ref in enumerate(self.listing.images):
            if row not in self.images.failed:
                rows.setdefault(self.listing.splits.get(ref.name, "train"), []).append(row)
        return {
            name: PhotoSplit(self, np.array(part, np.int64), mask_rows[part], label_map)
            for name, part in rows.items()
        }


class PhotoSplit:
    """The photos of one split of one source; see `redoseg.data.dataset.Split`."""

    def __init__(
        self, photos: PhotoSet, rows: NDArray[np.int64], mask_rows: NDArray[np.int64], label_map: LabelMap
    ) -> None:
        """`rows`: the images' rows in the cache; `mask_rows`: their masks' rows, -1 without a mask."""
        self.names: Sequence[str] = [photos.listing.images[row].name for row in rows]
        self._photos, self._label_map = photos, label_map
        self._rows, self._mask_rows = rows, mask_rows
        notes = np.zeros((0, WIDTH), np.int64) if photos.masks is None else photos.masks.notes
        self._turns, self._unlabelled = find_turns(notes), find_unlabelled(notes)

    def __len__(self) -> int:
        return len(self._rows)

    def images(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        return self._photos.images.rows.take(self._rows[np.asarray(indices, np.int64)])

    @property
    def labelled(self) -> NDArray[np.int64]:
        return np.flatnonzero(self._mask_rows >= 0)

    def labels(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        rows = self._mask_rows[np.asarray(indices, np.int64)]
        labels = np.full((len(rows), self._photos.size, self._photos.size), UNLABELLED, np.uint8)
        if self._photos.masks is not None and (rows >= 0).any():
            masked = np.flatnonzero(rows >= 0)
            found = self._photos.masks.rows.take(rows[masked])
            for index, row, mask in zip(masked, rows[masked], found, strict=True):
                labels[index] = self._understood(mask, row)
        return labels

    def _understood(self, labels: NDArray[np.uint8], mask_row: int) -> NDArray[np.uint8]:
        """The labels (H, W) of one mask file as those of n regions, on the photo upright."""
        if self._unlabelled[mask_row]:
            labels = np.where(labels == 1, UNLABELLED, labels).astype(np.uint8)
        regions = Image.fromarray(self._label_map(labels))
        return np.asarray(turn(regions, int(self._turns[mask_row])), np.uint8)

    def whole(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        listing = self._photos.listing
        ref = listing.images[self._rows[index]]
        try:
            with ref.open() as file, decoding(file) as image:
                photo = np.asarray(image, np.uint8)
            height, width = photo.shape[:2]
            if self._mask_rows[index] < 0:
                return photo, np.full((height, width), UNLABELLED, np.uint8)
            with listing.masks[ref.name].open() as file:
                labels, _ = listing.rule.read(file)
            labels = self._understood(labels, self._mask_rows[index])
        except (OSError, DataError) as error:
            raise DataError(f"{ref.entry.path} or its mask can't be read: {error}") from error
        nearest = Image.fromarray(labels).resize((width, height), Image.Resampling.NEAREST)
        return photo, np.asarray(nearest, np.uint8)


def cache_keys(listing: FolderListing, size: int, resize: Resize) -> tuple[str, str]:
    """The cache keys of the images and of the masks; that of the images doesn't depend on the masks."""
    # times within an archive may all be 0, so the archive's own counts here, though not in a fingerprint
    status = listing.path.stat() if listing.path.is_file() else None
    times = (status_stamp(status),) if status else ()
    how = () if resize == "antialias" else (resize,)
    images = digest(listing.images, "images", cache.FORMAT, size, DRAFT, *how, *times)
    return images, digest(listing.masks.values(), "masks", images, listing.rule.name, *listing.masks)


def fingerprints(photos: PhotoSet, resize: Resize) -> tuple[str, str]:
    """32 hex digits of what is trained on: the photos' names, contents, splits and way to their size. They
    are the same for a copy of the files elsewhere, and with or without masks. Then what stood for the same
    until redoseg 0.2, which knew sizes instead of contents."""
    listing = photos.listing
    how = (photos.size, resize, sorted(listing.splits.items()))
    former = digest(listing.images, 1, *how, times=False)
    return digest(listing.images, former, photos.images.contents.tolist(), times=False), former


def open_photos(
    listing: FolderListing, size: int, resize: Resize, folder: Path, progress: cache.Progress
) -> PhotoSet:
    """The photos and masks of a listing, from the cache in `folder`, where they are put first if need be.
    DataError if no photo decodes. One warning names the photos that are left out, another one the masks."""
    image_key, mask_key = cache_keys(listing, size, resize)
    refs = listing.images
    photos = cache.Task(image_key, refs, (size, size, 3), 3, partial(_read_photo, size, resize))
    images = load_quietly(folder, photos, progress)
    lost = _describe_failures(refs, images.failed)
    if len(lost) == len(refs):
        raise DataError(f"{listing.path}: not one of its {len(lost)} images decodes: {join_names(lost)}")
    if lost:
        text = "%s: %d images don't decode and are left out: %s"
        _log.warning(text, listing.path, len(lost), join_names(lost))
    rows = [row for row, ref in enumerate(refs) if ref.name in listing.masks and row not in images.failed]
    if not rows:
        return PhotoSet(listing, size, images, None, [], lost)
    refs = [listing.masks[refs[row].name] for row in rows]
    work = partial(_read_mask, size, listing.rule, images.notes[rows])
    masks = load_quietly(folder, cache.Task(mask_key, refs, (size, size), WIDTH, work), progress)
    bad = _describe_failures(refs, masks.failed)
    if bad:
        text = "%s: %d masks can't be used, their images count as unlabelled: %s"
        _log.warning(text, listing.path, len(bad), join_names(bad))
    read = [row for row in range(len(refs)) if row not in masks.failed]
    if read:
        _log.info("%s: %s", listing.path, say_what_was_read(masks.notes[read]))
        for doubt in find_doubts(masks.notes[read], [refs[row].name for row in read]):
            _log.warning("%s: %s", listing.path, doubt)
    return PhotoSet(listing, size, images, masks, rows, [*lost, *bad])


def load_quietly(folder: Path, task: cache.Task, progress: cache.Progress) -> cache.Store:
    """The array of a task, without Pillow's warnings."""
    with pillow_silenced():
        return cache.load_or_build(folder, task, progress)


def _describe_failures(refs: Sequence[ImageRef], failed: Mapping[int, str]) -> list[str]:
    return [f"{refs[row].entry.path} ({reason})" for row, reason in failed.items()]


def _read_photo(size: int, resize: Resize, index: int, file: BinaryIO) -> cache.Row:
    """The photo at its new size; its own width and height or, of a JPEG, a fraction of them; its orientation
    in the file."""
    least = DRAFT * size if resize == "antialias" else None
    with decoding_turned(file, at_least=least) as (image, _, orientation):
        return fit_image(image, size, resize), np.array([*image.size, orientation], np.int64)


def _read_mask(size: int, rule: MaskRule, photos: NDArray[np.int64], index: int, file: BinaryIO) -> cache.Row:
    """The labels at their new size, and what `note_mask` notes. DataError for another shape."""
    labels, kind = rule.read(file)
    width, height, orientation = photos[index].tolist()
    upright = _has_shape(labels, width, height)
    lying = _has_shape(labels, height, width) if orientation > 4 else upright
    if not (upright or lying):
        size_read = f"{labels.shape[1]} x {labels.shape[0]}"
        raise DataError(f"{size_read} is not the shape of its photo, {width} x {height}")
    return fit_label(labels, size), note_mask(labels, kind, orientation, (lying, upright))


def _has_shape(labels: NDArray[np.uint8], width: int, height: int) -> bool:
    """Whether labels have the shape of a photo, whatever the size of both."""
    expected = labels.shape[1] * height / width
    return abs(labels.shape[0] - expected) <= max(1, 0.01 * expected)
