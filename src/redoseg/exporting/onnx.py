"""A mask network as an ONNX file, for images of any size."""

import copy
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from redoseg.errors import ModelError, missing_extra
from redoseg.files import write_aside, write_json
from redoseg.models.backends.onnx import INFO, OnnxBackend
from redoseg.models.card import ONNX, REFINING
from redoseg.models.tensor_file import tensors_digest
from redoseg.models.weights import save_network
from redoseg.networks.mask import MaskNetwork
from redoseg.version import __version__

TOLERANCE = 1e-4  # the most by which masks of the file may differ from the network's own
_COMPARED = ((1, 128, 128), (3, 36, 52))  # batch, height, width

_log = logging.getLogger("redoseg.export")


Starts = tuple[float, ...] | None


def save_model(f: MaskNetwork, folder: Path, masks: str | None = None, starts: Starts = None) -> None:
    """Write a model's folder: config.json, model.safetensors, README.md, refining.json and mask.onnx.
    `masks` says in words which masks were learned from, for README.md; None: none. `starts` are the
    thresholds from which masks are refined (`label_free.calibration`); None: they are not known. If mask.onnx
    can't be made it is left out, with a warning; OSError for what a disk refuses, which may pass."""
    save_network(f, folder)
    if starts is not None:
        write_json(folder / REFINING, {"starts": list(starts)})
    if masks is not None:
        readme = folder / "README.md"
        text = readme.read_text(encoding="utf-8").replace("- unsupervised", "- semi-supervised")
        readme.write_text(f"{text}\n\n**{masks}** read in training.\n", encoding="utf-8")
    try:
        export_onnx(f, folder / ONNX, starts)
    except ModuleNotFoundError as error:
        missing = missing_extra("writing mask.onnx", error)
        _log.warning("%s; the model is saved without it", missing or error)
    except OSError:
        raise
    except Exception as error:  # noqa: BLE001 - a run of days must not lose its model to an error here
        reason = " ".join(str(error).split())[:200]
        _log.warning("mask.onnx can't be written (%s); the model is saved without it", reason)


def export_onnx(f: MaskNetwork, file: Path, starts: Starts = None) -> float:
    """Write f to `file`, and return the largest difference between its masks and f's. `starts`: as above.
    The file maps `images` (B, 3, H, W) float32 in [-1, 1] to `masks` (B, n, H, W) float32, background first;
    H and W are multiples of 4 from 32. Raises ModelError, and writes nothing, if a mask differs by more than
    `TOLERANCE`; ModuleNotFoundError without onnx."""
    f = copy.deepcopy(f).cpu().eval()
    return write_exact(file, serialise(f, starts), lambda written: largest_difference(f, written))


def write_exact(file: Path, content: bytes, measure_difference: Callable[[Path], float]) -> float:
    """Write `content` to `file` if the masks that the written file gives differ from the network's own by
    `TOLERANCE` at most, which `measure_difference` tells; returns that difference. Else ModelError, and what
    was there stays."""
    difference = 0.0

    def write(aside: Path) -> None:
        nonlocal difference
        aside.write_bytes(content)
        difference = measure_difference(aside)
        if not difference <= TOLERANCE:
            raise ModelError(
                f"{file} isn't written: its masks differ by {difference:.1e} from the network's own, more "
                f"than {TOLERANCE:g}"
            )

    write_aside(file, write)
    return difference


def largest_difference(f: MaskNetwork, file: Path) -> float:
    """Between f's masks by PyTorch and those of an ONNX file by ONNX Runtime, on images of noise; f lies on
    the CPU."""
    backend, random = OnnxBackend(file), np.random.default_rng(0)
    largest = 0.0
    for batch, height, width in _COMPARED:
        images = random.uniform(-1, 1, (batch, 3, height, width)).astype(np.float32)
        with torch.inference_mode():
            expected = f.ordered_masks(torch.from_numpy(images)).numpy()
        largest = max(largest, float(np.abs(backend(images) - expected).max()))
    return largest


def serialise(f: MaskNetwork, starts: Starts) -> bytes:
    """The bytes of the file: the graph with the weights of f, which lies on the CPU, and metadata."""
    import onnx

    from redoseg.exporting.graph import build_graph

    model = build_graph(f)
    # The same as `models.tensor_file.weights_digest` of the file that holds these weights.
    weights = tensors_digest((k, v.contiguous().numpy().tobytes()) for k, v in f.state_dict().items())
    info: dict[str, Any] = {"n": f.n, "size": f.size, "version": __version__, "weights": weights}
    if starts is not None:
        info["starts"] = list(starts)
    onnx.helper.set_model_props(model, {INFO: json.dumps(info)})
    return model.SerializeToString()
