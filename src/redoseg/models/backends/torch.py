"""A mask network as a function of arrays, with PyTorch."""

import copy
import threading
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from redoseg.networks.mask import MaskNetwork

Arrays = NDArray[np.float32]

_AT_ONCE = 1 << 16  # pixels: 4 images at 128 x 128 stay in the CPU's cache


def torch_backend(f: MaskNetwork, *, half: bool = False) -> Callable[[Arrays], Arrays]:
    """images (B, 3, h, w) to masks (B, n, h, w) in the regions' order: f as it is now, on its device.
    `half`: bfloat16 within; of a trained network's pixels one in a thousand changes its region."""
    device = f.order.device
    memory_format = torch.channels_last if device.type in ("cpu", "cuda") else torch.preserve_format
    working = threading.Lock()  # one call has all cores: two would get in each other's way
    f = copy.deepcopy(f).eval()
    f.to(memory_format=memory_format)  # type: ignore[call-overload]

    def masks_of(images: Tensor) -> Tensor:
        with working, torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=half):
            masks: Tensor = f.ordered_masks(images.to(device, memory_format=memory_format))
        return masks.float().cpu()

    def backend(images: Arrays) -> Arrays:
        whole, batch = torch.from_numpy(images), len(images)
        if device.type == "cpu":
            batch = max(1, _AT_ONCE // (images.shape[2] * images.shape[3]))
        parts = [masks_of(whole[start : start + batch]) for start in range(0, len(images), batch)]
        masks: Arrays = torch.cat(parts).contiguous().numpy()
        return masks

    return backend
