"""Batches of images on the device: the whole set lies there if it fits, else it is read one step ahead."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from redoseg.data.dataset import Split
from redoseg.data.sampler import InfiniteSampler
from redoseg.tensors import scale_images, to_device

CHUNK = 1 << 28  # bytes copied to the device at once
AHEAD = 3  # batches read before they are needed: those of one step

Indices = NDArray[np.int64]
IndicesOf = Callable[[int], Indices]  # from a batch's number to the indices of its images


class Source(Protocol):
    """A way to read batches."""

    def take(self, k: int, indices_of: IndicesOf) -> Tensor:
        """Batch k: (B, S, S, 3) uint8 on the device."""


class Plain:
    """Each batch is read when it is needed: on a CPU a memory map is quick enough."""

    def __init__(self, split: Split, device: torch.device) -> None:
        self.split, self.device = split, device

    def take(self, k: int, indices_of: IndicesOf) -> Tensor:
        return torch.from_numpy(self.split.images(indices_of(k))).to(self.device)


class Resident:
    """All images lie on the device, where they take N * S * S * 3 bytes: no step waits for a batch."""

    def __init__(self, split: Split, device: torch.device) -> None:
        first = split.images(np.zeros(1, np.int64))
        self.images = torch.empty((len(split), *first.shape[1:]), dtype=torch.uint8, device=device)
        rows = max(CHUNK // first.nbytes, 1)
        for start in range(0, len(split), rows):
            part = np.arange(start, min(start + rows, len(split)))
            self.images[start : start + rows] = torch.from_numpy(split.images(part)).to(device)

    def take(self, k: int, indices_of: IndicesOf) -> Tensor:
        return self.images[to_device(torch.from_numpy(indices_of(k)), self.images.device)]


class Prefetched:
    """A thread reads batches into pinned memory, from which the device copies while it works."""

    def __init__(self, split: Split, device: torch.device) -> None:
        self.split, self.device = split, device
        self._thread = ThreadPoolExecutor(1)
        self._pending: dict[bytes, Future[Tensor]] = {}

    def take(self, k: int, indices_of: IndicesOf) -> Tensor:
        wanted = {indices.tobytes(): indices for indices in map(indices_of, range(k, k + 1 + AHEAD))}
        # The key is the batch's indices, for after a restart batch k has other images.
        self._pending = {
            key: self._pending.get(key) or self._thread.submit(self._read_pinned, indices)
            for key, indices in wanted.items()
        }
        first = next(iter(self._pending.values()))
        return first.result().to(self.device, non_blocking=True)

    def _read_pinned(self, indices: Indices) -> Tensor:
        images = torch.from_numpy(self.split.images(indices))
        return images.pin_memory() if self.device.type == "cuda" else images


def open_source(split: Split, device: torch.device) -> Source:
    """The fastest source for the device: `Resident` on CUDA if a quarter of the free memory is enough."""
    if device.type != "cuda":
        return Plain(split, device)
    needed = len(split) * split.images(np.zeros(1, np.int64)).nbytes
    free, _ = torch.cuda.mem_get_info(device)
    return Resident(split, device) if needed <= free // 4 else Prefetched(split, device)


class Batches:
    """Endless batches. Of each, this process gets every `world`-th image, starting with image `rank`."""

    def __init__(
        self, source: Source, stream: InfiniteSampler, *, flip: bool = False, rank: int = 0, world: int = 1
    ) -> None:
        self.source, self.stream, self.flip = source, stream, flip
        self._part = slice(rank, None, world)

    def at(self, k: int, random: torch.Generator) -> Tensor:
        """Batch k: (B / world, 3, S, S) in [-1, 1]. With `flip`, each image is mirrored at random."""
        images = scale_images(self.source.take(k, lambda j: self.stream.batch_at(j)[self._part].copy()))
        if self.flip:
            mirrored = torch.rand(self.stream.batch, 1, 1, 1, generator=random)[self._part] < 0.5
            images = torch.where(to_device(mirrored, images.device), images.flip(3), images)
        return images
