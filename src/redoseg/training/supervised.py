"""SUPERVISED: f trained on labelled images alone, to compare ReDO with (the paper's Figure 4)."""

import copy
import dataclasses
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from redoseg.config import TrainConfig
from redoseg.data.labels import UNLABELLED, region_map
from redoseg.data.sampler import InfiniteSampler, derive_seed
from redoseg.errors import DataError
from redoseg.evaluation.metrics import Scores, as_labelled, confusion
from redoseg.method.augmentation import SHIFT_NUMBERS, shift_pixels
from redoseg.method.losses import targets
from redoseg.networks.mask import MaskNetwork
from redoseg.tensors import pick_device, to_tensor
from redoseg.training.mask_learner import MaskLearner

LR, BATCH = 2e-3, 16
_SHIFT = 1 / 16  # of the side, at most: images and masks are shifted by whole pixels
_HALF_LIFE = 10_000.0  # images, of the moving average of f's weights; less at first, as in ReDO
_SCORED_AT_ONCE = 64

Pair = tuple[NDArray[np.uint8], NDArray[np.uint8]]
"""Images (N, S, S, 3) and their labels (N, S, S): 0 to n - 1, 255 unlabelled; uint8."""


@dataclass(frozen=True)
class FitResult:
    """`f` in eval mode after `step` updates, when its IoU on the held-out images was best. `scores` are those
    on them (channel k is label k); `curve` holds each check's step, mean loss since the last one, and IoU."""

    f: MaskNetwork
    step: int
    scores: Scores
    curve: tuple[tuple[int, float, float], ...]


def fit(
    config: TrainConfig,
    train: Pair,
    held_out: Pair,
    *,
    seed: int,
    steps: int = 600,
    check_every: int = 50,
    patience: int = 6,
) -> FitResult:
    """Train the f of `config` on `train` by cross-entropy, stopped early by the IoU on `held_out`.

    There are at most `steps` updates of `BATCH` images (all, if `train` has fewer), mirrored with --flip and
    shifted a little. After every `check_every` updates the moving average of f is scored, and `patience`
    checks without a better IoU end the training. Of `config` only the options of f, --flip, --size, --device
    and --precision have an effect. The same seed gives the same weights. Raises DataError for arrays of other
    shapes or without a label, DivergenceError if a loss isn't finite.
    """
    _check(config, train, "to train on")
    _check(config, held_out, "held out")
    updates = _Updates(config, train, seed)
    best: FitResult | None = None
    curve: list[tuple[int, float, float]] = []
    since = 0  # checks without a better one
    while updates.step < steps and since < patience:
        loss = updates.train_until(min(updates.step + check_every, steps))
        scores, since = _scores(updates.student, held_out), since + 1
        curve.append((updates.step, loss, scores.iou))
        if best is None or scores.iou > best.scores.iou:
            best, since = FitResult(copy.deepcopy(updates.student.f).eval(), updates.step, scores, ()), 0
    assert best is not None
    return dataclasses.replace(best, curve=tuple(curve))


class _Updates:
    """Updates of one f on labelled images, with random numbers that depend on the seed alone."""

    def __init__(self, config: TrainConfig, train: Pair, seed: int) -> None:
        images, labels = train
        device, self.batch = pick_device(config.device), min(BATCH, len(images))
        own = dataclasses.replace(
            config, compile="off", lr_f=LR, ema_half_life=_HALF_LIFE, batch=max(self.batch, 2)
        )
        self.student, self.step, self.flip = MaskLearner(own, derive_seed(seed), device), 0, config.flip
        self.images = to_tensor(images, device)
        self.targets, self.counted = targets(torch.from_numpy(labels).to(device), config.n)
        self.stream = InfiniteSampler(len(images), self.batch, seed)
        self.random = torch.Generator().manual_seed(derive_seed(seed, 1))

    def train_until(self, step: int) -> float:
        """Train to that step, and return the mean loss. DivergenceError if a loss wasn't finite."""
        losses = []
        for t in range(self.step, step):
            rows = torch.from_numpy(self.stream.batch_at(t)).to(self.images.device)
            seen = self._augment(torch.cat((self.images[rows], self.targets[rows], self.counted[rows]), 1))
            losses.append(self.student.update(seen[:, :3], seen[:, 3:-1], seen[:, -1:], t)["cross_entropy"])
        self.step = step
        self.student.check_finite(step)
        return torch.stack(losses).mean().item()

    def _augment(self, pictures: Tensor) -> Tensor:
        """Mirror (B, C, S, S) at random with --flip, and shift it. The zeros that fill the border are grey in
        images, and not counted in masks."""
        mirrored = torch.rand(len(pictures), generator=self.random) < 0.5
        share = _SHIFT * (2 * torch.rand(len(pictures), SHIFT_NUMBERS, generator=self.random) - 1)
        if self.flip:
            where = mirrored.to(pictures.device)[:, None, None, None]
            pictures = torch.where(where, pictures.flip(3), pictures)
        return shift_pixels(pictures, share.to(pictures.device))


def _check(config: TrainConfig, pair: Pair, what: str) -> None:
    images, labels = pair
    side = (config.size, config.size)
    if not len(images) or images.shape != (len(images), *side, 3) or labels.shape != (len(images), *side):
        raise DataError(
            f"images {what} {images.shape} with labels {labels.shape}: give at least one, (N, S, S, 3) and "
            f"(N, S, S) with S = {config.size} (--size)"
        )
    known = labels != UNLABELLED
    if not known.any():
        raise DataError(f"the images {what} have no labelled pixel: choose others")
    if labels[known].max() >= config.n:
        raise DataError(
            f"the images {what} have labels up to {labels[known].max()}, but --n {config.n} means 0 to "
            f"{config.n - 1}"
        )


@torch.no_grad()
def _scores(student: MaskLearner, held_out: Pair) -> Scores:
    images, labels = held_out
    regions = []
    for start in range(0, len(images), _SCORED_AT_ONCE):
        part = to_tensor(images[start : start + _SCORED_AT_ONCE], student.device)
        regions.append(region_map(student.f(part).cpu().numpy()))
    return as_labelled(confusion(np.concatenate(regions), labels, student.f.n))
