"""The redraw equation: `G_F(I, z_i, i) = sum_k M^k * V_k`, with V_k = I for every region k but i."""

import torch
from torch import Tensor


def choose_regions(batch: int, n: int, generator: torch.Generator) -> Tensor:
    """Which region of each image is redrawn: (batch,) of 0..n-1, ascending; each is uniform over the regions.
    Every region gets batch // n images, so that the generators' batches keep their shapes; the rest is drawn
    at random. Ascending, so that a generator's images are one slice: a batch's own order is random."""
    rest = torch.randperm(n, generator=generator)[: batch % n]
    return torch.cat((torch.arange(n).repeat(batch // n), rest)).sort().values


def redraw(image: Tensor, mask: Tensor, pixels: Tensor) -> Tensor:
    """One region redrawn: I where the mask is 0, the new pixels where it is 1.
    image, pixels (B, 3, S, S) in [-1, 1], mask (B, 1, S, S) in [0, 1] -> (B, 3, S, S) in [-1, 1]."""
    return image + mask * (pixels - image)


def assemble(masks: Tensor, pixels: Tensor) -> Tensor:
    """All regions drawn: sum_k M^k * V_k. masks (B, n, S, S), pixels (B, n, 3, S, S) -> (B, 3, S, S)."""
    return (masks[:, :, None] * pixels).sum(1)
