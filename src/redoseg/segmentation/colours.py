"""A colour model of a single photo: which of its colours belong to which region."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

_BINS = 16  # of each channel
_BLUR = 0.7  # standard deviation, in bins, of the colours that count as alike
_UNSEEN = 1.0  # pixels of every colour that each region is taken to have beside those that it has


class ColourModel:
    """Histograms of the colours of a photo (H, W, 3) uint8, each blurred so that near colours count as alike.
    As an iteration makes masks from histograms and histograms from masks, it joins pixels of like colours
    however far apart they lie: a fully connected random field (Kraehenbuehl and Koltun 2011) in colour."""

    def __init__(self, photo: NDArray[np.uint8]) -> None:
        red, green, blue = (photo[..., channel].astype(np.int32) * _BINS >> 8 for channel in range(3))
        self._shape = photo.shape[:2]
        self._bins = ((red * _BINS + green) * _BINS + blue).ravel()

    def log_likelihoods(self, masks: Array) -> Array:
        """For each of some regions, how well its colours explain each pixel: the logarithm of a density.
        masks (n, H, W) in [0, 1] -> (n, H, W)."""
        found = []
        for mask in masks:
            counts = np.bincount(self._bins, mask.ravel(), _BINS**3).astype(np.float32)
            likely = _blur(counts) / max(float(counts.sum()), 1e-6) + _UNSEEN / len(self._bins)
            found.append(np.log(likely)[self._bins].reshape(self._shape))
        return np.stack(found)


def _blur(counts: Array) -> Array:
    """A histogram (_BINS^3,), blurred along each channel; its sum stays."""
    for _ in range(3):  # the axes take turns
        counts = (_KERNEL @ counts.reshape(_BINS, -1)).T
    return counts.ravel()


def _kernel() -> Array:
    bins = np.arange(_BINS)
    near = np.exp(-((bins[:, None] - bins) ** 2) / (2 * _BLUR**2))
    return np.asarray(near / near.sum(0), np.float32)


_KERNEL = _kernel()
