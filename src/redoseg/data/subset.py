"""Some of the images of a split."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from redoseg.data.dataset import Split


class SubsetSplit:
    """The images of a `Split` at some rising indices, as a `Split`."""

    def __init__(self, split: Split, indices: NDArray[np.int64]) -> None:
        self._split, self._indices = split, indices
        self.names: Sequence[str] = [split.names[index] for index in indices]

    def __len__(self) -> int:
        return len(self._indices)

    def images(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        return self._split.images(self._indices[indices])

    @property
    def labelled(self) -> NDArray[np.int64]:
        return np.flatnonzero(np.isin(self._indices, self._split.labelled))

    def labels(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        return self._split.labels(self._indices[indices])

    def whole(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        return self._split.whole(int(self._indices[index]))
