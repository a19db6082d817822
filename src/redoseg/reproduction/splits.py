"""Labelled images in three parts that share no person: to learn from, to stop training by, to score on."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from redoseg.data.dataset import Dataset, Split
from redoseg.errors import DataError
from redoseg.reproduction.scoring import labelled_splits

_STOP_SHARE = 5  # a fifth of the images that could be learned from is held out to stop training by
_SEED = 0


@dataclass(frozen=True)
class Part:
    """Some labelled images of a split."""

    split: str
    images: Split
    rows: NDArray[np.int64]

    def read(self, some: NDArray[np.int64] | None = None) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Images (N, S, S, 3) and labels (N, S, S) of the part, or only of those at the places `some`."""
        rows = self.rows if some is None else self.rows[some]
        return self.images.images(rows), self.images.labels(rows)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def names(self) -> list[str]:
        return [self.images.names[row] for row in self.rows]


@dataclass(frozen=True)
class Parts:
    """`pool` to draw labelled images from, `stop` to stop a training early by, `scored` for the result."""

    pool: Part
    stop: Part
    scored: Part

    def describe(self) -> dict[str, dict[str, object]]:
        return {
            name: {"split": part.split, "images": len(part)}
            for name, part in (("pool", self.pool), ("stop", self.stop), ("scored", self.scored))
        }


def divide_labelled(dataset: Dataset) -> Parts:
    """Divide the labelled images of a data set.

    Where `test` has masks, it is scored. Then the pool is train and val stops trainings; if only one of the
    two has masks, a fifth of it stops trainings on the rest. Where only one split has masks, half of it is
    scored and the other half divided so. Where a split is divided, no person is on two sides. DataError with
    fewer than six labelled images.
    """
    labelled = labelled_splits(dataset)
    if "test" in labelled and len(labelled) > 1:
        scored = _whole_split(dataset, "test")
        if {"train", "val"} <= set(labelled):
            return Parts(_whole_split(dataset, "train"), _whole_split(dataset, "val"), scored)
        whole = _whole_split(dataset, next(name for name in labelled if name != "test"))
    elif labelled:
        whole, scored = _divide(_whole_split(dataset, labelled[0]), 2)
    if not labelled or len(whole) + len(scored) < 6:
        raise DataError(f"{dataset.name} has too few masks to learn from some and be scored on others")
    pool, stop = _divide(whole, _STOP_SHARE)
    return Parts(pool, stop, scored)


def _whole_split(dataset: Dataset, name: str) -> Part:
    split = dataset.splits[name]
    return Part(name, split, split.labelled)


def person_of(name: str) -> str:
    """Who is on a photo of LFW: `George_Bush_0001` is George_Bush. Elsewhere the name itself."""
    stem, _, number = name.rpartition("_")
    return stem if stem and len(number) == 4 and number.isdigit() else name


def _divide(part: Part, share: int) -> tuple[Part, Part]:
    """Two parts: about 1 - 1 / share of the images, and the rest."""
    groups: dict[str, list[int]] = {}  # the places of each person's images
    for place, name in enumerate(part.names):
        groups.setdefault(person_of(name), []).append(place)
    people = list(groups.values())
    order = np.random.Generator(np.random.Philox(key=_SEED)).permutation(len(people))
    wanted, taken, second = len(part) // share, 0, set()
    for index in order:
        if taken >= wanted:
            break
        taken += len(people[index])
        second |= set(people[index])
    last = np.isin(np.arange(len(part)), sorted(second))
    return Part(part.split, part.images, part.rows[~last]), Part(part.split, part.images, part.rows[last])
