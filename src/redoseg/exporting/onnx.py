"""A mask network as an ONNX file, for images of any size, in a form that ONNX Runtime is fast at."""

import contextlib
import copy
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from redoseg.errors import ModelError, missing_extra
from redoseg.files import write_aside, write_json
from redoseg.models.backends.onnx import BATCH, HEIGHT, INFO, INPUT, OUTPUT, WIDTH, OnnxBackend
from redoseg.models.card import ONNX, REFINING
from redoseg.models.hub import silence_loggers
from redoseg.models.source import tensors_digest
from redoseg.networks.layers import UpsampleConv
from redoseg.networks.mask import MaskNetwork, PyramidPooling, with_averages
from redoseg.version import __version__

TOLERANCE = 1e-4  # the most by which masks of the file may differ from the network's own
_COMPARED = ((1, 128, 128), (3, 36, 52))  # batch, height, width

_log = logging.getLogger("redoseg.export")


Starts = tuple[float, ...] | None


def save_model(f: MaskNetwork, folder: Path, masks: str | None = None, starts: Starts = None) -> None:
    """Write a model's folder: config.json, model.safetensors, README.md, refining.json and mask.onnx.
    `masks` says in words which masks were learned from, for README.md; None: none. `starts` are the
    thresholds from which masks are refined (`label_free.calibration`); None: they are not known. If mask.onnx
    can't be written it is left out, with a warning."""
    f.save_pretrained(folder)
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
    except Exception as error:  # noqa: BLE001 - a run of days must not lose its model to an error of the exporter
        reason = " ".join(str(error).split())[:200]
        _log.warning("mask.onnx can't be written (%s); the model is saved without it", reason)


def export_onnx(f: MaskNetwork, file: Path, starts: Starts = None) -> float:
    """Write f to `file`, and return the largest difference between its masks and f's. `starts`: as above.
    The file maps `images` (B, 3, H, W) float32 in [-1, 1] to `masks` (B, n, H, W) float32, background first;
    H and W are multiples of 4 from 32. Raises ModelError, and writes nothing, if a mask differs by more than
    `TOLERANCE`; ModuleNotFoundError without onnx or onnxscript."""
    f = copy.deepcopy(f).cpu().eval()
    return write_exact(file, serialise(f, starts), lambda written: _largest_difference(f, written))


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


def _largest_difference(f: MaskNetwork, file: Path) -> float:
    """Between the masks of PyTorch and of ONNX Runtime, on images of noise."""
    backend, random = OnnxBackend(file), np.random.default_rng(0)
    largest = 0.0
    for batch, height, width in _COMPARED:
        images = random.uniform(-1, 1, (batch, 3, height, width)).astype(np.float32)
        with torch.inference_mode():
            expected = f.ordered_masks(torch.from_numpy(images)).numpy()
        largest = max(largest, float(np.abs(backend(images) - expected).max()))
    return largest


def serialise(f: MaskNetwork, starts: Starts) -> bytes:
    """The bytes of the file: a graph for networks of f's shape, f's weights, and metadata."""
    import onnx

    network = _rebuild_for_runtime(f)
    state = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    shapes = tuple((name, array.shape) for name, array in state.items())
    if shapes not in _graphs:
        _graphs[shapes] = _trace_graph(network)
    model = onnx.load_from_string(_graphs[shapes])
    for tensor in model.graph.initializer:
        if tensor.name in state:
            tensor.CopyFrom(onnx.numpy_helper.from_array(state[tensor.name], tensor.name))
    # The same as `models.source.weights_digest` of the file that holds these weights.
    weights = tensors_digest((k, v.contiguous().numpy().tobytes()) for k, v in f.state_dict().items())
    info: dict[str, Any] = {"n": f.n, "size": f.size, "version": __version__, "weights": weights}
    if starts is not None:
        info["starts"] = list(starts)
    onnx.helper.set_model_props(model, {INFO: json.dumps(info)})
    return model.SerializeToString()


_graphs: dict[tuple[tuple[str, tuple[int, ...]], ...], bytes] = {}
"""Serialised graphs by names and shapes of weights: tracing takes seconds, and always gives the same."""


def _trace_graph(network: nn.Module) -> bytes:
    import onnxscript  # noqa: F401 - without it, the exporter's own error has many lines

    network, random = copy.deepcopy(network), torch.Generator().manual_seed(0)
    for tensor in network.state_dict().values():  # equal tensors would be merged into one
        if tensor.is_floating_point():
            tensor.normal_(generator=random)
    batch, height, width = (
        torch.export.Dim(name, min=least, max=1 << 14)
        for name, least in ((BATCH, 1), (HEIGHT, 8), (WIDTH, 8))
    )
    with _silence_exporter():
        program = torch.onnx.export(
            network,
            (torch.zeros(2, 3, 64, 96),),
            dynamo=True,
            verbose=False,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=({0: batch, 2: 4 * height, 3: 4 * width},),
            external_data=False,
        )
    assert program is not None
    model = program.model_proto
    del model.graph.value_info[:], model.graph.metadata_props[:]  # the latter in an order that varies
    for value in (*model.graph.input, *model.graph.output):
        for axis, side in ((0, BATCH), (2, HEIGHT), (3, WIDTH)):
            value.type.tensor_type.shape.dim[axis].dim_param = side
    for node in model.graph.node:  # remove notes on which line of Python each comes from
        node.doc_string = ""
        del node.metadata_props[:]
    content: bytes = model.SerializeToString()
    return content


@contextlib.contextmanager
def _silence_exporter() -> Iterator[None]:
    """In this context the exporter prints no progress and no warnings; its errors are still raised."""
    with (
        silence_loggers("torch", "onnxscript", "onnx_ir"),
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        yield


# The same functions as f's layers, but in a form that ONNX Runtime is fast at: see docs/performance.md.


class _Pyramid(nn.Module):
    """Pyramid pooling with the projections of all levels joined into one convolution."""

    def __init__(self, pyramid: PyramidPooling) -> None:
        super().__init__()
        for name in ("weight", "bias"):
            together = torch.cat([project.get_parameter(name) for project in pyramid.projections])
            self.register_buffer(name, together.detach())

    def forward(self, x: Tensor) -> Tensor:
        return with_averages(x, F.conv2d(x, self.get_buffer("weight"), self.get_buffer("bias")))


class _Upsample(nn.Module):
    """A transposed convolution that puts zeros between the pixels, then a sum over windows of 2x2."""

    def __init__(self, layer: UpsampleConv) -> None:
        super().__init__()
        kernel = layer.weight.detach().flip(2, 3).transpose(0, 1).contiguous()
        self.register_buffer("kernel", kernel)
        self.register_buffer("window", torch.ones(kernel.shape[1], 1, 2, 2))

    def forward(self, x: Tensor) -> Tensor:
        y = F.conv_transpose2d(x, self.get_buffer("kernel"), stride=2)
        return F.conv2d(y, self.get_buffer("window"), groups=y.shape[1])


class _Head(nn.Module):
    """The 7x7 convolution as a transposed one, which for so few output channels is one small matrix product.
    Its logits are in the order of the regions."""

    def __init__(self, head: nn.Conv2d, order: Tensor) -> None:
        super().__init__()
        assert head.bias is not None
        kernel, bias = head.weight.detach().flip(2, 3), head.bias.detach()
        if len(order) == 2:  # one logit: the other region's is its negative
            kernel, bias = (kernel, bias) if order[0] == 0 else (-kernel, -bias)
        else:
            kernel, bias = kernel[order], bias[order]
        self.border = head.kernel_size[0] // 2
        self.register_buffer("kernel", kernel.transpose(0, 1).contiguous())
        self.register_buffer("bias", bias)

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, (self.border,) * 4, mode="reflect")
        kernel, bias = self.get_buffer("kernel"), self.get_buffer("bias")
        return F.conv_transpose2d(x, kernel, bias, padding=2 * self.border)


def _rebuild_for_runtime(f: MaskNetwork) -> nn.Module:
    """f with layers for ONNX Runtime, and masks in the order of the regions.
    No weight is computed from others in the graph, so that a graph fits every network of its shape."""
    f = copy.deepcopy(f).requires_grad_(False)
    for parent in list(f.modules()):
        for name, layer in parent.named_children():
            if isinstance(layer, UpsampleConv) and layer.bias is None:
                setattr(parent, name, _Upsample(layer))
            elif isinstance(layer, nn.GroupNorm) and layer.num_groups == layer.num_channels and layer.affine:
                norm = nn.InstanceNorm2d(layer.num_channels, layer.eps, affine=True)
                norm.load_state_dict(layer.state_dict())
                setattr(parent, name, norm)
    if isinstance(f.pyramid, PyramidPooling):
        f.pyramid = _Pyramid(f.pyramid)
    f.head = _Head(f.head, f.order)  # type: ignore[assignment]
    return f.eval()
