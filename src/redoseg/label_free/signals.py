"""What can be known of f without a label, and the score made of it that chooses a run's checkpoint.

Everything is measured on one fixed set of images; what is drawn at random comes from a generator of its own.
"""

import dataclasses
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

from redoseg.config import TrainConfig
from redoseg.label_free.statistics import surveyed
from redoseg.method.augmentation import VIEW_NUMBERS, view
from redoseg.method.compositing import assemble, redraw
from redoseg.networks.layers import evaluating
from redoseg.networks.mask import MaskNetwork

SMALLEST, LEAST_VARIATION = TrainConfig.collapse_below, TrainConfig.collapse_variation
"""What `--collapse-below` and `--collapse-variation` are unless something else is asked for."""

RELIT = 0.5
"""Strength of the change of light and colours under which f's regions are compared."""

_BATCH, _SEED = 64, 0
_SWAP = (0.0, 0.5, 0.5, 0.5, 0.0, 0.0)  # `view`'s numbers, at strength 1, for light and dark swapped alone
_CODED = 64  # images, at most, whose regions are redrawn


@dataclass(frozen=True)
class Signals:
    """f on a fixed set of images. The object is everything but region 0.

    sizes: the regions' mean shares, background first; variation: of a pixel's mask between images, [0, .5];
    border: the object's share of the images' outermost pixels; confidence: 0 if all masks are 1 / n, 1 if
    they are 0 or 1; outline: 1 - contrast within regions / contrast across their outlines, 0 where outlines
    have nothing to do with edges, below 1; compactness: 4 sqrt(area) / outline, 1 for a square, less for what
    is ragged; brightness: 1 if light alone, in the same sense in all images, says where the object is, 0 if
    it says nothing.

    Cohen's kappa between f's regions, as they are and found in the images mirrored, moved by a few pixels
    (without what came in there), with light and dark swapped, with light and hue changed at random: mirrored,
    moved, swapped, relit; 1 if they agree, 0 if they do by chance alone.

    recovered: how well delta reads each region's code, 1 - squared error, 0 if it knows nothing; None where
    generators and delta aren't at hand.
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
        """1 - the object's share of the border / its share of the image: 1 for an object that keeps clear of
        the border, 0 for one that is there as often as anywhere. 0 without an object."""
        size = 1 - self.sizes[0]
        return 1 - self.border / size if size > 0 else 0.0

    def as_dict(self) -> dict[str, Any]:
        """As metrics.jsonl keeps them."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in dataclasses.asdict(self).items()
        }

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Self:
        """What `as_dict` gave."""
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()
        }
        return cls(**values)


def label_free_score(
    signals: Signals, smallest: float = SMALLEST, least_variation: float = LEAST_VARIATION
) -> float:
    """`centred * outline * mirrored`, each at least 0: in [0, 1], high for masks that look like objects.

    0 for what training would call a collapse: a region's share below `smallest`, masks that vary less than
    `least_variation`. docs/method.md says why these three.
    """
    if min(signals.sizes) < smallest or signals.variation < least_variation:
        return 0.0
    return math.prod(max(0.0, part) for part in (signals.centred, signals.outline, signals.mirrored))


@torch.no_grad()
def measure(f: MaskNetwork, images: Tensor) -> Signals:
    """All signals but delta's, of f on images (N, 3, S, S) in [-1, 1] on its device, N at least 2."""
    parts = torch.split(images, _BATCH)
    with evaluating(f):
        masks = torch.cat([f.ordered_masks(part) for part in parts])  # (N, n, S, S)
        regions, objects = masks.argmax(1), 1 - masks[:, 0]
        survey = surveyed(masks)
        numbers = torch.rand(len(images), VIEW_NUMBERS, generator=torch.Generator().manual_seed(_SEED))
        seen: dict[str, Any] = {
            "mirrored": agreement(regions, _regions(f, (part.flip(3) for part in parts)).flip(2)),
            "moved": _moved(f, parts, regions),
            "swapped": agreement(regions, _regions(f, _lit(parts, torch.tensor([_SWAP]), 1.0))),
            "relit": agreement(regions, _regions(f, _lit(parts, numbers, RELIT))),
        }
    return Signals(
        sizes=survey.sizes,
        variation=survey.variation,
        border=1 - survey.border[0],
        confidence=_confidence(masks),
        outline=outline(images, regions),
        compactness=compactness(regions > 0),
        brightness=brightness(images, objects),
        **seen,
    )


def _regions(f: MaskNetwork, parts: Iterable[Tensor]) -> Tensor:
    """(N, S, S), the region of each pixel."""
    return torch.cat([f.ordered_masks(part).argmax(1) for part in parts])


def _lit(parts: Iterable[Tensor], numbers: Tensor, strength: float) -> Iterator[Tensor]:
    """The images in another light; `numbers` (N, 6) as `view` takes them, or (1, 6) the same for all."""
    begin = 0
    for part in parts:
        u = numbers if len(numbers) == 1 else numbers[begin : begin + len(part)]
        begin += len(part)
        yield view(part, u.to(part.device), part.new_full((len(part),), strength))


def _moved(f: MaskNetwork, parts: Iterable[Tensor], regions: Tensor) -> float:
    """Agreement under a shift down and to the right, wrapped round: the image's statistics stay as they are.

    By an odd number of pixels: to multiples of 4 the network's own strides are blind. Left out is what came
    round, and as much again at the other sides.
    """
    step = regions.shape[-1] // 16 | 1
    back = _regions(f, (part.roll((step, step), (2, 3)) for part in parts)).roll((-step, -step), (1, 2))
    inner = slice(step, -step)
    return agreement(regions[:, inner, inner], back[:, inner, inner])


def agreement(ones: Tensor, others: Tensor) -> float:
    """Cohen's kappa of two maps of regions (..., integers): in [-1, 1], 0 for what chance alone would give.

    0, too, where both are one region throughout: that says nothing.
    """
    agree, n = (ones == others).double().mean().item(), int(max(ones.max(), others.max())) + 1
    shares = [torch.bincount(map_.flatten(), minlength=n).double() / map_.numel() for map_ in (ones, others)]
    chance = (shares[0] * shares[1]).sum().item()
    return (agree - chance) / (1 - chance) if chance < 1 else 0.0


def _confidence(masks: Tensor) -> float:
    """masks (N, n, S, S) -> mean of the largest one, 0 if it is 1 / n, 1 if it is 1."""
    n = masks.shape[1]
    return (n * masks.amax(1).mean().item() - 1) / (n - 1)


def _neighbours(pictures: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """pictures (..., H, W) -> each pixel and the next one, below and to the right."""
    yield pictures[..., 1:, :], pictures[..., :-1, :]
    yield pictures[..., 1:], pictures[..., :-1]


def outline(images: Tensor, regions: Tensor) -> float:
    """1 - contrast within regions / contrast across their outlines: at most 1, 0 where there is no outline.

    Contrast is the mean distance of neighbouring pixels' colours. images (N, 3, S, S), regions (N, S, S).
    """
    across, within = (torch.zeros(2, dtype=torch.float64, device=images.device) for _ in range(2))
    for some, named in zip(torch.split(images, _BATCH), torch.split(regions, _BATCH), strict=True):
        for (a, b), (r, s) in zip(_neighbours(some), _neighbours(named), strict=True):
            step, differ = (a - b).norm(dim=1).double(), r != s
            for total, these in ((across, differ), (within, ~differ)):
                total += torch.stack((step[these].sum(), these.sum().double()))
    (steps, pairs), (other_steps, other_pairs) = across.tolist(), within.tolist()
    if not (steps and other_pairs):
        return 0.0
    return 1 - (other_steps / other_pairs) / (steps / pairs)


def compactness(objects: Tensor) -> float:
    """4 sqrt(area) / length of the outline, a mean over the images that have one; 0 if none does.

    objects (N, S, S) bool -> 1 for a square, more for what the image's border cuts off, less for what is
    ragged or scattered.
    """
    area = objects.double().sum((1, 2))
    length = sum((a != b).double().sum((1, 2)) for a, b in _neighbours(objects))
    assert isinstance(length, Tensor)
    has = length > 0
    return (4 * area[has].sqrt() / length[has]).mean().item() if has.any() else 0.0


def brightness(images: Tensor, objects: Tensor) -> float:
    """|mean over images of the correlation between light and mask|: [0, 1].

    images (N, 3, S, S), objects (N, S, S) soft; an image where either is constant counts as 0.
    """
    light, mask = images.mean(1).double().flatten(1), objects.double().flatten(1)
    light, mask = (x - x.mean(1, keepdim=True) for x in (light, mask))
    both = light.norm(dim=1) * mask.norm(dim=1)
    correlation = torch.where(both > 1e-6, (light * mask).sum(1) / both.clamp_min(1e-6), 0.0)
    return abs(correlation.mean().item())


@torch.no_grad()
def recovered(
    f: MaskNetwork,
    G: nn.ModuleList,
    delta: nn.Module,
    images: Tensor,
    code_size: int,
    *,
    generated: bool = False,
) -> tuple[float, ...] | None:
    """1 - delta's mean squared error of each region's code, background first: 1 at best, 0 for a guess of 0.
    None if an error isn't finite.

    Every region of up to 64 of the images (N, 3, S, S) is redrawn by itself, as `G`, by f's channels, draws
    it with codes that are always the same. `generated`: delta reads the sum of all regions instead.
    """
    images = images[:: -(-len(images) // _CODED)]
    z = torch.randn(len(images), f.n, code_size, generator=torch.Generator().manual_seed(_SEED))
    z = z.to(images.device)
    with evaluating(f, G, delta):
        M = f(images)  # (N, n, S, S), by channel as G and delta are
        V = [G_k(M[:, k : k + 1], z[:, k]) for k, G_k in enumerate(G)]
        if generated:
            read = [assemble(M, torch.stack(V, 1))] * f.n
        else:
            read = [redraw(images, M[:, k : k + 1], V_k) for k, V_k in enumerate(V)]
        errors = [(delta(fake)[:, k] - z[:, k]).square().mean().item() for k, fake in enumerate(read)]
    if not all(map(math.isfinite, errors)):
        return None
    return tuple(1 - errors[channel] for channel in f.order.tolist())
