"""Updates compiled into one graph each, where that is wanted and can be done."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch._dynamo.exc import FailOnRecompileLimitHit, TorchDynamoException
from torch.utils._triton import has_triton

from redoseg.errors import ConfigError


def should_compile(mode: str, device: torch.device) -> bool:
    """What --compile means on a device: 'auto' is CUDA only, where Triton is installed."""
    return mode == "on" or (mode == "auto" and device.type == "cuda" and has_triton())


@contextmanager
def compiling() -> Iterator[None]:
    """Within, graphs are compiled when they are first needed: a ConfigError if that can't be done."""
    try:
        yield
    except (TorchDynamoException, FailOnRecompileLimitHit) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(
            f"the steps can't be compiled here ({reason}): use --compile off, or install the compiler that "
            "this takes (a C++ compiler; for CUDA, Triton and a C compiler)"
        ) from error
