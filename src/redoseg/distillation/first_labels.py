"""First labels: masks of photos that no network has made, for a first student to learn from.

Each is weak and wrong in its own way. A student learns what is alike in many photos and forgets the rest; its
masks, refined, teach the next one.
"""

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from redoseg.baselines.iem import segment
from redoseg.baselines.pixels import features, outermost
from redoseg.baselines.saliency import SIDE, saliency
from redoseg.config import TrainConfig
from redoseg.config.distill import FIRST_LABELS, FIRST_PREFIX
from redoseg.distillation.teacher import Teacher
from redoseg.errors import ConfigError
from redoseg.models.backends.onnx import cores
from redoseg.tensors import to_array

Photo = NDArray[np.uint8]
Mask = NDArray[np.float32]

MARGINS = (0.07, 0.13, 0.2)  # of the boxes, as shares of the side
_BOXED = 128  # pixels a side, at least, at which GrabCut looks for an object in a box
_ITERATIONS = 3
_CLUSTERED, _COUNTS = 32, (2, 3, 4, 5, 6)  # pixels a side, and numbers of clusters
_BY_SIZE = 0.25  # how much a cluster's size counts beside its place
_SPLIT = 64  # pixels a side at which the inpainting error is raised
_PLAIN = 1.0  # standard deviation of a photo of one colour, at most, of 255
_VERSIONS = {"clusters": 2, "iem": 2}
"""Part of a teacher's identity, 1: raise it when the same photo gets other masks."""


def disc(photo: Photo) -> Mask:
    """(S, S): a cone, highest in the middle of the photo and 0 in its corners, whatever it shows. Refined, it
    is the colours that decide: those of the middle against those of the border."""
    side = len(photo)
    place = (np.arange(side, dtype=np.float32) + 0.5) * np.float32(2 / side) - 1
    return np.clip(np.float32(1.15) - np.hypot(place[:, None], place), 0, 1)


def boxes(photo: Photo) -> Mask:
    """(S, S) in [0, 1]: the mean of what GrabCut (Rother, Kolmogorov and Blake 2004) finds in three centred
    boxes."""
    side = max(_BOXED, len(photo))
    large = np.asarray(cv2.resize(photo, (side, side), interpolation=cv2.INTER_CUBIC), np.uint8)
    found = np.mean([_in_box(large, round(margin * side)) for margin in MARGINS], 0).astype(np.float32)
    return np.asarray(cv2.resize(found, photo.shape[1::-1], interpolation=cv2.INTER_AREA), np.float32)


def _in_box(photo: Photo, margin: int) -> NDArray[np.uint8]:
    """(S, S), 1 on the object; all 0 if GrabCut can't split the photo."""
    side = len(photo)
    mask = np.zeros((side, side), np.uint8)
    inner = (margin, margin, side - 2 * margin, side - 2 * margin)
    cv2.setRNGSeed(0)  # its mixtures of Gaussians start from k-means
    try:
        cv2.grabCut(
            photo, mask, inner, np.zeros((1, 65)), np.zeros((1, 65)), _ITERATIONS, cv2.GC_INIT_WITH_RECT
        )
    except cv2.error:  # of too few colours
        return np.zeros((side, side), np.uint8)
    return np.isin(mask, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)


def clusters(photo: Photo) -> Mask:
    """(S, S) in [0, 1]: votes of k-means on colour and place, into two to six clusters. A cluster votes for
    the object where it is rarer at the photo's border than in the photo. The object needn't be in the middle,
    and may be in pieces, or in many places: where a cluster is about as common at the border as elsewhere,
    a small one counts as the object and a large one as the background."""
    return _found_small(photo, _CLUSTERED, _vote)


def _vote(small: Photo) -> Mask:
    """(_CLUSTERED, _CLUSTERED): the mean of what each number of clusters votes for."""
    pixels = features(small)  # (_CLUSTERED ** 2, 5)
    return np.mean([_rare_at_the_border(pixels, count) for count in _COUNTS], 0).astype(np.float32)


def _rare_at_the_border(pixels: NDArray[np.float32], count: int) -> NDArray[np.bool_]:
    """(_CLUSTERED, _CLUSTERED), true in clusters whose share of the outermost pixels is below the expected
    one: their share of all, a quarter of the way to that of equally large clusters."""
    cv2.setRNGSeed(0)  # k-means++ draws its first centres
    ends = (cv2.TERM_CRITERIA_COUNT + cv2.TERM_CRITERIA_EPS, 30, 1e-3)
    _, found, _ = cv2.kmeans(pixels, count, None, ends, 2, cv2.KMEANS_PP_CENTERS)  # type: ignore[call-overload]
    found = np.asarray(found).reshape(_CLUSTERED, _CLUSTERED)
    parts = (outermost(found), found)
    border, whole = (np.bincount(part.ravel(), minlength=count) / part.size for part in parts)
    rare: NDArray[np.bool_] = (border < (1 - _BY_SIZE) * whole + _BY_SIZE / count)[found]
    return rare


def salient(photo: Photo) -> Mask:
    """(S, S) in [0, 1]: what differs from all that hangs together with the photo's border
    (`baselines.saliency`). The object needn't be in the middle, and a side of it may be cut off."""
    return _found_small(photo, SIDE, saliency)


def iem(photo: Photo) -> Mask:
    """(S, S) in [0, 1]: the split whose sides say the least about each other (`baselines.iem`)."""
    return _found_small(photo, _SPLIT, lambda small: segment(small, 0).astype(np.float32))


def _found_small(photo: Photo, side: int, find: Callable[[Photo], Mask]) -> Mask:
    """(S, S): what is found in the photo brought to `side` pixels; 0 in a photo of one colour."""
    small = np.asarray(cv2.resize(photo, (side, side), interpolation=cv2.INTER_AREA), np.uint8)
    if small.std() < _PLAIN:
        return np.zeros(photo.shape[:2], np.float32)
    return np.asarray(cv2.resize(find(small), photo.shape[1::-1], interpolation=cv2.INTER_LINEAR), np.float32)


SOURCES: dict[str, Callable[[Photo], Mask]] = dict(
    zip(FIRST_LABELS, (disc, boxes, clusters, salient, iem), strict=True)
)
"""By name: `redoseg distill first:NAME` takes them, where a run's folder or a model would stand."""


def named_source(run: Path) -> str | None:
    """The name in `first:NAME`, None for anything else. ConfigError for a name that isn't in `SOURCES`."""
    if not str(run).startswith(FIRST_PREFIX):
        return None
    name = str(run).removeprefix(FIRST_PREFIX)
    if name not in SOURCES:
        known = ", ".join(f"{FIRST_PREFIX}{source}" for source in SOURCES)
        raise ConfigError(f"there are no first labels {run}: choose from {known}")
    return name


class FirstLabels(Teacher):
    """One of `SOURCES` as a teacher, of two regions."""

    def __init__(self, name: str, device: torch.device) -> None:
        digest = hashlib.sha256(f"{name} {_VERSIONS.get(name, 1)}".encode()).hexdigest()
        self.identity = {
            "run": f"{FIRST_PREFIX}{name}",
            "rule": "first labels",
            "step": 0,
            "ema": None,
            "weights": digest,
        }
        self.device, self._find = device, SOURCES[name]
        self.config = TrainConfig.of(data=name, out=Path(name), size=32)

    def masks(self, images: Tensor) -> Tensor:
        """Masks (B, 2, S, S) of images (B, 3, S, S) in [-1, 1]."""
        with ThreadPoolExecutor(cores()) as pool:  # OpenCV works without Python's lock
            objects = torch.from_numpy(np.stack(list(pool.map(self._find, to_array(images)))))
        return torch.stack((1 - objects, objects), 1).to(images.device)
