"""A split without the images that were trained on with their masks, recognised by their pixels."""

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from redoseg.data.dataset import Split

_AT_ONCE = 256  # images or masks read at once

Images = NDArray[np.uint8]


class Unseen:
    """A split whose images that were trained on with their masks count as unlabelled: they'd flatter."""

    def __init__(self, split: Split, supervision: dict[str, Any]) -> None:
        """An image was trained on if it is one of `supervision`'s, pixel for pixel at this size."""
        seen = set(supervision["images"])
        rows = [
            [
                row
                for row, image in zip(part, split.images(part), strict=True)
                if image_digest(image) not in seen
            ]
            for part in index_chunks(split.labelled)
        ]
        self.names, self._split = split.names, split
        self.labelled = np.array([row for part in rows for row in part], np.int64)

    def __len__(self) -> int:
        return len(self._split)

    def images(self, indices: NDArray[np.int64]) -> Images:
        """(B, S, S, 3) uint8."""
        return self._split.images(indices)

    def labels(self, indices: NDArray[np.int64]) -> Images:
        """(B, S, S) uint8, as the split has them."""
        return self._split.labels(indices)


def unseen(scored: tuple[str, Split] | None, supervision: dict[str, Any] | None) -> tuple[str, Split] | None:
    """Name and images of a split without those of `supervision`; None if that leaves nothing to score."""
    if scored is None or supervision is None:
        return scored
    left = Unseen(scored[1], supervision)
    return (scored[0], left) if len(left.labelled) else None


def image_digest(array: Images) -> str:
    return hashlib.blake2b(np.ascontiguousarray(array).tobytes(), digest_size=8).hexdigest()


def index_chunks(rows: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """At least one, which may be empty."""
    for start in range(0, max(len(rows), 1), _AT_ONCE):
        yield rows[start : start + _AT_ONCE]
