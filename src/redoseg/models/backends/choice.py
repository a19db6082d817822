"""MODEL to a function of arrays: which backend, and torch only where it is that one."""

import ctypes.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from redoseg.errors import TRAIN, ConfigError, MissingExtraError, ModelError, missing_extra
from redoseg.models.backends.onnx import OnnxBackend
from redoseg.models.source import ModelSource, OnnxFile, find_model

BackendName = Literal["auto", "torch", "onnx"]
_LARGEST = 4096  # pixels of a side: no network here is trained at more


@dataclass(frozen=True)
class MaskBackend:
    """`backend` takes images (B, 3, h, w) in [-1, 1], gives masks (B, n, h, w), background first.
    `size` is the side that the network was trained at. `starts` are the thresholds of its masks from which
    they are refined (`label_free.calibration.find_starts`); None for a model that states none."""

    backend: Callable[[NDArray[np.float32]], NDArray[np.float32]]
    n: int
    size: int
    starts: tuple[float, ...] | None = None


def open_backend(
    model: str | Path,
    *,
    checkpoint: str = "last",
    weights: str | None = None,
    device: str = "auto",
    backend: BackendName = "auto",
) -> MaskBackend:
    """MODEL, `checkpoint` and `weights` as `source.find_model` takes them.
    "auto" is ONNX Runtime on the CPU, where it is the faster one, if there is an ONNX file of these weights,
    else PyTorch. ModelError for a model, ConfigError for a device or backend that can't be used,
    MissingExtraError where PyTorch is wanted and isn't installed."""
    if backend not in get_args(BackendName):
        raise ConfigError(f"--backend is {backend}: choose from {', '.join(get_args(BackendName))}")
    opened = _open(find_model(model, checkpoint=checkpoint, weights=weights), model, device, backend)
    if opened.n < 2 or opened.size % 4 or not 32 <= opened.size <= _LARGEST:
        raise ModelError(
            f"{model} is damaged: it states {opened.n} regions and images of {opened.size} pixels"
        )
    return opened


def _open(source: ModelSource, model: str | Path, device: str, backend: BackendName) -> MaskBackend:
    if backend == "onnx" or (backend == "auto" and (isinstance(source, OnnxFile) or _on_cpu(device))):
        onnx = _with_onnx(source, "cpu" if device == "auto" else device)
        if onnx is not None:
            return MaskBackend(onnx, onnx.n, onnx.size, source.starts() or onnx.starts)
        if backend == "onnx":
            raise ModelError(
                f"{model} has no mask.onnx of these weights: `redoseg export {model} --onnx FILE` makes one, "
                "and FILE is a MODEL, too"
            )
        if find_spec("torch") is None:
            raise MissingExtraError(
                f"{model} has no mask.onnx of these weights, and without it PyTorch is needed: {TRAIN}"
            )
    return _with_torch(model, source, device)


def _with_onnx(source: ModelSource, device: str) -> OnnxBackend | None:
    """None if there is no ONNX file, or if it is known to be of other weights."""
    file = source.onnx_file()
    if file is None:
        return None
    backend = OnnxBackend(file, device=device)
    return backend if source.digest in (None, backend.info.get("weights")) else None


def _with_torch(model: str | Path, source: ModelSource, device: str) -> MaskBackend:
    try:
        from redoseg.models.backends.torch import TorchBackend
        from redoseg.tensors import pick_device

        f = source.load(pick_device(device)).f
    except ModuleNotFoundError as error:
        missing = missing_extra(f"segmenting with {model}", error)
        if missing is None:
            raise
        raise missing from error
    return MaskBackend(TorchBackend(f), f.n, f.size, source.starts())


def _on_cpu(device: str) -> bool:
    """Whether PyTorch would run on the CPU; it is only imported, which takes seconds, to ask for a GPU."""
    if device != "auto":
        return device == "cpu"
    if find_spec("torch") is None or not _may_have_gpu():
        return True
    from redoseg.tensors import pick_device

    return pick_device(device).type == "cpu"


def _may_have_gpu() -> bool:
    devices = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
    libraries = ("cuda", "nvcuda", "amdhip64")
    return (
        sys.platform == "darwin"
        or any(Path(device).exists() for device in devices)
        or any(map(ctypes.util.find_library, libraries))
    )
