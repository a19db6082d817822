"""A split without the masks that were trained on, recognised by the pixels of their images."""

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from redoseg.data.dataset import Split

_CHUNK = 256  # images or masks that are read at once


class HeldOutSplit:
    """A `Split` whose images that were trained on with masks, which inflates scores, count as unlabelled."""

    def __init__(self, split: Split, supervision: dict[str, Any]) -> None:
        """`supervision`["images"]: the `image_digest`s of what was trained on, at the split's size."""
        trained_on = set(supervision["images"])
        kept = [
            row
            for rows in index_chunks(split.labelled)
            for row, image in zip(rows, split.images(rows), strict=True)
            if image_digest(image) not in trained_on
        ]
        self.names, self._split = split.names, split
        self.labelled = np.array(kept, np.int64)

    def __len__(self) -> int:
        return len(self._split)

    def images(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        return self._split.images(indices)

    def labels(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        return self._split.labels(indices)

    def whole(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        return self._split.whole(index)


def hold_out(
    scored: tuple[str, Split] | None, supervision: dict[str, Any] | None
) -> tuple[str, Split] | None:
    """A split's name and images without what `supervision` holds; None if that leaves nothing to score."""
    if scored is None or supervision is None:
        return scored
    name, split = scored
    held_out = HeldOutSplit(split, supervision)
    return (name, held_out) if len(held_out.labelled) else None


def image_digest(array: NDArray[np.uint8]) -> str:
    """16 hex digits of an array's values in row order; of its shape nothing."""
    return hashlib.blake2b(np.ascontiguousarray(array).tobytes(), digest_size=8).hexdigest()


def index_chunks(rows: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """`rows` in order, in pieces of at most 256. Of no rows there is one piece, which is empty."""
    for start in range(0, max(len(rows), 1), _CHUNK):
        yield rows[start : start + _CHUNK]
