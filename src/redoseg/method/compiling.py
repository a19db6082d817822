"""--compile: whether the updates are compiled into one graph each, and the error if they can't be."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch._dynamo.exc import FailOnRecompileLimitHit, TorchDynamoException
from torch.utils._triton import has_triton

from redoseg.errors import ConfigError


def should_compile(mode: str, device: torch.device) -> bool:
    """Whether --compile `mode` compiles on a device: 'auto' does on CUDA if Triton is installed."""
    return mode == "on" or (mode == "auto" and device.type == "cuda" and has_triton())


@contextmanager
def compiling() -> Iterator[None]:
    """A context in which graphs may be compiled, at their first use. ConfigError if that fails."""
    try:
        yield
    except (TorchDynamoException, FailOnRecompileLimitHit) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(
            f"the steps can't be compiled here ({reason}): use --compile off, or install the compiler that "
            "this takes (a C++ compiler; for CUDA, Triton and a C compiler)"
        ) from error
