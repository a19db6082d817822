"""The few labelled images of a semi-supervised run (--labelled): which they are, and each step's share.

Here masks ARE read in training. Without --labelled nothing of this file is used, and training reads none.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from redoseg.config import TrainConfig
from redoseg.data.dataset import Dataset, Split, open_data
from redoseg.data.held_out import image_digest, index_chunks
from redoseg.data.labels import UNLABELLED
from redoseg.data.sampler import seed_of
from redoseg.errors import DataError
from redoseg.method.augmentation import VIEW_NUMBERS, view
from redoseg.method.drawing import faded
from redoseg.method.losses import Lesson, targets
from redoseg.tensors import scale_images, to_device

SHOWN = 8
"""Labelled images of a step, at most."""

_DOMAIN = 0x1ABE1  # keeps what is drawn here apart from what the game draws from the same seed

Images = NDArray[np.uint8]


@dataclass(frozen=True)
class Labelled:
    """K images (K, S, S, 3) uint8, each with a labelled pixel, and their labels (K, S, S) uint8: 0 to n - 1,
    255 unlabelled. `source`: where they come from, in words."""

    source: str
    names: tuple[str, ...]
    images: Images
    labels: Images

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def supervision(self) -> dict[str, Any]:
        """For run.json and the card. `images` has a digest of each image at the run's size; `fingerprint`
        changes with any pixel of an image or a mask, and with their order."""
        images = [image_digest(image) for image in self.images]
        masks = [image_digest(label) for label in self.labels]
        return {
            "kind": "semi-supervised",
            "labelled": len(self),
            "source": self.source,
            "names": list(self.names),
            "images": images,
            "fingerprint": hashlib.sha256(repr([images, masks]).encode()).hexdigest()[:32],
        }

    def lesson(self, config: TrainConfig, attempt: int, step: int, device: torch.device) -> Lesson:
        """What is shown at a step: a function of the seed, the attempt and the step alone.

        Mirrored with --flip, and in the light of --f-jitter, as the game's own images are.
        """
        random = torch.Generator().manual_seed(seed_of(_DOMAIN, config.seed, attempt, step))
        rows = torch.randperm(len(self), generator=random)[:SHOWN].numpy()
        images = scale_images(to_device(torch.from_numpy(self.images[rows]), device))
        labels = to_device(torch.from_numpy(self.labels[rows]), device)
        if config.flip:
            mirrored = to_device(torch.rand(len(rows), generator=random) < 0.5, device)
            images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
            labels = torch.where(mirrored[:, None, None], labels.flip(2), labels)
        if config.f_jitter:
            numbers = to_device(torch.rand(len(rows), VIEW_NUMBERS, generator=random), device)
            strength = config.f_jitter * faded(step, config.f_jitter_fade)
            images = view(images, numbers, numbers.new_full((len(rows),), strength), config.f_jitter_hue)
        return Lesson(images, *targets(labels, config.n))


def open_labelled(config: TrainConfig, dataset: Dataset) -> Labelled | None:
    """What --labelled names; None without it. DataError, one line, for what can't be learned from.

    A number K takes the first K of an order of the labelled images of `dataset`'s split 'train' that --seed
    gives: a larger K has the images of a smaller one, and more.
    """
    if config.labelled is None:
        return None
    if config.labelled.isdecimal():
        return _drawn(int(config.labelled), dataset, config.seed)
    return _named(config, config.labelled)


def _drawn(K: int, dataset: Dataset, seed: int) -> Labelled:
    split = dataset.split("train")
    order = np.random.Generator(np.random.Philox(np.random.SeedSequence([_DOMAIN, seed])))
    rows = order.permutation(split.labelled)
    chosen: list[int] = []
    for part in index_chunks(rows):
        chosen += part[_any_labelled(split.labels(part))].tolist()
        if len(chosen) >= K:
            break
    if len(chosen) < K:
        raise DataError(
            f"--labelled {K}: the split `train` of {dataset.name} has {len(chosen)} images with masks: ask "
            "for fewer, or name a folder of images with masks"
        )
    return _taken(f"{dataset.name}, drawn from its split train", [("", split, np.sort(chosen[:K]))])


def _named(config: TrainConfig, source: str) -> Labelled:
    opened = open_data(config, [source])
    parts = []
    for name, split in opened.splits.items():
        rows = [part[_any_labelled(split.labels(part))] for part in index_chunks(split.labelled)]
        parts.append((f"{name}/" if len(opened.splits) > 1 else "", split, np.concatenate(rows)))
    if not any(len(rows) for _, _, rows in parts):
        raise DataError(
            f"--labelled {source}: none of its images has a mask: put masks/ beside images/ (docs/data.md)"
        )
    return _taken(opened.name, parts)


def _taken(source: str, parts: Sequence[tuple[str, Split, NDArray[np.int64]]]) -> Labelled:
    """Rows of splits; a name begins with what stands before its split."""
    names = [f"{prefix}{split.names[row]}" for prefix, split, rows in parts for row in rows]
    images = np.concatenate([split.images(rows) for _, split, rows in parts])
    labels = np.concatenate([split.labels(rows) for _, split, rows in parts])
    return Labelled(source, tuple(names), images, labels)


def _any_labelled(labels: Images) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = (labels != UNLABELLED).any((1, 2))
    return found


def check_same(begun: dict[str, Any] | None, now: dict[str, Any] | None, out: Path) -> None:
    """DataError if a run in `out` was begun with other labelled images: supervisions, None where there is
    none. Where they lie may change."""
    before, after = (None if found is None else found["fingerprint"] for found in (begun, now))
    if before != after:
        raise DataError(
            f"the labelled images of {out} aren't those that it was trained with: bring back the same "
            "--labelled, or train anew with another --out"
        )
