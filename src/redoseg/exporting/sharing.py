"""A model's folder that holds its weights once: mask.onnx reads them from model.safetensors beside it.

Models that come with redoseg are kept so, which halves them. ONNX calls it external data: an offset and a
length in another file. A mask.onnx that is to be copied away by itself must be whole.
"""

import math
from pathlib import Path

import onnx
from onnx import TensorProto

from redoseg.exporting.onnx import largest_difference, write_exact
from redoseg.models.card import ONNX, WEIGHTS
from redoseg.models.tensor_file import tensor_places
from redoseg.networks.mask import MaskNetwork

_LEAST = 64  # bytes: what is smaller stays in mask.onnx


def share_weights(f: MaskNetwork, folder: Path) -> float:
    """Let mask.onnx in the folder of f's model read from model.safetensors all that both hold, byte for byte;
    the largest difference between its masks and f's. ModelError, and nothing changes, as `export_onnx`."""
    weights = (folder / WEIGHTS).read_bytes()
    places = {weights[start:end]: start for start, end in tensor_places(folder / WEIGHTS).values()}
    model = onnx.load(folder / ONNX)
    for tensor in model.graph.initializer:
        content = onnx.numpy_helper.to_array(tensor).tobytes()
        if len(content) >= _LEAST and content in places:
            _refer(tensor, places[content], len(content))
    return write_exact(folder / ONNX, model.SerializeToString(), lambda file: largest_difference(f, file))


def _refer(tensor: TensorProto, offset: int, length: int) -> None:
    assert length == 4 * math.prod(tensor.dims)
    assert tensor.data_type == TensorProto.FLOAT
    tensor.ClearField("float_data")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", WEIGHTS), ("offset", offset), ("length", length)):
        tensor.external_data.add(key=key, value=str(value))


def write_whole(folder: Path, file: Path) -> None:
    """Write mask.onnx of a model's folder to `file`, with all its weights in it."""
    file.write_bytes(onnx.load(folder / ONNX).SerializeToString())
