"""A mask network as a function of arrays, with PyTorch."""

import copy
import os
import threading
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from redoseg.networks.mask import MaskNetwork

Arrays = NDArray[np.float32]

_AT_ONCE = 1 << 16  # pixels: 4 images at 128 x 128 stay in the CPU's cache


class TorchBackend:
    """images (B, 3, h, w) to masks (B, n, h, w) in the regions' order: f as it was when this was made, on its
    device. It may be called from several threads at once, pickled, and used in a forked process."""

    def __init__(self, f: MaskNetwork, *, half: bool = False) -> None:
        """`half`: bfloat16 within; of a trained network's pixels one in a thousand changes its region."""
        self._half = half
        self._device = device = f.order.device
        self._format = torch.channels_last if device.type in ("cpu", "cuda") else torch.preserve_format
        self._f = copy.deepcopy(f).eval()
        self._f.to(memory_format=self._format)  # type: ignore[call-overload]
        self._begin()

    def _begin(self) -> None:
        self._working = threading.Lock()  # one call has all cores: two would get in each other's way
        self._process = os.getpid()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_working"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._begin()

    def __call__(self, images: Arrays) -> Arrays:
        if os.getpid() != self._process:  # a forked process has its parent's locks, but not its threads
            torch.set_num_threads(1)
            self._begin()
        whole, batch = torch.from_numpy(images), len(images)
        if self._device.type == "cpu":
            batch = max(1, _AT_ONCE // (images.shape[2] * images.shape[3]))
        parts = [self._masks(whole[start : start + batch]) for start in range(0, len(images), batch)]
        masks: Arrays = torch.cat(parts).contiguous().numpy()
        return masks

    def _masks(self, images: Tensor) -> Tensor:
        half = torch.autocast(self._device.type, torch.bfloat16, enabled=self._half)
        with self._working, torch.inference_mode(), half:
            masks: Tensor = self._f.ordered_masks(images.to(self._device, memory_format=self._format))
        return masks.float().cpu()
