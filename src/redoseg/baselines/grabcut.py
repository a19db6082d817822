"""GrabCut (Rother, Kolmogorov and Blake 2004), as OpenCV has it: finds an object in a rectangle by colour."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

MARGIN = 10  # the rectangle leaves out a tenth of the side, on each side
ITERATIONS = 5
SMALLEST = 128  # pixels a side: OpenCV weighs smoothness by the pixel, which suits images no smaller


def segment(image: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
    """Regions (S, S), 1 the object, of one RGB image (S, S, 3): GrabCut from the image's inner part.

    A smaller image is enlarged by a whole factor to 128 pixels or more. Outside of the rectangle everything
    stays background. The result may have no object, and is scored so; an image of a single colour, which
    can't be split, has none.
    """
    if (image == image[0, 0]).all():
        return np.zeros(image.shape[:2], np.uint8)
    factor = -(-SMALLEST // len(image))
    large = cv2.resize(image[..., ::-1], None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    side = len(large)
    margin = round(side / MARGIN)
    inner = (margin, margin, side - 2 * margin, side - 2 * margin)
    mask, outer_model, inner_model = np.zeros((side, side), np.uint8), np.zeros((1, 65)), np.zeros((1, 65))
    cv2.setRNGSeed(seed)  # its mixtures of Gaussians start from k-means
    cv2.grabCut(large, mask, inner, outer_model, inner_model, ITERATIONS, cv2.GC_INIT_WITH_RECT)
    regions = np.isin(mask, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
    # The middle of each pixel's enlarged square; if it has no middle pixel, the last of the four around it.
    return regions[factor // 2 :: factor, factor // 2 :: factor]
