"""From the network's soft masks to the photo's own outline, and how doubtful the result is.

No label is read. Several starts, the network's masks cut at different heights, are each brought to agree with
the photo: a pixel goes to the region that its colour and its surroundings speak for. The starts vote. Where
they end alike, the mask is sure; what they dispute is its doubt.
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from redoseg.errors import ConfigError
from redoseg.segmentation.colours import ColourModel
from redoseg.segmentation.guided_filter import GuidedFilter

Refine = Literal["auto", "off"]
Masks = NDArray[np.float32]
Photo = NDArray[np.uint8]

THRESHOLDS = (0.2, 0.35, 0.5, 0.6)
"""The starts of a model that says nothing of its own ones."""

_VOTING = 64  # short side, in pixels, at which the starts vote
_LARGEST = 1024  # short side, in pixels, to which masks are refined at most
_ROUNDS = 4  # of colours from masks and masks from colours
_COLOUR, _NEAR = 1.0, 6.0  # weights of a pixel's colour and of its surroundings
_RADIUS, _EPS = 3, 1e-3  # of the surroundings at the size of the vote, by the guided filter
_COMMON = 0.1  # intersection over union with the object that the network sees, at least
_NOWHERE = 0.05  # where the objects' soft masks are below this together, the network sees none
_FAR = 0.1  # of the short side: what is farther than this from all that it sees is background


@dataclass(frozen=True)
class Refined:
    """`masks` (n, H, W) float32 that sum to one over n, at the photo's size; `doubt` from 0, sure, to 1.
    `votes` (n, h, w): what share of the starts gave a pixel to each region, at the size of the vote; None
    where there was no vote."""

    masks: Masks
    doubt: float
    votes: Masks | None = None


@dataclass(frozen=True)
class Refining:
    """How masks are refined: the `thresholds` of the soft mask at which the starts cut off the object, each
    above 0 and below 1, and the short side `size` of the result in pixels, 64 to 1024; ConfigError else."""

    thresholds: tuple[float, ...] = THRESHOLDS
    size: int = 256

    def __post_init__(self) -> None:
        if not self.thresholds or not all(0 < threshold < 1 for threshold in self.thresholds):
            raise ConfigError(f"thresholds are {self.thresholds}: give some, each above 0 and below 1")
        if not _VOTING <= self.size <= _LARGEST:
            raise ConfigError(f"--refine-size is {self.size}: use {_VOTING} to {_LARGEST}")

    def fit(self, width: int, height: int) -> tuple[int, int]:
        """The (width, height) at which a photo of this size is refined: no larger than it is."""
        return _fitted((width, height), self.size)

    def __call__(self, photo: Photo, masks: Masks) -> Refined:
        """Refine masks (n, h, w) float32 of a photo (H, W, 3), which has the size that `fit` gave.

        The network's masks stay, enlarged, for a photo of one colour, where no start finds both object and
        background, and where the votes have next to nothing in common with the network's object: they
        are of another one, or of none, and the doubt is 1.
        """
        own = resize_masks(masks, photo.shape[1::-1])
        if (photo == photo[0, 0]).all():
            return Refined(own, 1.0)
        voted, seen = self._vote(photo, masks)
        if voted is None:
            return Refined(own, doubt(own))
        if overlap(objects(voted), seen) < _COMMON:
            return Refined(own, 1.0, voted)
        scene = _Scene(photo, _fitting_radius(photo.shape[:2]))
        settled = scene.settle(resize_masks(voted, photo.shape[1::-1]), _far_away(own), rounds=1)
        return Refined(settled, doubt(voted), voted)

    def agree(self, refined: Masks, masks: Masks) -> float:
        """The intersection over union, from 0 to 1, of the objects in refined masks (n, H, W) and in the
        network's (n, h, w), cut off at the middle start."""
        own = _cut(resize_masks(masks, refined.shape[:0:-1]), self.thresholds[len(self.thresholds) // 2])
        return overlap(objects(refined), objects(own))

    def _vote(self, photo: Photo, masks: Masks) -> tuple[Masks | None, NDArray[np.bool_]]:
        """The mean of what each start comes to and of the network's own masks, at the size of the vote, or
        None without any start; and where the network sees an object."""
        size = _fitted(photo.shape[1::-1], _VOTING)
        small: Photo = np.asarray(cv2.resize(photo, size, interpolation=cv2.INTER_AREA), np.uint8)
        soft = resize_masks(masks, size)
        starts = [start for threshold in self.thresholds if _is_mixed(start := _cut(soft, threshold))]
        if not starts:
            return None, objects(soft)
        scene, far = _Scene(small, _fitting_radius(small.shape[:2])), _far_away(soft)
        ends = [scene.settle(start, far, _ROUNDS) for start in starts]
        own = starts[len(starts) // 2]
        return np.asarray(np.mean([*ends, own], 0)), objects(own)


def open_refining(refine: Refine | Refining, size: int = Refining.size) -> Refining | None:
    """What refines, or None for "off". ConfigError for another name or size."""
    if isinstance(refine, Refining):
        return refine
    if refine not in get_args(Refine):
        raise ConfigError(f"--refine is {refine}: choose from {', '.join(get_args(Refine))}")
    return None if refine == "off" else Refining(size=size)


class _Scene:
    """A photo (H, W, 3) and what it says of masks."""

    def __init__(self, photo: Photo, radius: int) -> None:
        self._colours = ColourModel(photo)
        self._near = GuidedFilter(photo, radius, _EPS)

    def settle(self, masks: Masks, far: NDArray[np.bool_], rounds: int) -> Masks:
        """Masks (n, H, W) that agree with the photo, reached from these; `far` (H, W) is background."""
        for _ in range(rounds):
            colour = np.float32(_COLOUR) * self._colours.log_likelihoods(masks)
            for _ in range(2):
                near = np.stack([self._near(mask).clip(0, 1) for mask in masks[1:]])
                near = np.concatenate((1 - near.sum(0, keepdims=True), near))
                masks = _softmax(np.asarray(colour + np.float32(_NEAR) * near, np.float32))
                masks[1:, far] = 0
                masks[0, far] = 1
        return masks


def doubt(masks: Masks) -> float:
    """How much of an object's mask is disputed, from 0, nothing, to 1: twice the sum of what the pixels'
    largest masks lack to 1, over the object's area, and at most 1. It is 1, too, where no pixel is the
    object's, or every one. masks (n, H, W), background first, that sum to one over n."""
    largest = masks.max(0)
    area = int(np.count_nonzero(objects(masks)))
    if area in (0, largest.size):
        return 1.0
    return min(1.0, 2 * float((1 - largest).sum()) / area)


def objects(masks: Masks) -> NDArray[np.bool_]:
    """(H, W): where another region is larger than the background."""
    return np.asarray(masks[0] < masks.max(0))


def overlap(ones: NDArray[np.bool_], others: NDArray[np.bool_]) -> float:
    """Intersection over union; 1 if both are empty."""
    either = int(np.count_nonzero(ones | others))
    return int(np.count_nonzero(ones & others)) / either if either else 1.0


def _cut(soft: Masks, threshold: float) -> Masks:
    """The regions (n, H, W) of 0 and 1 in which the object is where its soft mask is above the threshold;
    for n > 2, a region beats the background where it is above threshold / (1 - threshold) times that."""
    weighted = soft.copy()
    weighted[0] *= threshold / (1 - threshold)
    return np.asarray(weighted.argmax(0) == np.arange(len(soft))[:, None, None], np.float32)


def _is_mixed(regions: Masks) -> bool:
    """Whether there is both object and background."""
    return bool(0 < regions[0].mean() < 1)


def _far_away(soft: Masks) -> NDArray[np.bool_]:
    """(H, W): the pixels that are far from any where the network sees an object."""
    nowhere = (soft[0] >= 1 - _NOWHERE).astype(np.uint8)
    if nowhere.all():
        return np.zeros(nowhere.shape, bool)
    return np.asarray(cv2.distanceTransform(nowhere, cv2.DIST_L2, 3) > _FAR * min(nowhere.shape))


def _softmax(logits: Masks) -> Masks:
    odds = np.exp(logits - logits.max(0))
    return np.asarray(odds / odds.sum(0))


def _fitted(size: tuple[int, ...], short: int) -> tuple[int, int]:
    """A (width, height) whose short side is `short`, or less if `size` is smaller."""
    scale = min(1.0, short / min(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _fitting_radius(shape: tuple[int, ...]) -> int:
    return max(1, round(_RADIUS * math.sqrt(min(shape) / _VOTING)))


def resize_masks(masks: Masks, size: tuple[int, ...]) -> Masks:
    """masks (n, h, w) -> (n, H, W) for a `size` of (width, height); they still sum to one over n."""
    if masks.shape[:0:-1] == tuple(size):
        return masks
    return np.stack([cv2.resize(mask, size, interpolation=cv2.INTER_LINEAR) for mask in masks])
