"""Opens DATA, as it is given on the command line: splits of images and labels, all at one size."""

import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from redoseg.config import TrainConfig
from redoseg.data.cache import Progress, Report, default_cache, is_cached
from redoseg.data.folder import FolderListing
from redoseg.data.images import Resize
from redoseg.data.native.sources import check_source, list_source
from redoseg.data.photos import cache_keys, fingerprints, open_photos
from redoseg.data.scenes import REGIONS, open_scenes
from redoseg.data.sides import open_sides
from redoseg.errors import DataError
from redoseg.files import expanded

_log = logging.getLogger("redoseg.data")
_USUAL = ("train", "val", "test")


class Split(Protocol):
    """The images of one split (such as 'train') and their labels, read by index from 0 to len(split) - 1.

    `names` are the images' relative paths without the suffix, in the order of the indices.
    """

    names: Sequence[str]

    def __len__(self) -> int: ...

    def images(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The images at B indices, in that order: (B, S, S, 3) uint8 RGB."""

    @property
    def labelled(self) -> NDArray[np.int64]:
        """The indices of all images that have a mask, rising: int64."""

    def labels(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The label of each pixel: (B, S, S) uint8, 0 background, 1 to n - 1 objects, 255 unlabelled.

        An image without a mask is 255 all over. DataError if any mask of the set holds a label from n to 254.
        """

    def whole(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """One photo as it is, not cut to a square: (H, W, 3) uint8 RGB, and its labels (H, W). DataError if
        it can't be read any more."""


@dataclass(frozen=True)
class Dataset:
    """What `open_dataset` opened: splits of images at `size` x `size` pixels, with labels of `n` regions.

    `name` is what the sources are called. `splits` holds 'train', 'val' and 'test' first, as far as they
    exist. `fingerprint` (32 hex digits) is the same wherever the images lie and with or without masks, and
    another one when the content of an image, a split or the size differs; `former` is what redoseg 0.2 wrote
    for it. `skipped` names each file that was left out, with the reason. `sides` are squares beside the
    centred ones of the training photos, where they were asked for.
    """

    name: str
    size: int
    n: int
    splits: Mapping[str, Split]
    fingerprint: str
    skipped: Sequence[str] = field(default=())
    former: str = ""
    sides: Split | None = None

    @property
    def training(self) -> Split:
        """What is learned from: the split 'train' and, behind it, `sides`. DataError as `split`."""
        centred = self.split("train")
        return centred if self.sides is None else UnionSplit([("", centred), ("", self.sides)])

    def split(self, name: str) -> Split:
        """The split of that name; DataError, which lists the others, if there is none."""
        if name not in self.splits:
            raise DataError(
                f"{self.name} has no split `{name}`: there is {', '.join(self.splits)}; ask for one of these "
                "(--split), or say in a splits.csv which images are which (docs/data.md)"
            )
        return self.splits[name]

    def split_to_score(self, asked: str | None = None) -> tuple[str, Split]:
        """Name and split `asked` for; None: 'val', or 'train' where that is all there is, which is said.
        DataError as `split`."""
        if asked is None and [*self.splits] == ["train"]:
            _log.info("%s has no split `val`: what is scored is all of it, `train`", self.name)
            return "train", self.splits["train"]
        name = "val" if asked is None else asked
        return name, self.split(name)

    def is_the_one(self, fingerprint: object) -> bool:
        """Whether a run that states this fingerprint was trained on this data."""
        return fingerprint in (self.fingerprint, self.former)

    def describe(self) -> dict[str, object]:
        """Name, size, n, counts of images and masks by split, skipped files, fingerprint: for run.json."""
        found = self.splits.items()
        splits = {name: {"images": len(split), "labelled": len(split.labelled)} for name, split in found}
        kinds = {"name": self.name, "size": self.size, "n": self.n, "splits": splits}
        return kinds | {"skipped": list(self.skipped), "fingerprint": self.fingerprint}


def open_dataset(
    data: Sequence[str | Path],
    *,
    size: int,
    n: int = 2,
    cache: Path | None = None,
    mnist: Path | None = None,
    resize: Resize = "antialias",
    squares: int = 1,
    progress: Report | None = None,
) -> Dataset:
    """Open data sets as one: folders, archives and single images, and sets in their owners' form (`lfw:DIR`,
    `flowers:DIR`, `cub:DIR`; a Path is always a path). Drawn scenes, `digits` or `digit`, stand alone.

    Photos and masks are brought to `size` x `size` pixels once and kept in `cache` (None: the user's cache
    folder); meanwhile `progress` is called with (files done, files in all). `n`, from 2 to 255, is the number
    of regions that labels may name. `mnist` is a folder with MNIST's digits for drawn scenes (None:
    scikit-learn's). `resize` is how photos are made smaller. `squares` (1, 3 or 5) of each training photo
    that isn't nearly square are there to learn from (`Dataset.training`). DataError, in one line that says
    what to do, if the data can't be opened.
    """
    sources = [data] if isinstance(data, str | Path) else list(data)
    names = [str(source) for source in sources]
    if not sources or size < 1 or not 2 <= n <= 255:
        raise DataError(f"nothing to open: {len(sources)} data sets, --size {size}, --n {n}")
    if set(names) & REGIONS.keys():
        return _open_scenes(names, size, n, mnist)
    folder = expanded(cache) if cache else default_cache()
    return _open_folders(sources, size, n, resize, squares, folder, progress)


def check_sources(data: Sequence[str | Path]) -> None:
    """DataError, as `open_dataset`, for a source that isn't on the disk. It takes no time: it goes before
    imports that take seconds."""
    for source in data:
        if str(source) not in REGIONS:
            check_source(source)


def open_data(
    config: TrainConfig, data: Sequence[str] | None = None, *, progress: Report | None = None
) -> Dataset:
    """Open `config.data`, or other `data` in the same way, as `open_dataset` does."""
    return open_dataset(
        config.data if data is None else data,
        size=config.size,
        n=config.n,
        cache=config.cache,
        mnist=config.mnist,
        resize=config.resize,
        squares=config.squares,
        progress=progress,
    )


def choose_scored_split(is_labelled: Callable[[str], bool]) -> str | None:
    """The name of the split that is scored: the first of 'val' and 'train' with labels; None without any."""
    return next((name for name in ("val", "train") if is_labelled(name)), None)


def _open_scenes(data: Sequence[str], size: int, n: int, mnist: Path | None) -> Dataset:
    if len(data) > 1:
        raise DataError("drawn scenes (`digits`, `digit`) can't be joined with other data: give them alone")
    kind = data[0]
    if n != REGIONS[kind]:
        raise DataError(f"`{kind}` has {REGIONS[kind]} regions: give --n {REGIONS[kind]}, not {n}")
    splits, key = open_scenes(kind, size, mnist)
    return Dataset(kind, size, n, splits, key)


def _open_folders(
    data: Sequence[str | Path],
    size: int,
    n: int,
    resize: Resize,
    squares: int,
    folder: Path,
    report: Report | None,
) -> Dataset:
    listings = [list_source(source, index=folder) for source in data]
    planned = _plan_progress(folder, size, resize, listings, report)
    sets = [open_photos(listing, size, resize, folder, planned) for listing in listings]
    skipped = [reason for photos in sets for reason in photos.skipped]
    name = " + ".join(listing.stem for listing in listings)
    prints = [fingerprints(photos, resize) for photos in sets]
    prefixes = _unique_prefixes([listing.stem for listing in listings]) if len(sets) > 1 else [""]
    found = [open_sides(photos, resize, squares, folder, planned) for photos in sets]
    sides = [(prefix, side) for prefix, side in zip(prefixes, found, strict=True) if side is not None]
    beside = UnionSplit(sides) if sides else None
    if len(sets) == 1:
        own = _sort_splits(sets[0].splits(n))
        return Dataset(name, size, n, own, prints[0][0], skipped, prints[0][1], beside)
    parts: dict[str, list[tuple[str, Split]]] = {}
    for prefix, photos in zip(prefixes, sets, strict=True):
        for split_name, split in photos.splits(n).items():
            parts.setdefault(split_name, []).append((prefix, split))
    splits = _sort_splits({split_name: UnionSplit(part) for split_name, part in parts.items()})
    now, former = (
        hashlib.sha256(repr([prefixes, list(same)]).encode()).hexdigest()[:32]
        for same in zip(*prints, strict=True)
    )
    return Dataset(name, size, n, splits, now, skipped, former, beside)


def _plan_progress(
    folder: Path, size: int, resize: Resize, listings: Sequence[FolderListing], report: Report | None
) -> Progress:
    """A count that knows from the start of all files that are not in the cache yet."""
    planned = Progress(report)
    for listing in listings:
        image_key, mask_key = cache_keys(listing, size, resize)
        for key, files in ((image_key, len(listing.images)), (mask_key, len(listing.masks))):
            if not is_cached(folder, key):
                planned.plan(key, files)
    return planned


def _unique_prefixes(stems: Sequence[str]) -> list[str]:
    """The stems; equal ones get their position among all stems: `a-0`, `b`, `a-2`."""
    counts = Counter(stems)
    return [stem if counts[stem] == 1 else f"{stem}-{index}" for index, stem in enumerate(stems)]


def _sort_splits(splits: Mapping[str, Split]) -> dict[str, Split]:
    order = [*_USUAL, *sorted(splits.keys() - set(_USUAL))]
    return {name: splits[name] for name in order if name in splits}


class UnionSplit:
    """The splits of several sources as one `Split`, with the images of the first source first."""

    def __init__(self, parts: Sequence[tuple[str, Split]]) -> None:
        """`parts`: pairs of a prefix, which goes before the names of the images if it isn't empty, and a
        split."""
        self.names: Sequence[str] = [
            f"{prefix}/{name}" if prefix else name for prefix, part in parts for name in part.names
        ]
        self._parts = [part for _, part in parts]
        self._starts = np.cumsum([0, *(len(part) for part in self._parts)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def images(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        return self._gather(indices, [part.images for part in self._parts])

    @property
    def labelled(self) -> NDArray[np.int64]:
        parts = zip(self._parts, self._starts[:-1], strict=True)
        return np.concatenate([part.labelled + start for part, start in parts])

    def labels(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        return self._gather(indices, [part.labels for part in self._parts])

    def whole(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        owner = int(np.searchsorted(self._starts, index, side="right")) - 1
        return self._parts[owner].whole(index - int(self._starts[owner]))

    def _gather(
        self, indices: NDArray[np.int64], readers: Sequence[Callable[[NDArray[np.int64]], NDArray[np.uint8]]]
    ) -> NDArray[np.uint8]:
        indices = np.asarray(indices, np.int64)
        owner = np.searchsorted(self._starts, indices, side="right") - 1
        gathered = np.empty((len(indices), *readers[0](indices[:0]).shape[1:]), np.uint8)
        for part in np.unique(owner):
            gathered[owner == part] = readers[part](indices[owner == part] - self._starts[part])
        return gathered
