"""A model's folder that holds its weights once: mask.onnx reads them from model.safetensors beside it.

Models that come with redoseg are kept so, which halves them. ONNX calls it external data: an offset and a
length in another file. A mask.onnx that is to be copied away by itself must be whole.
"""

import copy
from pathlib import Path

from redoseg.errors import ModelError
from redoseg.exporting.onnx import largest_difference, write_exact
from redoseg.models.card import ONNX, WEIGHTS
from redoseg.models.tensor_file import tensor_places
from redoseg.networks.mask import MaskNetwork

_LEAST = 64  # bytes: what is smaller stays in mask.onnx


def share_weights(f: MaskNetwork, folder: Path) -> float:
    """Let mask.onnx in the folder of f's model read from model.safetensors all that both hold, byte for byte.
    Returns the largest difference between its masks and f's. ModelError, and nothing changes, if that is more
    than `onnx.TOLERANCE`, or if the two files have no weights in common; ModuleNotFoundError without onnx."""
    import onnx
    from onnx.external_data_helper import set_external_data

    weights = (folder / WEIGHTS).read_bytes()
    places = {weights[start:end]: start for start, end in tensor_places(folder / WEIGHTS).values()}
    model, shared = onnx.load(folder / ONNX), 0
    for tensor in model.graph.initializer:
        content = tensor.raw_data
        if len(content) >= _LEAST and content in places:
            set_external_data(tensor, WEIGHTS, places[content], len(content))
            tensor.ClearField("raw_data")
            shared += 1
    if not shared:
        raise ModelError(f"{folder / ONNX} has none of the weights in {WEIGHTS}: it is of another model")
    f = copy.deepcopy(f).cpu().eval()
    return write_exact(folder / ONNX, model.SerializeToString(), lambda file: largest_difference(f, file))


def write_whole(folder: Path, file: Path) -> None:
    """Write mask.onnx of a model's folder to `file`, with all its weights in it. Both files have to be whole.
    ModuleNotFoundError without onnx."""
    import onnx
    from onnx.external_data_helper import ExternalDataInfo, uses_external_data

    weights = (folder / WEIGHTS).read_bytes()
    # Not with its weights: onnx takes none from a file that has several names, as some installers leave it.
    model = onnx.load(folder / ONNX, load_external_data=False)
    for tensor in model.graph.initializer:
        if uses_external_data(tensor):
            place = ExternalDataInfo(tensor)
            start, length = place.offset or 0, place.length or 0
            tensor.raw_data = weights[start : start + length]
            tensor.data_location = tensor.DEFAULT
            tensor.ClearField("external_data")
    file.write_bytes(model.SerializeToString())
