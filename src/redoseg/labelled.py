"""The few labelled images of a semi-supervised run (--labelled): which they are, and each step's share.

Here masks ARE read in training. Without --labelled nothing of this file is used, and training reads none.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from redoseg.augmentation import VIEW_NUMBERS, view
from redoseg.config import TrainConfig
from redoseg.data.dataset import Dataset, Split
from redoseg.data.stream import seed_of
from redoseg.drawing import faded
from redoseg.errors import DataError
from redoseg.opening import open_data
from redoseg.tensors import scaled, sent

SHOWN = 8
"""Labelled images of a step, at most."""

_UNLABELLED = 255
_DOMAIN = 0x1ABE1  # keeps what is drawn here apart from what the game draws from the same seed
_AT_ONCE = 256  # images or masks read at once

Images = NDArray[np.uint8]


class Lesson(NamedTuple):
    """The labelled images of one step, L of them: images (L, 3, S, S) as f sees them, targets (L, n, S, S),
    1 in the channel of a pixel's label, and counted (L, 1, S, S), 0 where a pixel has none."""

    images: Tensor
    targets: Tensor
    counted: Tensor


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
        images = [_digest(image) for image in self.images]
        masks = [_digest(label) for label in self.labels]
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
        images = scaled(sent(torch.from_numpy(self.images[rows]), device))
        labels = sent(torch.from_numpy(self.labels[rows]), device)
        if config.flip:
            mirrored = sent(torch.rand(len(rows), generator=random) < 0.5, device)
            images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
            labels = torch.where(mirrored[:, None, None], labels.flip(2), labels)
        if config.f_jitter:
            numbers = sent(torch.rand(len(rows), VIEW_NUMBERS, generator=random), device)
            strength = config.f_jitter * faded(step, config.f_jitter_fade)
            images = view(images, numbers, numbers.new_full((len(rows),), strength), config.f_jitter_hue)
        return Lesson(images, *targets(labels, config.n))


def targets(labels: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Labels (B, S, S) uint8 -> (B, n, S, S) float32, label k in channel k, and (B, 1, S, S), 1 where a
    pixel is labelled."""
    one_hot = F.one_hot(labels.long().clamp(max=n - 1), n).permute(0, 3, 1, 2)
    return one_hot.float(), (labels != _UNLABELLED)[:, None].float()


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
    for part in _parts(rows):
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
        rows = [part[_any_labelled(split.labels(part))] for part in _parts(split.labelled)]
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


def _parts(rows: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """At least one, which may be empty."""
    for start in range(0, max(len(rows), 1), _AT_ONCE):
        yield rows[start : start + _AT_ONCE]


def _any_labelled(labels: Images) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = (labels != _UNLABELLED).any((1, 2))
    return found


def _digest(array: Images) -> str:
    return hashlib.blake2b(np.ascontiguousarray(array).tobytes(), digest_size=8).hexdigest()


def check_same(begun: dict[str, Any] | None, now: dict[str, Any] | None, out: Path) -> None:
    """DataError if a run in `out` was begun with other labelled images: supervisions, None where there is
    none. Where they lie may change."""
    before, after = (None if found is None else found["fingerprint"] for found in (begun, now))
    if before != after:
        raise DataError(
            f"the labelled images of {out} aren't those that it was trained with: bring back the same "
            "--labelled, or train anew with another --out"
        )


class Unseen:
    """A split whose images that were trained on with their masks count as unlabelled: they'd flatter."""

    def __init__(self, split: Split, supervision: dict[str, Any]) -> None:
        """An image was trained on if it is one of `supervision`'s, pixel for pixel at this size."""
        seen = set(supervision["images"])
        rows = [
            [row for row, image in zip(part, split.images(part), strict=True) if _digest(image) not in seen]
            for part in _parts(split.labelled)
        ]
        self.names, self._split = split.names, split
        self.labelled = np.array([row for part in rows for row in part], np.int64)

    def __len__(self) -> int:
        return len(self._split)

    def images(self, indices: NDArray[np.int64]) -> Images:
        """(B, S, S, 3) uint8."""
        return self._split.images(indices)

    def labels(self, indices: NDArray[np.int64]) -> Images:
        """(B, S, S) uint8, as the split has them."""
        return self._split.labels(indices)


def unseen(scored: tuple[str, Split] | None, supervision: dict[str, Any] | None) -> tuple[str, Split] | None:
    """Name and images of a split without those of `supervision`; None if that leaves nothing to score."""
    if scored is None or supervision is None:
        return scored
    left = Unseen(scored[1], supervision)
    return (scored[0], left) if len(left.labelled) else None
