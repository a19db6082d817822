"""What a label is: from the values in mask files to labels, and from soft masks to regions."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from redoseg.data.folder import join_names
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
    """Turns the values in one set's mask files into labels from 0 to n - 1, or UNLABELLED.

    Masks of 0 and 255 alone mean background and object. Otherwise 255 is unlabelled, with n = 2 every other
    value above 0 is the object, and with more regions the values are the labels themselves.
    """

    def __init__(self, values: NDArray[np.int64], n: int, where: str) -> None:
        """`values`: all that the set's masks hold, at their full size; `where`: the set's name for errors.
        Values that n regions have no place for raise nothing yet, because training never reads masks."""
        binary = set(values.tolist()) <= {0, 255}
        self._labels = np.minimum(np.arange(256), 1 if n == 2 else 255).astype(np.uint8)
        self._labels[255] = 1 if binary else UNLABELLED
        self._unknown = [] if binary or n == 2 else [int(value) for value in values if n <= value < 255]
        self._n, self._where = n, where

    def __call__(self, values: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The labels, in the shape of `values`. DataError if the set's masks hold values from n to 254."""
        if self._unknown:
            labels, n = join_names([str(value) for value in self._unknown]), self._n
            raise DataError(
                f"{self._where}: its masks hold labels {labels}, but {n} regions are 0 to {n - 1}: "
                f"give --n {max(self._unknown) + 1}, or 255 (unlabelled) for the others"
            )
        return self._labels[values]
