"""Small data: photos and masks as files, and the ways they are packed."""

import io
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

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


WRITERS: dict[str, Callable[[Path, Content], Path]] = {
    "set": write_folder,
    "set.tar": write_tar,
    "set.tar.gz": write_tar,
    "set.tar.bz2": write_tar,
    "set.tar.xz": write_tar,
    "set.zip": write_zip,
}
