"""Statistics of f's masks on a fixed set of images, by which a collapse and the background are recognised."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class MaskStatistics:
    """Of masks by channel. `sizes`: each channel's mean share of an image; `border`: its share of the images'
    outermost pixels; `variation`: the standard deviation of a pixel's mask between images, a mean over
    pixels, in [0, .5]. `named`: labels said which channel is which (--labelled), so region r is channel r."""

    sizes: tuple[float, ...]
    border: tuple[float, ...]
    variation: float
    named: bool = False

    @property
    def order(self) -> list[int]:
        """The channel of each region. Unless labels named them, region 0, the background, is the one whose
        share of the border exceeds its share of the images most. Its share of the border alone won't do: an
        object that fills most of the images covers most of their border, too."""
        if self.named:
            return [*range(len(self.sizes))]
        background = max(range(len(self.border)), key=lambda k: self.border[k] - self.sizes[k])
        return [background, *(k for k in range(len(self.border)) if k != background)]

    @property
    def border_of_objects(self) -> float:
        """The share of the images' outermost pixels that isn't the background's."""
        return 1 - self.border[self.order[0]]

    def collapse(self, smallest: float, least_variation: float, most_border: float = 1.0) -> str | None:
        """Why f counts as collapsed, in words; None if it doesn't. An object that covers nearly all of the
        border is the whole picture: its generator has learned to draw pictures, and the other region is what
        is left over. Of 53 recorded runs (results/rule) none of those that found the object ever had .73 of
        the border, nine of the ten that ended without one had .8 or more."""
        if min(self.sizes) < smallest:
            return f"a region covers {min(self.sizes):.4f} of the images"
        if self.variation < least_variation:
            return f"masks hardly differ between images ({self.variation:.5f})"
        if self.border_of_objects > most_border and not self.named:  # labels may name the ground the object
            return f"the object is the whole picture: it covers {self.border_of_objects:.2f} of the border"
        return None


@torch.no_grad()
def measure_masks(f: nn.Module, images: Tensor, batch: int = 64) -> MaskStatistics:
    """Statistics of f's masks on images (N, 3, S, S) in [-1, 1], N at least 2."""
    return mask_statistics(torch.cat([f(part) for part in torch.split(images, batch)]))


def mask_statistics(masks: Tensor) -> MaskStatistics:
    """Statistics of given masks (N, n, S, S), N at least 2."""
    edge = torch.cat((masks[:, :, 0], masks[:, :, -1], masks[:, :, 1:-1, 0], masks[:, :, 1:-1, -1]), 2)
    return MaskStatistics(
        sizes=tuple(masks.mean((0, 2, 3)).tolist()),
        border=tuple(edge.mean((0, 2)).tolist()),
        variation=masks.std(0).mean().item(),
    )
