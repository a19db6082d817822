"""A step's images on their device: the whole set kept there if it fits, else fetched one step ahead."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from redoseg.data.dataset import Split
from redoseg.data.sampler import IndexStream
from redoseg.tensors import scale_images, to_device

CHUNK = 1 << 28  # bytes copied to the device at once
AHEAD = 3  # batches fetched before they are asked for: those of a step

Indices = NDArray[np.int64]
IndicesOf = Callable[[int], Indices]  # of a batch by its number


class Source(Protocol):
    """Where batches are gathered from."""

    def take(self, k: int, indices_of: IndicesOf) -> Tensor:
        """Batch k: (B, S, S, 3) uint8 on the device."""
        ...


class Plain:
    """Gathered by the host when it is asked for: on a CPU a memory map is quick enough."""

    def __init__(self, split: Split, device: torch.device) -> None:
        self.split, self.device = split, device

    def take(self, k: int, indices_of: IndicesOf) -> Tensor:
        return torch.from_numpy(self.split.images(indices_of(k))).to(self.device)


class Resident:
    """All images on the device: N * S * S * 3 bytes there. Nobody waits for a batch."""

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
    """Gathered by a thread into pinned memory, from which the device copies while it works."""

    def __init__(self, split: Split, device: torch.device) -> None:
        self.split, self.device = split, device
        self._thread = ThreadPoolExecutor(1)
        self._coming: dict[bytes, Future[Tensor]] = {}

    def take(self, k: int, indices_of: IndicesOf) -> Tensor:
        wanted = {indices.tobytes(): indices for indices in map(indices_of, range(k, k + 1 + AHEAD))}
        # by content: after a restart other images have the same number
        self._coming = {key: self._coming.get(key) or self._fetch(wanted[key]) for key in wanted}
        first = next(iter(self._coming.values()))
        return first.result().to(self.device, non_blocking=True)

    def _fetch(self, indices: Indices) -> Future[Tensor]:
        return self._thread.submit(self._pinned, indices)

    def _pinned(self, indices: Indices) -> Tensor:
        images = torch.from_numpy(self.split.images(indices))
        return images.pin_memory() if self.device.type == "cuda" else images


def source(split: Split, device: torch.device) -> Source:
    """The quickest for the device: resident on CUDA if the set takes at most a quarter of what is free."""
    if device.type != "cuda":
        return Plain(split, device)
    needed = len(split) * split.images(np.zeros(1, np.int64)).nbytes
    free, _ = torch.cuda.mem_get_info(device)
    return Resident(split, device) if needed <= free // 4 else Prefetched(split, device)


class Batches:
    """The endless row of batches; of each, every `world`-th image from image `rank` on."""

    def __init__(
        self, source: Source, stream: IndexStream, *, flip: bool = False, rank: int = 0, world: int = 1
    ) -> None:
        self.source, self.stream, self.flip = source, stream, flip
        self._part = slice(rank, None, world)

    def at(self, k: int, random: torch.Generator) -> Tensor:
        """Batch k: (B / world, 3, S, S) in [-1, 1]. With `flip` mirrored at random, as drawn for all B."""
        images = scale_images(self.source.take(k, self._indices))
        if self.flip:
            drawn = torch.rand(self.stream.batch, 1, 1, 1, generator=random)[self._part] < 0.5
            images = torch.where(to_device(drawn, images.device), images.flip(3), images)
        return images

    def _indices(self, k: int) -> Indices:
        return self.stream.batch_at(k)[self._part].copy()
