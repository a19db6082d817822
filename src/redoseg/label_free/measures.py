"""Measures of how much masks look like masks of objects, by comparing them with images or other masks."""

from collections.abc import Iterator

import cv2
import numpy as np
import torch
from torch import Tensor

_BATCH = 64


def agreement(ones: Tensor, others: Tensor) -> float:
    """Cohen's kappa of two maps of regions (..., integers): in [-1, 1], 0 for what chance alone would give.
    0, too, where both maps are one region throughout, which says nothing."""
    agree, n = (ones == others).double().mean().item(), int(max(ones.max(), others.max())) + 1
    shares = [torch.bincount(map_.flatten(), minlength=n).double() / map_.numel() for map_ in (ones, others)]
    chance = (shares[0] * shares[1]).sum().item()
    return (agree - chance) / (1 - chance) if chance < 1 else 0.0


def region_maps(masks: Tensor) -> Tensor:
    """masks (N, n, S, S) -> (N, S, S): each pixel's largest mask, the first of equal ones.
    On a CPU `max` takes a tenth of the time of `argmax`."""
    return masks.max(1).indices


def confidence(masks: Tensor) -> float:
    """masks (N, n, S, S) -> how far each pixel's largest mask is from 1 / n (0) towards 1 (1), a mean."""
    n = masks.shape[1]
    return (n * masks.amax(1).mean().item() - 1) / (n - 1)


def outline(images: Tensor, regions: Tensor) -> float:
    """1 - contrast within regions / contrast across their outlines: at most 1, 0 where there is no outline.
    Contrast is the mean distance of neighbouring pixels' colours. images (N, 3, S, S), regions (N, S, S)."""
    across, within = (torch.zeros(2, dtype=torch.float64, device=images.device) for _ in range(2))
    for colours, maps in zip(torch.split(images, _BATCH), torch.split(regions, _BATCH), strict=True):
        for (a, b), (r, s) in zip(_neighbours(colours), _neighbours(maps), strict=True):
            step, differ = (a - b).norm(dim=1).double(), r != s
            for total, selected in ((across, differ), (within, ~differ)):
                total += torch.stack((step[selected].sum(), selected.sum().double()))
    (steps_across, pairs_across), (steps_within, pairs_within) = across.tolist(), within.tolist()
    if not (steps_across and pairs_within):
        return 0.0
    return 1 - (steps_within / pairs_within) / (steps_across / pairs_across)


def compactness(objects: Tensor) -> float:
    """4 sqrt(area) / length of the outline, a mean over the images that have one; 0 if none has.
    objects (N, S, S) bool -> 1 for a square, more where the image's border cuts the object off, less for one
    that is ragged or scattered."""
    area = objects.double().sum((1, 2))
    length = sum((a != b).double().sum((1, 2)) for a, b in _neighbours(objects))
    assert isinstance(length, Tensor)
    has = length > 0
    return (4 * area[has].sqrt() / length[has]).mean().item() if has.any() else 0.0


def contained(objects: Tensor) -> float:
    """The share of the objects' pixels in pieces that don't reach from one side of the image to the opposite
    one: 1 for things that lie in the image or are cut off at a side or a corner, wherever and however many
    they are, 0 for what lies around them. 0, too, without any. objects (N, S, S) bool -> [0, 1]."""
    inside = whole = 0
    for image in objects.cpu().numpy().astype(np.uint8):
        _, _, boxes, _ = cv2.connectedComponentsWithStats(image, connectivity=4)
        width, height, area = boxes[1:, cv2.CC_STAT_WIDTH :].T  # the first one is everything else
        whole += int(area.sum())
        inside += int(area[(width < image.shape[1]) & (height < image.shape[0])].sum())
    return inside / whole if whole else 0.0


def brightness(images: Tensor, objects: Tensor) -> float:
    """|mean over images of the correlation between light and mask|: [0, 1].
    images (N, 3, S, S), objects (N, S, S) soft; an image where either is constant counts as 0."""
    light, mask = images.mean(1).double().flatten(1), objects.double().flatten(1)
    light, mask = (x - x.mean(1, keepdim=True) for x in (light, mask))
    both = light.norm(dim=1) * mask.norm(dim=1)
    correlation = torch.where(both > 1e-6, (light * mask).sum(1) / both.clamp_min(1e-6), 0.0)
    return abs(correlation.mean().item())


def _neighbours(maps: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """maps (..., H, W) -> each pixel with the one above it, then with the one to its left."""
    yield maps[..., 1:, :], maps[..., :-1, :]
    yield maps[..., 1:], maps[..., :-1]
