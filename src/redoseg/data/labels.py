"""What a label is: values in mask files to labels, soft masks to regions."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from redoseg.data.folder import named
from redoseg.errors import DataError

UNLABELLED = 255
"""The label of a pixel about which nothing is known: it is learned from and scored nowhere."""


def region_map(masks: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    """Soft masks (..., n, H, W) -> the region of each pixel (..., H, W): n = 2 at .5, else the largest."""
    if masks.shape[-3] == 2:
        return (masks[..., 1, :, :] > 0.5).astype(np.uint8)
    return masks.argmax(-3).astype(np.uint8)


class LabelMap:
    """What the values in mask files mean with n regions."""

    def __init__(self, values: NDArray[np.int64], n: int, where: str) -> None:
        """`values`: all there are in the set. Nothing is raised here: training doesn't look at masks."""
        binary = set(values.tolist()) <= {0, 255}
        self._meaning = np.minimum(np.arange(256), 1 if n == 2 else 255).astype(np.uint8)
        self._meaning[255] = 1 if binary else 255
        unknown = [] if binary or n == 2 else [int(value) for value in values if n <= value < 255]
        self._error = (
            f"{where}: its masks hold labels {named([str(value) for value in unknown])}, but {n} regions are "
            f"0 to {n - 1}: give --n {max(unknown) + 1}, or 255 (unlabelled) for the others"
            if unknown
            else None
        )

    def __call__(self, labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """DataError if the set holds labels beyond n - 1."""
        if self._error is not None:
            raise DataError(self._error)
        return self._meaning[labels]
