"""DATA, as it is given on the command line, to splits of images and labels at one size."""

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from redoseg.config import TrainConfig
from redoseg.data.cache import Progress, default_cache, is_cached
from redoseg.data.folder import FolderListing
from redoseg.data.images import Resize
from redoseg.data.native.sources import list_source
from redoseg.data.photos import cache_keys, fingerprint, open_photos
from redoseg.data.scenes import REGIONS, open_scenes
from redoseg.errors import DataError

_USUAL = ("train", "val", "test")


class Split(Protocol):
    """Some images of a data set, by index from 0 to len - 1."""

    names: Sequence[str]

    def __len__(self) -> int: ...

    def images(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        """(B, S, S, 3) uint8."""
        ...

    @property
    def labelled(self) -> NDArray[np.int64]:
        """Indices of the images that have a mask, rising."""
        ...

    def labels(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        """(B, S, S) uint8: 0 background, 1 to n - 1 objects, 255 unlabelled (all of it without a mask).

        DataError if the set's masks hold other labels.
        """
        ...


@dataclass(frozen=True)
class Dataset:
    """What was opened. `skipped` names each file left out, with the reason.

    `fingerprint` is the same wherever the data lies, and differs when a file, a split or the size does.
    """

    name: str
    size: int
    n: int
    splits: Mapping[str, Split]
    fingerprint: str
    skipped: Sequence[str] = field(default=())

    def split(self, name: str) -> Split:
        """DataError if there is no such split."""
        if name not in self.splits:
            raise DataError(
                f"{self.name} has no split `{name}`: there is {', '.join(self.splits)}; ask for one of these "
                "(--split), or say in a splits.csv which images are which (docs/data.md)"
            )
        return self.splits[name]

    def describe(self) -> dict[str, object]:
        """For run.json."""
        splits = {
            name: {"images": len(split), "labelled": len(split.labelled)}
            for name, split in self.splits.items()
        }
        return {
            "name": self.name,
            "size": self.size,
            "n": self.n,
            "splits": splits,
            "skipped": list(self.skipped),
            "fingerprint": self.fingerprint,
        }


def open_dataset(
    data: Sequence[str | Path],
    *,
    size: int,
    n: int = 2,
    cache: Path | None = None,
    mnist: Path | None = None,
    resize: Resize = "antialias",
    progress: Callable[[int, int], None] | None = None,
) -> Dataset:
    """The union of `data`: folders, archives, images, sets as their owners distribute them (`lfw:DIR`,
    `flowers:DIR`, `cub:DIR`; a Path is always a path), or else `digits` or `digit` alone.

    Photos and masks are brought to `size` x `size` and kept in `cache` (default: the user's cache folder);
    `progress` hears (files done, files in all) while that is done. DataError on everything that's wrong.
    """
    sources = [data] if isinstance(data, str | Path) else list(data)
    names = [str(source) for source in sources]
    if not sources or size < 1 or not 2 <= n <= 255:
        raise DataError(f"nothing to open: {len(sources)} data sets, --size {size}, --n {n}")
    if set(names) & REGIONS.keys():
        return _open_scenes(names, size, n, mnist)
    return _open_folders(sources, size, n, resize, Path(cache or default_cache()), progress)


def open_data(
    config: TrainConfig,
    data: Sequence[str] | None = None,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Dataset:
    """What `config` trains on, or other `data`, brought to size the same way; errors of `open_dataset`."""
    return open_dataset(
        config.data if data is None else data,
        size=config.size,
        n=config.n,
        cache=config.cache,
        mnist=config.mnist,
        resize=config.resize,
        progress=progress,
    )


def choose_scored_split(labelled: Callable[[str], bool]) -> str | None:
    """The split that scores are made on: the first of 'val' and 'train' that is `labelled`, if one is."""
    return next((name for name in ("val", "train") if labelled(name)), None)


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
    folder: Path,
    progress: Callable[[int, int], None] | None,
) -> Dataset:
    listings = [list_source(source, index=folder) for source in data]
    planned = _plan_progress(folder, size, resize, listings, progress)
    sets = [open_photos(listing, size, resize, folder, planned) for listing in listings]
    skipped = [reason for photos in sets for reason in photos.skipped]
    name = " + ".join(listing.stem for listing in listings)
    if len(sets) == 1:
        found: Mapping[str, Split] = sets[0].splits(n)
        return Dataset(name, size, n, _sort_splits(found), fingerprint(listings[0], size, resize), skipped)
    prefixes = _unique_prefixes([listing.stem for listing in listings])
    parts: dict[str, list[tuple[str, Split]]] = {}
    for prefix, photos in zip(prefixes, sets, strict=True):
        for split_name, split in photos.splits(n).items():
            parts.setdefault(split_name, []).append((prefix, split))
    prints = [fingerprint(listing, size, resize) for listing in listings]
    key = hashlib.sha256(repr([prefixes, prints]).encode())
    splits = _sort_splits({split_name: UnionSplit(split) for split_name, split in parts.items()})
    return Dataset(name, size, n, splits, key.hexdigest()[:32], skipped)


def _plan_progress(
    folder: Path,
    size: int,
    resize: Resize,
    listings: Sequence[FolderListing],
    progress: Callable[[int, int], None] | None,
) -> Progress:
    """Knows of all files that are not in the cache yet."""
    planned = Progress(progress)
    for listing in listings:
        for key, files in zip(
            cache_keys(listing, size, resize), (listing.images, listing.masks), strict=True
        ):
            if not is_cached(folder, key):
                planned.plan(key, len(files))
    return planned


def _unique_prefixes(stems: Sequence[str]) -> list[str]:
    """The stems; with their place in the row where they are equal."""
    counts = Counter(stems)
    return [stem if counts[stem] == 1 else f"{stem}-{index}" for index, stem in enumerate(stems)]


def _sort_splits(splits: Mapping[str, Split]) -> dict[str, Split]:
    order = [*_USUAL, *sorted(splits.keys() - set(_USUAL))]
    return {name: splits[name] for name in order if name in splits}


class UnionSplit:
    """Splits of several sources, one after the other."""

    def __init__(self, parts: Sequence[tuple[str, Split]]) -> None:
        """`parts`: what to put before the names, and the split."""
        self.names: Sequence[str] = [f"{prefix}/{name}" for prefix, part in parts for name in part.names]
        self._parts = [part for _, part in parts]
        self._starts = np.cumsum([0, *(len(part) for part in self._parts)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def images(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        """(B, S, S, 3) uint8."""
        return self._gather(indices, [part.images for part in self._parts])

    @property
    def labelled(self) -> NDArray[np.int64]:
        """Indices of the images that have a mask, rising."""
        return np.concatenate(
            [part.labelled + start for part, start in zip(self._parts, self._starts[:-1], strict=True)]
        )

    def labels(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        """(B, S, S) uint8, 255 all over where there is no mask. DataError: labels beyond n - 1."""
        return self._gather(indices, [part.labels for part in self._parts])

    def _gather(
        self, indices: NDArray[np.int64], readers: Sequence[Callable[[NDArray[np.int64]], NDArray[np.uint8]]]
    ) -> NDArray[np.uint8]:
        indices = np.asarray(indices, np.int64)
        owner = np.searchsorted(self._starts, indices, side="right") - 1
        gathered = np.empty((len(indices), *readers[0](indices[:0]).shape[1:]), np.uint8)
        for part in np.unique(owner):
            gathered[owner == part] = readers[part](indices[owner == part] - self._starts[part])
        return gathered
