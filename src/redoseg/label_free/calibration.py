"""Where a soft mask's object ends: the threshold at which its outline fits the images best. No label is read.

The game leaves masks tight or loose about a core that is right; the image's edges know better.
"""

import torch
from torch import Tensor

from redoseg.label_free.signals import outline

THRESHOLDS = (0.5, 0.4, 0.6, 0.3, 0.7, 0.2, 0.8, 0.1, 0.9)
"""The nearest to none come first: of equals the first is taken."""


def at_threshold(masks: Tensor, threshold: float) -> Tensor:
    """Masks (B, n, S, S), background first, in which a region beats the background where it did so by
    threshold / (1 - threshold). For n = 2: what was `threshold` of the object becomes a half of it."""
    if threshold == 0.5:
        return masks
    odds = threshold / (1 - threshold)
    scaled = torch.cat((odds * masks[:, :1], masks[:, 1:]), 1)
    return scaled / scaled.sum(1, keepdim=True)


def fitting_threshold(masks: Tensor, images: Tensor) -> float:
    """The one of `THRESHOLDS` whose regions' outlines lie most along the images' edges (`signals.outline`),
    of those that leave the object at least half and at most twice as large: a few pixels on a strong edge
    aren't it. masks (N, n, S, S), background first, images (N, 3, S, S) in [-1, 1].
    """
    regions = {threshold: at_threshold(masks, threshold).argmax(1) for threshold in THRESHOLDS}
    sizes = {threshold: (found > 0).double().mean().item() for threshold, found in regions.items()}
    half, twice = sizes[0.5] / 2, 2 * sizes[0.5]
    alike = [threshold for threshold in THRESHOLDS if half <= sizes[threshold] <= twice]
    return max(alike, key=lambda threshold: outline(images, regions[threshold]))
