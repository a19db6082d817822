"""What f does on a fixed set of images: has it collapsed, and which of its channels is the background?"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Survey:
    """`sizes`: each channel's mean share of an image; `border`: its share of the images' outermost pixels;
    `variation`: the deviation of a pixel's mask between images, a mean over pixels, in [0, .5]."""

    sizes: tuple[float, ...]
    border: tuple[float, ...]
    variation: float
    named: bool = False
    """Whether labels have named the channels (--labelled): then region r is channel r."""

    @property
    def order(self) -> list[int]:
        """Channel of region r. Where nobody has named them, region 0, the background, is the one whose share
        of the border is most above its share of the images: an object that fills most of them covers most of
        their border, too."""
        if self.named:
            return [*range(len(self.sizes))]
        background = max(range(len(self.border)), key=lambda k: self.border[k] - self.sizes[k])
        return [background, *(k for k in range(len(self.border)) if k != background)]

    def collapse(self, smallest: float, least_variation: float) -> str | None:
        """What is wrong in words, or None."""
        if min(self.sizes) < smallest:
            return f"a region covers {min(self.sizes):.4f} of the images"
        if self.variation < least_variation:
            return f"masks hardly differ between images ({self.variation:.5f})"
        return None


@torch.no_grad()
def survey(f: nn.Module, images: Tensor, batch: int = 64) -> Survey:
    """f's masks on images (N, 3, S, S) in [-1, 1], N at least 2."""
    return surveyed(torch.cat([f(part) for part in torch.split(images, batch)]))


def surveyed(masks: Tensor) -> Survey:
    """The same of masks (N, n, S, S) that are there already."""
    edge = torch.cat((masks[:, :, 0], masks[:, :, -1], masks[:, :, 1:-1, 0], masks[:, :, 1:-1, -1]), 2)
    return Survey(
        sizes=tuple(masks.mean((0, 2, 3)).tolist()),
        border=tuple(edge.mean((0, 2)).tolist()),
        variation=masks.std(0).mean().item(),
    )
