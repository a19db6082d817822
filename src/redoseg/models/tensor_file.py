"""What lies in a safetensors file, read without torch: places of tensors, and a sum of their values."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path


def weights_digest(file: Path, prefix: str = "") -> str | None:
    """SHA-256 of the tensors named `prefix`* in a safetensors file; None for a damaged one."""
    try:
        return tensors_digest(_read_tensors(file, prefix))
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


def tensors_digest(tensors: Iterable[tuple[str, bytes]]) -> str:
    """SHA-256 of tensors, given as name and bytes, in the order of their names."""
    sha = hashlib.sha256()
    for name, content in sorted(tensors):
        sha.update(f"{name}\0{len(content)}\0".encode())
        sha.update(content)
    return sha.hexdigest()


def _read_tensors(file: Path, prefix: str) -> Iterator[tuple[str, bytes]]:
    """Names and bytes."""
    with file.open("rb") as stream:
        for name, (begin, end) in tensor_places(file).items():
            if name.startswith(prefix):
                stream.seek(begin)
                yield name.removeprefix(prefix), stream.read(end - begin)


def tensor_places(file: Path) -> dict[str, tuple[int, int]]:
    """Where each tensor's bytes begin and end in a safetensors file, which is the header's length in 8 bytes,
    the header, the values. ValueError, LookupError, TypeError or AttributeError for anything else."""
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if length > file.stat().st_size:
            raise ValueError("no safetensors file")
        entries = json.loads(stream.read(length))
    return {
        name: (8 + length + entry["data_offsets"][0], 8 + length + entry["data_offsets"][1])
        for name, entry in entries.items()
        if name != "__metadata__"
    }
