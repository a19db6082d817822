"""Label-free signals of f on a fixed set of images, and the score that chooses a run's checkpoint by them."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from redoseg.config import TrainConfig
from redoseg.label_free.measures import agreement, brightness, compactness, confidence, outline, region_maps
from redoseg.label_free.statistics import mask_statistics
from redoseg.method.augmentation import VIEW_NUMBERS, view
from redoseg.method.compositing import assemble, redraw
from redoseg.networks.layers import evaluating
from redoseg.networks.mask import MaskNetwork

SMALLEST, LEAST_VARIATION = TrainConfig.collapse_below, TrainConfig.collapse_variation
"""The defaults of `--collapse-below` and `--collapse-variation`."""

RELIT = 0.5
"""Strength of the change of light and colours under which f's regions are compared."""

_BATCH, _SEED = 64, 0
_SWAP = (0.0, 0.5, 0.5, 0.5, 0.0, 0.0)  # `view`'s numbers which, at strength 1, only swap light and dark
_WINDOW = 0.75  # side of the windows in which masks are compared with those of whole images
_CODED = 64  # images, at most, whose regions are redrawn


@dataclass(frozen=True)
class Signals:
    """What f does on a fixed set of images. The object is everything but region 0, the background.

    `sizes`: each region's mean share of an image, background first. `variation`: the standard deviation of a
    pixel's mask between images, a mean over pixels, in [0, .5]. `border`: the object's share of the images'
    outermost pixels. `confidence`: 0 if all masks are 1 / n, 1 if all are 0 or 1. `outline`, `compactness`,
    `brightness`: see `measures`; outlines along the images' edges, 4 sqrt(area) / outline, and how well light
    alone says where the object is.

    `mirrored`, `moved`, `swapped`, `relit`: Cohen's kappa between f's regions in the images and in the images
    mirrored, moved by a few pixels, with light and dark swapped, or with light and hue changed at random. 1
    if they agree, 0 if they agree by chance alone.

    `recovered`: 1 - the squared error of each region's code as delta reads it, 0 if delta knows nothing; None
    where generators and delta aren't available.
    """

    sizes: tuple[float, ...]
    variation: float
    border: float
    confidence: float
    outline: float
    compactness: float
    brightness: float
    mirrored: float
    moved: float
    swapped: float
    relit: float
    recovered: tuple[float, ...] | None = None

    @property
    def centred(self) -> float:
        """1 - the object's share of the border / its share of the image: 1 for an object that never touches
        the border, 0 for one that is there as often as anywhere. 0 without an object."""
        size = 1 - self.sizes[0]
        return 1 - self.border / size if size > 0 else 0.0

    def as_dict(self) -> dict[str, Any]:
        """The fields as metrics.jsonl holds them."""
        items = vars(self).items()
        return {name: list(value) if isinstance(value, tuple) else value for name, value in items}

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Self:
        """Signals from what `as_dict` returned."""
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
        return cls(**values)


def label_free_score(
    signals: Signals,
    smallest: float = SMALLEST,
    least_variation: float = LEAST_VARIATION,
    contained: float = 0.0,
) -> float:
    """`centred * outline * mirrored`, each at least 0: in [0, 1], high for masks that look like objects.
    0 for what training would call a collapse: a region's share below `smallest`, masks that vary less than
    `least_variation`. docs/method.md says why these three. `contained` (`measures.contained`) takes the place
    of `centred` where it is larger: objects may be cut off by the border, and may be everywhere."""
    if min(signals.sizes) < smallest or signals.variation < least_variation:
        return 0.0
    apart = max(signals.centred, contained)
    return math.prod(max(0.0, part) for part in (apart, signals.outline, signals.mirrored))


@torch.no_grad()
def measure(f: MaskNetwork, images: Tensor) -> Signals:
    """All signals but `recovered`, of f on images (N, 3, S, S) in [-1, 1] on its device, N at least 2."""
    parts = torch.split(images, _BATCH)
    with evaluating(f):
        masks = torch.cat([f.ordered_masks(part) for part in parts])  # (N, n, S, S)
        regions, objects = region_maps(masks), 1 - masks[:, 0]  # (N, S, S)
        statistics = mask_statistics(masks)
        numbers = torch.rand(len(images), VIEW_NUMBERS, generator=torch.Generator().manual_seed(_SEED))
        agreements: dict[str, Any] = {
            "mirrored": agreement(regions, _find_regions(f, (part.flip(3) for part in parts)).flip(2)),
            "moved": _agreement_when_moved(f, parts, regions),
            "swapped": agreement(regions, _find_regions(f, _relight(parts, torch.tensor([_SWAP]), 1.0))),
            "relit": agreement(regions, _find_regions(f, _relight(parts, numbers, RELIT))),
        }
    return Signals(
        sizes=statistics.sizes,
        variation=statistics.variation,
        border=1 - statistics.border[0],
        confidence=confidence(masks),
        outline=outline(images, regions),
        compactness=compactness(regions > 0),
        brightness=brightness(images, objects),
        **agreements,
    )


@torch.no_grad()
def find_regions(f: MaskNetwork, images: Tensor) -> Tensor:
    """(N, S, S), the region of each pixel of images (N, 3, S, S) in [-1, 1]."""
    with evaluating(f):
        return _find_regions(f, torch.split(images, _BATCH))


@torch.no_grad()
def steadiness(f: MaskNetwork, images: Tensor, regions: Tensor) -> float:
    """Consistency under cropping: Cohen's kappa between f's regions in the four corner windows of images (N,
    3, S, S) in [-1, 1], three quarters of their side and enlarged to S, and the same windows of its `regions`
    (N, S, S) in the whole images. At most 1, and 0 if they agree by chance alone. A thing is the same thing
    where the photo ends elsewhere; what was found for its place, in the middle or away from the border,
    isn't."""
    side = images.shape[-1]
    window = round(_WINDOW * side)
    cut = []
    corners = [(top, left) for top in (0, side - window) for left in (0, side - window)]
    for top, left in corners:
        part = images[..., top : top + window, left : left + window]
        cut.append(find_regions(f, F.interpolate(part, size=side, mode="bilinear")))
    seen = [regions[:, None, top : top + window, left : left + window] for top, left in corners]
    return agreement(F.interpolate(torch.cat(seen).float(), size=side)[:, 0].long(), torch.cat(cut))


def _find_regions(f: MaskNetwork, parts: Iterable[Tensor]) -> Tensor:
    return torch.cat([region_maps(f.ordered_masks(part)) for part in parts])


def _relight(parts: Iterable[Tensor], numbers: Tensor, strength: float) -> Iterator[Tensor]:
    """The images in another light; `numbers` (N, 6) as `view` takes them, or (1, 6) the same for all."""
    begin = 0
    for part in parts:
        u = numbers if len(numbers) == 1 else numbers[begin : begin + len(part)]
        begin += len(part)
        yield view(part, u.to(part.device), part.new_full((len(part),), strength))


def _agreement_when_moved(f: MaskNetwork, parts: Iterable[Tensor], regions: Tensor) -> float:
    """Agreement when images are rolled down and to the right, which keeps each image's statistics.
    The shift is odd: the network's strides make it blind to multiples of 4. Compared is what lies at least
    one shift inside the image, without the pixels that came round."""
    step = regions.shape[-1] // 16 | 1
    back = _find_regions(f, (part.roll((step, step), (2, 3)) for part in parts)).roll((-step, -step), (1, 2))
    inner = slice(step, -step)
    return agreement(regions[:, inner, inner], back[:, inner, inner])


@torch.no_grad()
def code_recovery(
    f: MaskNetwork,
    G: nn.ModuleList,
    delta: nn.Module,
    images: Tensor,
    code_size: int,
    *,
    generated: bool = False,
) -> tuple[float, ...] | None:
    """1 - the mean squared error of each region's code as delta reads it, background first: at most 1, and 0
    if delta always guesses 0. None if an error isn't finite.

    In up to 64 of the images (N, 3, S, S) each region is redrawn by itself, with codes that are the same at
    every call; G and delta follow the channels of f. `generated`: delta reads the sum of all regions instead.
    """
    images = images[:: -(-len(images) // _CODED)]
    z = torch.randn(len(images), f.n, code_size, generator=torch.Generator().manual_seed(_SEED))
    z = z.to(images.device)
    with evaluating(f, G, delta):
        M = f(images)  # (N, n, S, S), by channel as G and delta are
        V = [G_k(M[:, k : k + 1], z[:, k]) for k, G_k in enumerate(G)]
        if generated:
            fakes = [assemble(M, torch.stack(V, 1))] * f.n
        else:
            fakes = [redraw(images, M[:, k : k + 1], V_k) for k, V_k in enumerate(V)]
        errors = [(delta(fake)[:, k] - z[:, k]).square().mean().item() for k, fake in enumerate(fakes)]
    if not all(map(math.isfinite, errors)):
        return None
    return tuple(1 - errors[channel] for channel in f.order.tolist())
