"""Pictures between arrays at rest and tensors at work, the device they work on, and how precisely."""

from contextlib import AbstractContextManager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from redoseg.errors import ConfigError, first_line


def to_tensor(images: NDArray[np.uint8], device: torch.device | str = "cpu") -> Tensor:
    """(B, H, W, 3) uint8 -> (B, 3, H, W) float32 in [-1, 1]."""
    return scaled(torch.from_numpy(images).to(device))


def scaled(images: Tensor) -> Tensor:
    """(B, H, W, 3) uint8 -> (B, 3, H, W) float32 in [-1, 1], on the same device."""
    return images.permute(0, 3, 1, 2).contiguous().float().div_(127.5).sub_(1)


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the CPU on the device, without the host waiting for it."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def settle(device: torch.device) -> None:
    """Wait for what the device still has to do: for times that are true."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def to_array(images: Tensor) -> NDArray[np.uint8]:
    """(B, 3, H, W) in [-1, 1] -> (B, H, W, 3) uint8."""
    scaled = images.detach().float().add(1).mul(127.5).round().clamp(0, 255).byte()
    array: NDArray[np.uint8] = scaled.permute(0, 2, 3, 1).cpu().numpy()
    return array


def pick_device(name: str) -> torch.device:
    """'auto' is the first CUDA device, else Apple's, else the CPU. ConfigError for one that isn't there."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ConfigError(f"--device {name} can't be used ({first_line(error)}): try auto or cpu") from error
    return device


def working_precision(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """Within, networks work with what --precision says."""
    lower = precision == "bfloat16"
    return torch.autocast(device.type, torch.bfloat16, enabled=lower, cache_enabled=False)
