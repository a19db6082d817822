"""Tensors, and JSON beside them, in one safetensors file: nothing in it can run."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from redoseg.errors import ModelError
from redoseg.files import write_aside

_INFO = "redoseg"


def save_tensors(path: Path, tensors: dict[str, Tensor], info: dict[str, Any]) -> None:
    """The file is whole or not there."""
    whole = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    # As bytes: safetensors' own writing would leave files of other names when killed, for their owner alone.
    content = save(whole, {_INFO: json.dumps(info, allow_nan=False)})
    write_aside(path, lambda aside: aside.write_bytes(content))


def load_tensors(path: Path, prefixes: tuple[str, ...] = ("",)) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors whose names begin with one of `prefixes`, and the JSON. ModelError for a damaged file."""
    try:
        with safe_open(path, framework="pt") as file:
            info = json.loads((file.metadata() or {}).get(_INFO, ""))
            tensors = {name: file.get_tensor(name) for name in file.keys() if name.startswith(prefixes)}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(f"{path} is no checkpoint of redoseg, or it is damaged ({error})") from error
    return tensors, info
