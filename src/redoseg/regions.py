"""Soft masks to regions."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def region_map(masks: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    """Soft masks (..., n, H, W) -> the region of each pixel (..., H, W): n = 2 at .5, else the largest."""
    if masks.shape[-3] == 2:
        return (masks[..., 1, :, :] > 0.5).astype(np.uint8)
    return masks.argmax(-3).astype(np.uint8)
