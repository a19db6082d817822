"""The few labelled images of a semi-supervised run (--labelled), and the batch of them that a step gets.

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
from redoseg.data.sampler import derive_seed
from redoseg.errors import DataError
from redoseg.method.augmentation import VIEW_NUMBERS, view
from redoseg.method.drawing import decay
from redoseg.method.losses import LabelledBatch, targets
from redoseg.tensors import scale_images, to_device

SHOWN = 8  # labelled images in a step's batch, at most

_DOMAIN = 0x1ABE1  # keeps the random numbers here apart from those that ReDO gets from the same seed

Images = NDArray[np.uint8]


@dataclass(frozen=True)
class Labelled:
    """K images (K, S, S, 3) uint8, each with a labelled pixel, and their labels (K, S, S) uint8: 0 to n - 1,
    255 unlabelled. `source` says in words where they come from."""

    source: str
    names: tuple[str, ...]
    images: Images
    labels: Images

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def supervision(self) -> dict[str, Any]:
        """The entry for run.json and the card. `images` holds a digest of each image at the run's size;
        `fingerprint` changes with any pixel of an image or a mask, and with their order."""
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

    def batch(self, config: TrainConfig, attempt: int, step: int, device: torch.device) -> LabelledBatch:
        """The labelled batch of a step, which depends on the seed, the attempt and the step alone.
        With --flip and --f-jitter it is mirrored and relit, as the unlabelled images are."""
        random = torch.Generator().manual_seed(derive_seed(_DOMAIN, config.seed, attempt, step))
        rows = torch.randperm(len(self), generator=random)[:SHOWN].numpy()
        images = scale_images(to_device(torch.from_numpy(self.images[rows]), device))
        labels = to_device(torch.from_numpy(self.labels[rows]), device)
        if config.flip:
            mirrored = to_device(torch.rand(len(rows), generator=random) < 0.5, device)
            images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
            labels = torch.where(mirrored[:, None, None], labels.flip(2), labels)
        if config.f_jitter:
            numbers = to_device(torch.rand(len(rows), VIEW_NUMBERS, generator=random), device)
            strength = config.f_jitter * decay(step, config.f_jitter_fade)
            images = view(images, numbers, numbers.new_full((len(rows),), strength), config.f_jitter_hue)
        return LabelledBatch(images, *targets(labels, config.n))


def open_labelled(config: TrainConfig, dataset: Dataset) -> Labelled | None:
    """The labelled images that --labelled names; None without it. DataError if there are none or too few.
    A number K takes the first K labelled images of `dataset`'s split 'train' in an order that depends on
    --seed: a larger K takes the same images, and more."""
    if config.labelled is None:
        return None
    if config.labelled.isdecimal():
        return _sample_images(int(config.labelled), dataset, config.seed)
    return open_labelled_source(config, config.labelled)


def _sample_images(K: int, dataset: Dataset, seed: int) -> Labelled:
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
    return _gather(f"{dataset.name}, drawn from its split train", [("", split, np.sort(chosen[:K]))])


def open_labelled_source(config: TrainConfig, source: str, option: str = "--labelled") -> Labelled:
    """The images with masks in a folder or an archive, at the run's size. DataError, which names the option,
    if there are none."""
    opened = open_data(config, [source])
    parts = []
    for name, split in opened.splits.items():
        rows = [part[_any_labelled(split.labels(part))] for part in index_chunks(split.labelled)]
        parts.append((f"{name}/" if len(opened.splits) > 1 else "", split, np.concatenate(rows)))
    if not any(len(rows) for _, _, rows in parts):
        raise DataError(
            f"{option} {source}: none of its images has a mask: put masks/ beside images/ (docs/data.md)"
        )
    return _gather(opened.name, parts)


def _gather(source: str, parts: Sequence[tuple[str, Split, NDArray[np.int64]]]) -> Labelled:
    """The images of some rows of some splits. Each part is a prefix of its images' names, a split, rows."""
    names = [f"{prefix}{split.names[row]}" for prefix, split, rows in parts for row in rows]
    images = np.concatenate([split.images(rows) for _, split, rows in parts])
    labels = np.concatenate([split.labels(rows) for _, split, rows in parts])
    return Labelled(source, tuple(names), images, labels)


def _any_labelled(labels: Images) -> NDArray[np.bool_]:
    any_labelled: NDArray[np.bool_] = (labels != UNLABELLED).any((1, 2))
    return any_labelled


def check_same_labelled(original: dict[str, Any] | None, now: dict[str, Any] | None, out: Path) -> None:
    """Raise DataError if the run in `out` began with other labelled images than it has now.
    Both are `Labelled.supervision`, None without labelled images. Their place on the disk may change."""
    if (original and original["fingerprint"]) != (now and now["fingerprint"]):
        raise DataError(
            f"the labelled images of {out} aren't those that it was trained with (ticks count, too): bring "
            "back the same ones, or train anew with another --out"
        )
