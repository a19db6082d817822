"""A mask network's graph in ONNX's terms, node by node, in a form that ONNX Runtime is fast at.

The same functions as the layers of f (`networks.mask`), each written as what docs/performance.md found the
fastest. PyTorch's own exporter would need twelve seconds to find the same nodes.
"""

from functools import singledispatch
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from redoseg.models.backends.onnx import BATCH, HEIGHT, INPUT, OUTPUT, WIDTH
from redoseg.networks.layers import UpsampleConv
from redoseg.networks.mask import PYRAMID_LEVELS, MaskNetwork, PyramidPooling, ResidualBlock

_OPSET, _IR_VERSION = 20, 10  # as the first files had them: older runtimes read those


class _Graph:
    """Nodes and constants, in the order in which they are added."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}

    def add(self, operation: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """A node; the name of its output, by default the operation's with a number."""
        output = output or f"{operation.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operation, inputs, [output], name=f"node_{output}", **attributes))
        return output

    def keep(self, name: str, values: Tensor | NDArray[Any] | float) -> str:
        """A constant under its name, float64 as float32; the first one of a name stays."""
        array = values.detach().numpy() if isinstance(values, Tensor) else np.asarray(values)
        if array.dtype == np.float64:
            array = array.astype(np.float32)
        self.constants.setdefault(name, numpy_helper.from_array(array, name))
        return name


def build_graph(f: MaskNetwork) -> onnx.ModelProto:
    """The model that maps `images` (B, 3, H, W) float32 in [-1, 1] to `masks` (B, n, H, W) float32, the
    background first, with f's weights; f lies on the CPU."""
    graph = _Graph()
    x = _add(f.encoder, graph, INPUT, "encoder")
    x = _add(f.pyramid, graph, x, "pyramid")
    x = _add(f.decoder, graph, x, "decoder")
    _add_masks(graph, _add_head(f.head, f.order, graph, x), f.n)
    made = helper.make_graph(
        graph.nodes,
        "masks_of_images",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, [BATCH, 3, HEIGHT, WIDTH])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [BATCH, f.n, HEIGHT, WIDTH])],
        list(graph.constants.values()),
    )
    opset = helper.make_operatorsetid("", _OPSET)
    return helper.make_model(made, producer_name="redoseg", opset_imports=[opset], ir_version=_IR_VERSION)


@singledispatch
def _add(layer: nn.Module, graph: _Graph, x: str, name: str) -> str:
    """The nodes of a layer that is called `name`, applied to the value `x`; the name of what it gives."""
    raise NotImplementedError(f"{type(layer).__name__} has no form in ONNX here")


@_add.register
def _(layers: nn.Sequential, graph: _Graph, x: str, name: str) -> str:
    for index, layer in enumerate(layers):
        x = _add(layer, graph, x, f"{name}.{index}")
    return x


@_add.register
def _(layer: nn.Identity, graph: _Graph, x: str, name: str) -> str:
    return x


@_add.register
def _(layer: nn.ReLU, graph: _Graph, x: str, name: str) -> str:
    return graph.add("Relu", x)


@_add.register
def _(norm: nn.GroupNorm, graph: _Graph, x: str, name: str) -> str:
    assert norm.num_groups == norm.num_channels  # `layers.instance_norm`
    assert norm.weight is not None
    weight, bias = graph.keep(f"{name}.weight", norm.weight), graph.keep(f"{name}.bias", norm.bias)
    return graph.add("InstanceNormalization", x, weight, bias, epsilon=norm.eps)


@_add.register
def _(conv: nn.Conv2d, graph: _Graph, x: str, name: str) -> str:
    side, padding = conv.kernel_size[0], int(conv.padding[0])
    if conv.padding_mode == "reflect":
        x, padding = _reflect(graph, x, padding), 0
    inputs = [graph.keep(f"{name}.weight", conv.weight)]
    if conv.bias is not None:
        inputs.append(graph.keep(f"{name}.bias", conv.bias))
    strides = list(conv.stride)
    return graph.add("Conv", x, *inputs, kernel_shape=[side, side], pads=[padding] * 4, strides=strides)


def _reflect(graph: _Graph, x: str, border: int) -> str:
    pads = graph.keep(f"border_{border}", np.array([0, 0, border, border] * 2, np.int64))
    return graph.add("Pad", x, pads, mode="reflect")


@_add.register
def _(block: ResidualBlock, graph: _Graph, x: str, name: str) -> str:
    h = _add(block.conv1, graph, x, f"{name}.conv1")
    h = graph.add("Relu", _add(block.norm1, graph, h, f"{name}.norm1"))
    h = graph.add("Add", x, _add(block.conv2, graph, h, f"{name}.conv2"))
    return graph.add("Relu", _add(block.norm2, graph, h, f"{name}.norm2"))


@_add.register
def _(layer: UpsampleConv, graph: _Graph, x: str, name: str) -> str:
    """A transposed convolution that puts zeros between the pixels, then a sum over windows of 2x2."""
    assert layer.bias is None
    kernel = layer.weight.flip(2, 3).transpose(0, 1)
    channels = kernel.shape[1]
    x = graph.add("ConvTranspose", x, graph.keep(f"{name}.kernel", kernel), strides=[2, 2])
    window = graph.keep(f"{name}.window", torch.ones(channels, 1, 2, 2))
    return graph.add("Conv", x, window, group=channels, kernel_shape=[2, 2])


@_add.register
def _(pyramid: PyramidPooling, graph: _Graph, x: str, name: str) -> str:
    """The projections of all levels joined into one convolution, then averages as matrix products."""
    weight, bias = (
        graph.keep(f"{name}.{kind}", torch.cat([level.get_parameter(kind) for level in pyramid.projections]))
        for kind in ("weight", "bias")
    )
    y = graph.add("Conv", x, weight, bias, kernel_shape=[1, 1])
    (pool_h, resize_h), (pool_w, resize_w) = (_add_pooling(graph, y, axis) for axis in (2, 3))
    pool_w, resize_w = (graph.add("Transpose", matrices, perm=[0, 2, 1]) for matrices in (pool_w, resize_w))
    for left, right in ((pool_h, pool_w), (resize_h, resize_w)):
        y = graph.add("MatMul", graph.add("MatMul", left, y), right)
    return graph.add("Concat", x, y, axis=1)


def _add_pooling(graph: _Graph, y: str, axis: int) -> tuple[str, str]:
    """`networks.mask._pooling_matrices` of the side of `y` along `axis`: (4, K, side) and (4, side, K)."""
    add, keep = graph.add, graph.keep
    zero, half, one = keep("zero", 0.0), keep("half", 0.5), keep("one", 1.0)
    windows = np.arange(2 * max(PYRAMID_LEVELS) - 1, dtype=np.float32)
    k, k_below = keep("window", windows), keep("window_below", windows[:, None])
    per_level = keep("per_level", 1 / np.array(PYRAMID_LEVELS, np.float32).reshape(-1, 1, 1))
    side = add("Squeeze", add("Shape", y, start=axis, end=axis + 1))
    side = add("Cast", side, to=TensorProto.FLOAT)
    pixel = add("Range", zero, side, one)
    window = add("Floor", add("Mul", per_level, side))
    count = add("Floor", add("Mul", add("Reciprocal", window), side))
    inside = add("Equal", add("Floor", add("Div", pixel, window)), k_below)
    pool = add("Div", add("Cast", inside, to=TensorProto.FLOAT), window)
    pixel_below = add("Unsqueeze", pixel, keep("last", np.array([1], np.int64)))
    centre = add("Mul", add("Add", pixel_below, half), add("Div", count, side))
    nearest = add("Min", add("Relu", add("Sub", centre, half)), add("Sub", count, one))
    resize = add("Sub", one, add("Abs", add("Sub", nearest, k)))
    return pool, add("Relu", resize)


def _add_head(head: nn.Conv2d, order: Tensor, graph: _Graph, x: str) -> str:
    """The 7x7 convolution as a transposed one, which for so few output channels is one small matrix product.
    Its logits are in the order of the regions."""
    assert head.bias is not None
    kernel, bias = head.weight.flip(2, 3), head.bias
    if len(order) == 2:  # one logit: the other region's is its negative
        kernel, bias = (kernel, bias) if order[0] == 0 else (-kernel, -bias)
    else:
        kernel, bias = kernel[order], bias[order]
    border = head.kernel_size[0] // 2
    weights = graph.keep("head.kernel", kernel.transpose(0, 1)), graph.keep("head.bias", bias)
    return graph.add("ConvTranspose", _reflect(graph, x, border), *weights, pads=[2 * border] * 4)


def _add_masks(graph: _Graph, logits: str, regions: int) -> None:
    """Logits (B, n, H, W), or (B, 1, H, W) for two regions, to masks that sum to one."""
    if regions == 2:
        mask = graph.add("Sigmoid", logits)
        rest = graph.add("Sub", graph.keep("one", 1.0), mask)
        graph.add("Concat", mask, rest, axis=1, output=OUTPUT)
    else:
        graph.add("Softmax", logits, axis=1, output=OUTPUT)
