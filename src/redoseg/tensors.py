"""Images as uint8 arrays and as float tensors, the device that networks run on, and their precision."""

from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from redoseg.cores import usable_cores
from redoseg.errors import ConfigError, first_line


def to_tensor(images: NDArray[np.uint8], device: torch.device | str = "cpu") -> Tensor:
    """(B, H, W, 3) uint8 -> (B, 3, H, W) float32 in [-1, 1]."""
    return scale_images(torch.from_numpy(images).to(device))


def scale_images(images: Tensor) -> Tensor:
    """(B, H, W, 3) uint8 -> (B, 3, H, W) float32 in [-1, 1], on the same device."""
    return images.permute(0, 3, 1, 2).contiguous().float().div_(127.5).sub_(1)


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """A copy on the device of a tensor on the CPU; on a GPU the host doesn't wait until it is done."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def synchronize(device: torch.device) -> None:
    """Wait until the device has done all its work, so that measured times include it."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def to_array(images: Tensor) -> NDArray[np.uint8]:
    """(B, 3, H, W) in [-1, 1] -> (B, H, W, 3) uint8."""
    scaled = images.detach().float().add(1).mul(127.5).round().clamp(0, 255).byte()
    array: NDArray[np.uint8] = scaled.permute(0, 2, 3, 1).cpu().numpy()
    return array


def pick_device(name: str) -> torch.device:
    """'auto' is the first CUDA device, else Apple's, else the CPU, where PyTorch gets no more threads than
    the process may use cores. ConfigError for one that can't be used."""
    if torch.get_num_threads() > usable_cores():  # threads that share a core wait for one another
        torch.set_num_threads(usable_cores())
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


def limit_threads(threads: int | None) -> None:
    """What --threads says, for all that PyTorch does on the CPU from now on; None changes nothing."""
    if threads is not None:
        torch.set_num_threads(threads)


def lacks_bfloat16(device: torch.device) -> bool:
    """Whether this is an x86 processor without instructions for bfloat16, on which computing in it takes
    several times as long as in float32. False for whatever isn't known to be one."""
    ask = getattr(torch.cpu, "get_capabilities", None)
    capabilities: dict[str, Any] = ask() if ask is not None else {}  # PyTorch 2.11 has no such function
    if device.type != "cpu" or capabilities.get("architecture") != "x86_64":
        return False
    return not (capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def working_precision(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """A context in which networks compute in `precision`, "float32" or "bfloat16", as --precision says."""
    lower = precision == "bfloat16"
    return torch.autocast(device.type, torch.bfloat16, enabled=lower, cache_enabled=False)
