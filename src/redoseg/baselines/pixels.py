"""Pixels as numbers that clusters are found in, their colour and place; and those at the border."""

import cv2
import numpy as np
from numpy.typing import NDArray

POSITION = 0.5  # standard deviation of rows and of columns; the colour channel that varies most has 1


def features(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(S * S, 5) of an RGB image (S, S, 3): L, a, b, y, x."""
    colours = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    colours = (colours - colours.mean((0, 1))) / max(float(colours.std((0, 1)).max()), 1e-6)
    place = np.linspace(-1, 1, len(image), dtype=np.float32) * np.float32(np.sqrt(3) * POSITION)
    rows, columns = np.meshgrid(place, place, indexing="ij")
    return np.dstack([colours, rows, columns]).reshape(-1, 5).astype(np.float32)


def outermost(regions: NDArray[np.integer]) -> NDArray[np.integer]:
    """The 4 S - 4 outermost of the pixels (S, S)."""
    return np.concatenate([regions[0], regions[-1], regions[1:-1, 0], regions[1:-1, -1]])
