"""Labelled images in three parts that share no person: to learn from, to stop by, to be scored on."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from redoseg.data.dataset import Dataset, Split
from redoseg.errors import DataError
from redoseg.reproduction.scoring import labelled_splits

_STOPPING = 5  # of the images that can be learned from, a fifth is held out to stop by
_SEED = 0


@dataclass(frozen=True)
class Part:
    """Some labelled images of a split."""

    split: str
    images: Split
    rows: NDArray[np.int64]

    def read(self, some: NDArray[np.int64] | None = None) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Images (N, S, S, 3) and labels (N, S, S) of the part, or of those at `some` places in it."""
        rows = self.rows if some is None else self.rows[some]
        return self.images.images(rows), self.images.labels(rows)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def names(self) -> list[str]:
        return [self.images.names[row] for row in self.rows]


@dataclass(frozen=True)
class Parts:
    """`pool` to draw labelled images from, `stop` to end a training by, `scored` for the result."""

    pool: Part
    stop: Part
    scored: Part

    def describe(self) -> dict[str, dict[str, object]]:
        return {
            name: {"split": part.split, "images": len(part)}
            for name, part in (("pool", self.pool), ("stop", self.stop), ("scored", self.scored))
        }


def parts_of(dataset: Dataset) -> Parts:
    """With masks in `test`: that is scored, and val ends trainings on train; or, where train has no masks, a
    fifth of val those on the rest. With masks in one split alone: half of it is scored. Where a split is
    divided, no person is on two sides. DataError with fewer than six labelled images.
    """
    labelled = labelled_splits(dataset)
    if "test" in labelled and len(labelled) > 1:
        scored = _all_of(dataset, "test")
        if {"train", "val"} <= set(labelled):
            return Parts(_all_of(dataset, "train"), _all_of(dataset, "val"), scored)
        whole = _all_of(dataset, next(name for name in labelled if name != "test"))
    elif labelled:
        whole, scored = _divided(_all_of(dataset, labelled[0]), 2)
    if not labelled or len(whole) + len(scored) < 6:
        raise DataError(f"{dataset.name} has too few masks to learn from some and be scored on others")
    pool, stop = _divided(whole, _STOPPING)
    return Parts(pool, stop, scored)


def _all_of(dataset: Dataset, name: str) -> Part:
    split = dataset.splits[name]
    return Part(name, split, split.labelled)


def person(name: str) -> str:
    """Who is on a photo of LFW: `George_Bush_0001` is George_Bush. Elsewhere the name itself."""
    stem, _, number = name.rpartition("_")
    return stem if stem and len(number) == 4 and number.isdigit() else name


def _divided(part: Part, share: int) -> tuple[Part, Part]:
    """A part of about 1 - 1 / share of the images, and the rest."""
    people = _people(part.names)
    order = np.random.Generator(np.random.Philox(key=_SEED)).permutation(len(people))
    wanted, taken, second = len(part) // share, 0, set()
    for index in order:
        if taken >= wanted:
            break
        taken += len(people[index])
        second |= set(people[index])
    last = np.isin(np.arange(len(part)), sorted(second))
    return Part(part.split, part.images, part.rows[~last]), Part(part.split, part.images, part.rows[last])


def _people(names: Sequence[str]) -> list[list[int]]:
    """Places of each person's images."""
    found: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        found.setdefault(person(name), []).append(place)
    return list(found.values())
