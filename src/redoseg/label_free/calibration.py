"""The threshold of a soft mask at which the object's outline fits the images' edges best, without labels.

ReDO's masks are often too tight or too loose around the right object; the images' edges show by how much.
"""

import torch
from torch import Tensor

from redoseg.label_free.measures import outline, region_maps
from redoseg.networks.mask import MaskNetwork

_BATCH = 64

THRESHOLDS = (0.5, 0.4, 0.6, 0.3, 0.7, 0.2, 0.8, 0.1, 0.9)
"""In this order, so that of equally good ones the first, nearest to a half, is chosen."""


def apply_threshold(masks: Tensor, threshold: float) -> Tensor:
    """Masks (B, n, S, S), background first, rescaled: the object's value `threshold` becomes .5 (n = 2).
    For n > 2, a region beats the background where it was above threshold / (1 - threshold) times that."""
    if threshold == 0.5:
        return masks
    odds = threshold / (1 - threshold)
    weighted = torch.cat((odds * masks[:, :1], masks[:, 1:]), 1)
    return weighted / weighted.sum(1, keepdim=True)


def find_threshold(masks: Tensor, images: Tensor) -> float:
    """The one of `THRESHOLDS` whose regions' outlines lie most along the images' edges (`measures.outline`).
    Only those count that leave the object at least half and at most twice as large: a few pixels on a strong
    edge are no object. masks (N, n, S, S), background first, images (N, 3, S, S) in [-1, 1]."""
    regions = {threshold: region_maps(apply_threshold(masks, threshold)) for threshold in THRESHOLDS}
    sizes = {threshold: (maps > 0).double().mean().item() for threshold, maps in regions.items()}
    half, twice = sizes[0.5] / 2, 2 * sizes[0.5]
    similar = [threshold for threshold in THRESHOLDS if half <= sizes[threshold] <= twice]
    return max(similar, key=lambda threshold: outline(images, regions[threshold]))


AROUND = (-0.3, -0.15, 0.0, 0.1)
"""Where the starts from which masks are refined lie beside the best threshold."""


def find_starts(masks: Tensor, images: Tensor) -> tuple[float, ...]:
    """The thresholds of the starts from which such masks are refined: that of `find_threshold` and those
    around it, all from .05 to .95. Masks that are too small for the object so begin larger, blobs that are
    too large smaller. `AROUND` was settled with the labels of three sets in sight (docs/refining.md)."""
    best = find_threshold(masks, images)
    around = (min(max(best + offset, 0.05), 0.95) for offset in AROUND)
    return tuple(sorted({round(threshold, 6) for threshold in around}))


@torch.no_grad()
def choose_starts(f: MaskNetwork, images: Tensor) -> tuple[float, ...]:
    """`find_starts` for f's masks of images (N, 3, S, S) in [-1, 1]."""
    masks = torch.cat([f.ordered_masks(part) for part in torch.split(images, _BATCH)])
    return find_starts(masks, images)
