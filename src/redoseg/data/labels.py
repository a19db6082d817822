"""What a label is: from the labels in mask files to those of n regions, and from soft masks to regions."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from redoseg.data.naming import join_names
from redoseg.errors import DataError

UNLABELLED = 255
"""The label of a pixel about which nothing is known. Such pixels are neither learned from nor scored."""


def region_map(masks: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    """The region of each pixel, (..., H, W) uint8 from 0 to n - 1, of soft masks (..., n, H, W) in [0, 1].
    With two regions a pixel is the object (1) above 0.5; with more it belongs to the largest mask."""
    if masks.shape[-3] == 2:
        return (masks[..., 1, :, :] > 0.5).astype(np.uint8)
    return masks.argmax(-3).astype(np.uint8)


class LabelMap:
    """Turns the labels in one set's mask files (`mask_files.to_labels`) into those of n regions, from 0 to
    n - 1, or UNLABELLED. With n = 2 every label above 0 is the object; with more they are as they are."""

    def __init__(self, labels: NDArray[np.int64], n: int, where: str) -> None:
        """`labels`: all that the set's masks hold, at their full size; `where`: the set's name for errors.
        Labels that n regions have no place for raise nothing yet, because training never reads masks."""
        self._labels = np.minimum(np.arange(256), 1 if n == 2 else 255).astype(np.uint8)
        self._labels[UNLABELLED] = UNLABELLED
        self._unknown = [] if n == 2 else [int(label) for label in labels if n <= label < UNLABELLED]
        self._n, self._where = n, where

    def __call__(self, labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The regions, in the shape of `labels`. DataError if the set's masks hold labels from n to 254."""
        if self._unknown:
            named, n = join_names([str(label) for label in self._unknown]), self._n
            raise DataError(
                f"{self._where}: its masks hold labels {named}, but {n} regions are 0 to {n - 1}: "
                f"give --n {max(self._unknown) + 1}, or 255 (unlabelled) for the others"
            )
        return self._labels[labels]
