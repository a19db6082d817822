"""GrabCut (Rother, Kolmogorov and Blake 2004), as OpenCV has it: what is within a rectangle, by colour."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

MARGIN = 8  # the rectangle leaves out an eighth of the side, on each side
ITERATIONS = 5


def segment(image: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
    """Regions (S, S), 1 the object, of one RGB image (S, S, 3): GrabCut from the image's inner part.

    Outside of the rectangle everything is background for good. An image in which nothing is left of the
    object gets no object; one of a single colour, which OpenCV can't split, too.
    """
    side = len(image)
    margin = max(1, side // MARGIN)
    mask = np.zeros((side, side), np.uint8)
    inner = (margin, margin, side - 2 * margin, side - 2 * margin)
    cv2.setRNGSeed(seed)  # its mixtures of Gaussians begin with k-means
    if (image == image[0, 0]).all():
        return mask
    colours = np.ascontiguousarray(image[..., ::-1])
    cv2.grabCut(colours, mask, inner, np.zeros((1, 65)), np.zeros((1, 65)), ITERATIONS, cv2.GC_INIT_WITH_RECT)
    return np.isin(mask, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
