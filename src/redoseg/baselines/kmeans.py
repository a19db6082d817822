"""k-means on colour and position: two clusters of pixels, the one at the border is the background."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans

from redoseg.baselines.pixels import features, outermost

STARTS = 4


def segment(image: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
    """Regions (S, S), 1 the object, of one RGB image (S, S, 3). A pixel is described by its colour in CIELAB
    and its place. The cluster with more of the outermost pixels is 0, the background."""
    side = len(image)
    clusters = KMeans(2, n_init=STARTS, random_state=seed).fit_predict(features(image)).reshape(side, side)
    border = outermost(clusters)
    background = 2 * np.count_nonzero(border) > border.size
    return np.asarray(clusters != background, np.uint8)
