"""A mask network as an ONNX file that rembg takes for its model u2net_custom.

rembg (https://github.com/danielgatis/rembg) squeezes a photo to 320 x 320, divides it by its largest value,
takes off ImageNet's mean and divides by its deviation. Of the first output it takes the first channel, and
stretches that from its smallest to its largest value.
"""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
import torch.nn.functional as F
from torch import Tensor

from redoseg.exporting.onnx import serialise, write_exact
from redoseg.models.backends.onnx import INPUT, OUTPUT
from redoseg.networks.mask import MaskNetwork

SIDE = 320
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_PHOTO, _OBJECT = "photo", "object"  # names of what goes in and of what comes out


def export_rembg(f: MaskNetwork, file: Path) -> float:
    """Write f to `file`, and return the largest difference between its masks and f's, enlarged.
    The file maps `photo` (1, 3, 320, 320) float32, as rembg prepares it, to `object` (1, 1, 320, 320) in
    [0, 1], at whose right end the two upper corners are 0 and 1, so that stretching changes nothing.
    Raises ModelError, and writes nothing, if a mask differs by more than `TOLERANCE`; ModuleNotFoundError
    without onnx."""
    f = copy.deepcopy(f).cpu().eval()
    content = _surround(serialise(f, None), f.size)
    return write_exact(file, content, lambda written: _difference(f, written))


def expected_object(f: MaskNetwork, photo: Tensor) -> Tensor:
    """What the file computes, in PyTorch: (1, 3, 320, 320) as rembg prepares it -> (1, 1, 320, 320)."""
    mean, deviation = (torch.tensor(values).reshape(3, 1, 1) for values in (MEAN, DEVIATION))
    images = 2 * (photo * deviation + mean) - 1
    small = F.interpolate(images, (f.size, f.size), mode="bilinear", antialias=True)
    found = 1 - f.ordered_masks(small)[:, :1]  # (1, 1, S, S)
    large = F.interpolate(found, (SIDE, SIDE), mode="bilinear").clamp(0, 1)
    large[..., 0, -2], large[..., 0, -1] = 0, 1
    return large


def _surround(network: bytes, size: int) -> bytes:
    """The graph of a network with what rembg gives before it, and what rembg takes after it."""
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load_from_string(network)
    graph = model.graph
    mean, deviation = (np.array(values, np.float32).reshape(1, 3, 1, 1) for values in (MEAN, DEVIATION))
    kept, fixed = np.ones((1, 1, SIDE, SIDE), np.float32), np.zeros((1, 1, SIDE, SIDE), np.float32)
    kept[..., 0, -2:], fixed[..., 0, -1] = 0, 1
    constants = {
        "rembg_scale": 2 * deviation, "rembg_shift": 2 * mean - 1, "rembg_kept": kept, "rembg_fixed": fixed,
        "rembg_small": np.array([1, 3, size, size], np.int64),
        "rembg_large": np.array([1, 1, SIDE, SIDE], np.int64),
        "rembg_zero": np.zeros(1, np.int64), "rembg_one": np.ones(1, np.int64),
        "rembg_low": np.float32(0), "rembg_high": np.float32(1),
    }  # fmt: skip
    resize: dict[str, Any] = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
    smaller = resize | {"antialias": 1, "exclude_outside": 1}  # as PyTorch does it, at the borders, too
    nodes = [
        helper.make_node("Mul", [_PHOTO, "rembg_scale"], ["rembg_scaled"]),
        helper.make_node("Add", ["rembg_scaled", "rembg_shift"], ["rembg_images"]),
        helper.make_node("Resize", ["rembg_images", "", "", "rembg_small"], [INPUT], **smaller),
        *graph.node,
        helper.make_node("Slice", [OUTPUT, "rembg_zero", "rembg_one", "rembg_one"], ["rembg_ground"]),
        helper.make_node("Sub", ["rembg_high", "rembg_ground"], ["rembg_found"]),
        helper.make_node("Resize", ["rembg_found", "", "", "rembg_large"], ["rembg_enlarged"], **resize),
        helper.make_node("Clip", ["rembg_enlarged", "rembg_low", "rembg_high"], ["rembg_clipped"]),
        helper.make_node("Mul", ["rembg_clipped", "rembg_kept"], ["rembg_masked"]),
        helper.make_node("Add", ["rembg_masked", "rembg_fixed"], [_OBJECT]),
    ]
    initializers = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    sides = [1, 1, SIDE, SIDE]
    around = helper.make_graph(
        nodes,
        "redoseg_for_rembg",
        [helper.make_tensor_value_info(_PHOTO, onnx.TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info(_OBJECT, onnx.TensorProto.FLOAT, sides)],
        [*graph.initializer, *initializers],
    )
    model.graph.CopyFrom(around)
    # Its masks are not those that OnnxBackend expects: without the note it isn't taken for a MODEL.
    del model.metadata_props[:]
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content


def _difference(f: MaskNetwork, file: Path) -> float:
    """Between PyTorch and ONNX Runtime, on a picture of noise."""
    noise = np.random.default_rng(0).normal(0, 1, (1, 3, SIDE, SIDE)).astype(np.float32)
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {_PHOTO: noise})
    with torch.inference_mode():
        expected = expected_object(f, torch.from_numpy(noise)).numpy()
    return float(np.abs(found - expected).max())
