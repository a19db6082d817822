"""A mask network in an ONNX file as a function of arrays, with ONNX Runtime."""

import ctypes
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from redoseg.cores import usable_cores
from redoseg.errors import ConfigError, ModelError
from redoseg.models.card import WEIGHTS
from redoseg.models.tensor_file import weights_digest

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read at the import: else it writes to the home folder
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as state

INPUT, OUTPUT, INFO = "images", "masks", "redoseg"
BATCH, HEIGHT, WIDTH = "batch", "height", "width"
"""Names in the file: of what goes in, of what comes out, of the JSON in its metadata; of free sides."""

_TOGETHER = 2  # images that a thread takes at once: more fall out of its cache
_CUDA, _CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
_REFUSED = (
    *(state.EPFail, state.Fail, state.InvalidArgument, state.InvalidGraph, state.InvalidProtobuf),
    *(state.NoModel, state.NoSuchFile, state.NotImplemented, state.RuntimeException),
)
_UNREADABLE = (*_REFUSED, ValueError, LookupError, TypeError, ArithmeticError, RecursionError)
_NO_MEMORY = ("allocate memory", "bad_alloc", "bfc_arena")  # what ONNX Runtime's errors then speak of


class OnnxBackend:
    """images (B, 3, h, w) in [-1, 1] to masks (B, n, h, w) in the regions' order, float32.
    `n` is the number of regions, `size` the side that the network was trained at, `starts` are the thresholds
    from which its masks are refined (None: the file states none), `info` is all that is noted in the file.
    Several images are spread over threads, each on one: threads that share an image wait for one another at
    every layer. It may be called from several threads at once, pickled, and used in a forked process."""

    def __init__(self, path: Path, *, threads: int | None = None, device: str = "cpu") -> None:
        """`threads`: None for one on each core. `device`: "cpu" or "cuda".
        ModelError for a file that isn't an exported mask network, ConfigError for a missing device."""
        if device != "cpu" and _CUDA not in onnxruntime.get_available_providers():
            raise ConfigError(
                f"--device {device} can't be used by this ONNX Runtime: use --backend torch, or install "
                "onnxruntime-gpu"
            )
        self._path, self._on_cpu = path, device == "cpu"
        self._threads = (threads or cores()) if self._on_cpu else 1
        self._file, weights = _find_weights(path)
        try:
            session = self._open(self._threads)
            self.info: dict[str, Any] = json.loads(session.get_modelmeta().custom_metadata_map[INFO])
            self.n, self.size, self.starts = _read_note(self.info)
            _check_interface(session, self.n)
        except _UNREADABLE as error:
            if weights is not None:
                raise _without_weights(path) from error
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ModelError(f"{path} is no mask network of redoseg, or it is damaged ({reason})") from error
        if weights is not None and weights_digest(weights) != self.info.get("weights"):
            raise _without_weights(path)
        self._begin({(self._threads, False): session})

    def _begin(self, sessions: dict[tuple[int, bool], onnxruntime.InferenceSession]) -> None:
        self._sessions, self._process = sessions, os.getpid()
        vars(self).pop("_pool", None)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("_sessions", "_pool")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._begin({})

    def __call__(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        if os.getpid() != self._process:  # a forked process has its parent's sessions, but not their threads
            for session in self._sessions.values():  # to end one would be to wait for its threads
                ctypes.pythonapi.Py_IncRef(ctypes.py_object(session))
            self._begin({})
        square = images.shape[2:] == (self.size, self.size)
        if not self._on_cpu or len(images) < self._threads:
            return self._masks(images, self._threads, square)
        step = _TOGETHER if len(images) >= 2 * _TOGETHER * self._threads else 1
        parts = [images[k : k + step] for k in range(0, len(images), step)]
        spread = self._pool.map if self._threads > 1 else map
        return np.concatenate(list(spread(lambda part: self._masks(part, 1, square), parts)))

    def _masks(self, images: NDArray[np.float32], threads: int, square: bool) -> NDArray[np.float32]:
        try:
            if (threads, square) not in self._sessions:
                self._sessions[threads, square] = self._open(threads, self.size if square else None)
            outputs: Sequence[NDArray[np.float32]] = self._sessions[threads, square].run(
                [OUTPUT], {INPUT: images}
            )
        except _REFUSED as error:
            reason = " ".join(str(error).split())
            if any(words in reason for words in _NO_MEMORY):
                raise MemoryError(reason) from error
            raise ModelError(f"{self._path} can't compute masks ({reason[:200]})") from error
        return outputs[0]

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._threads, "redoseg-onnx")

    def _open(self, threads: int, side: int | None = None) -> onnxruntime.InferenceSession:
        """A session for any size, or for images of one side: what depends on the size alone is done here."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 4  # what is wrong is in the exception
        # Small portions: a thread whose core has other work to do holds up the others less.
        options.add_session_config_entry("session.dynamic_block_base", "4")
        for name in (HEIGHT, WIDTH) if side else ():
            options.add_free_dimension_override_by_name(name, side)
        providers = [_CPU] if self._on_cpu else [_CUDA, _CPU]
        return onnxruntime.InferenceSession(self._file, options, providers=providers)


def is_shared(file: Path) -> bool:
    """Whether an ONNX file reads its weights from model.safetensors beside it (`exporting.sharing`)."""
    try:
        return WEIGHTS.encode() in file.read_bytes()
    except OSError:
        return False  # ONNX Runtime says what is wrong


def _find_weights(path: Path) -> tuple[Path, Path | None]:
    """What to open instead of `path`, which may be a link, and the file beside it that holds its weights;
    None if it holds them itself. ModelError if there is no such file."""
    if not is_shared(path):
        return path, None
    places = [path, Path(os.path.realpath(path))]
    beside = [(place, place.with_name(WEIGHTS)) for place in places if place.with_name(WEIGHTS).is_file()]
    if not beside:
        raise _without_weights(path)
    # ONNX Runtime follows no link out of the folder.
    return next((pair for pair in beside if not pair[1].is_symlink()), beside[0])


def _without_weights(path: Path) -> ModelError:
    return ModelError(
        f"{path} has its weights in {WEIGHTS}, and beside it that is missing or of another model: name the "
        "model that it is of, or make a whole file of it: redoseg export MODEL --onnx FILE"
    )


def _read_note(info: dict[str, Any]) -> tuple[int, int, tuple[float, ...] | None]:
    """n, size and starts. ValueError, LookupError, TypeError or ArithmeticError for what can't be meant."""
    n, size, starts = int(info["n"]), int(info["size"]), info.get("starts")
    if starts is None:
        return n, size, None
    thresholds = tuple(float(threshold) for threshold in starts)
    if not thresholds or not all(0 < threshold < 1 for threshold in thresholds):
        raise ValueError(f"its note says that masks are refined from {thresholds}")
    return n, size, thresholds


def _check_interface(session: onnxruntime.InferenceSession, n: int) -> None:
    """ValueError for a graph that doesn't map images of any size to masks of n regions."""
    values, kind = [*session.get_inputs(), *session.get_outputs()], "tensor(float)"
    found = [(value.name, value.type, len(value.shape), value.shape[1:2]) for value in values]
    if found != [(INPUT, kind, 4, [3]), (OUTPUT, kind, 4, [n])]:
        raise ValueError(f"its graph isn't from {INPUT} to {OUTPUT} of {n} regions")
    images = values[0].shape  # [B, 3, H, W]: names where any number will do
    if any(isinstance(images[axis], int) for axis in (0, 2, 3)):
        raise ValueError(f"it takes images of {images} only")


def cores() -> int:
    """How many threads may work at once: what OMP_NUM_THREADS says, but no more than `usable_cores`, since
    threads that share a core wait for one another."""
    asked = os.environ.get("OMP_NUM_THREADS", "")  # as PyTorch reads it, and Ray sets it for its workers
    usable = usable_cores()
    return min(int(asked), usable) if asked.isdecimal() and int(asked) > 0 else usable
