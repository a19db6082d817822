"""Small data: photos and masks as files, and the ways they are packed."""

import gzip
import io
import struct
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from redoseg.data.folder import FolderListing

Content = Mapping[str, bytes]
SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


def picture(seed: int = 0, size: tuple[int, int] = (20, 16), kind: str = "PNG") -> bytes:
    """An encoded photo, (width, height); each seed has its own colour."""
    colour = tuple(np.random.default_rng(seed).integers(0, 256, 3).tolist())
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, kind)
    return file.getvalue()


def mask(*values: int, size: tuple[int, int] = (20, 16)) -> bytes:
    """An encoded mask, (width, height), with stripes of these values."""
    stripes = np.repeat(np.array(values, np.uint8), -(-size[0] // len(values)))[: size[0]]
    file = io.BytesIO()
    Image.fromarray(np.tile(stripes, (size[1], 1))).save(file, "PNG")
    return file.getvalue()


def write_folder(path: Path, content: Content) -> Path:
    for name, data in content.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def write_tar(path: Path, content: Content) -> Path:
    packing = {".gz": "gz", ".bz2": "bz2", ".xz": "xz"}.get(path.suffix, "")
    with tarfile.open(path, f"w:{packing}") as tar:  # type: ignore[call-overload]
        for name, data in content.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def write_zip(path: Path, content: Content) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


def names(listing: FolderListing) -> list[str]:
    return [ref.name for ref in listing.images]


WRITERS: dict[str, Callable[[Path, Content], Path]] = {
    "set": write_folder,
    "set.tar": write_tar,
    "set.tar.gz": write_tar,
    "set.tar.bz2": write_tar,
    "set.tar.xz": write_tar,
    "set.zip": write_zip,
}


def idx_file(values: NDArray[np.uint8], magic: int | None = None) -> bytes:
    """As MNIST's files are: the type and how many axes, their lengths, the values."""
    head = struct.pack(f">{1 + values.ndim}I", magic or 0x800 + values.ndim, *values.shape)
    return head + values.tobytes()


def write_idx(path: Path, values: NDArray[np.uint8], magic: int | None = None) -> None:
    content = idx_file(values, magic)
    path.write_bytes(gzip.compress(content, 1) if path.suffix == ".gz" else content)


def write_mnist(folder: Path, end: str = "") -> Path:
    """120 + 20 digits that can be told apart; values 0 to 9 in turn."""
    for part, count, start in (("train", 120, 0), ("t10k", 20, 120)):
        images = np.zeros((count, 28, 28), np.uint8)
        images[:, 6:22, 12:16] = 255
        images[:, 0, 0] = np.arange(start, start + count)
        write_idx(folder / f"{part}-images-idx3-ubyte{end}", images)
        write_idx(folder / f"{part}-labels-idx1-ubyte{end}", (np.arange(count) % 10).astype(np.uint8))
    return folder
