"""k-means on colour and position: two clusters of pixels, the one at the border is the background."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans

POSITION = 0.5  # standard deviation of rows and of columns; the colour channel that varies most has 1
STARTS = 4


def segment(image: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
    """Regions (S, S), 1 the object, of one RGB image (S, S, 3). A pixel is described by its colour in CIELAB
    and its place. The cluster with more of the outermost pixels is 0, the background."""
    side = len(image)
    clusters = KMeans(2, n_init=STARTS, random_state=seed).fit_predict(_features(image)).reshape(side, side)
    border = np.concatenate([clusters[0], clusters[-1], clusters[1:-1, 0], clusters[1:-1, -1]])
    background = 2 * np.count_nonzero(border) > border.size
    return np.asarray(clusters != background, np.uint8)


def _features(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(S * S, 5): L, a, b, y, x."""
    colours = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    colours = (colours - colours.mean((0, 1))) / max(float(colours.std((0, 1)).max()), 1e-6)
    place = np.linspace(-1, 1, len(image), dtype=np.float32) * np.float32(np.sqrt(3) * POSITION)
    rows, columns = np.meshgrid(place, place, indexing="ij")
    return np.dstack([colours, rows, columns]).reshape(-1, 5).astype(np.float32)
