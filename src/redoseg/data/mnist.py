"""Handwritten digits: the 1,797 that scikit-learn comes with, or MNIST's from its IDX files."""

import gzip
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from redoseg.errors import DataError
from redoseg.files import expanded

SPLITS = ("train", "val", "test")
_MAGIC = {1: 0x00000801, 3: 0x00000803}  # first four bytes of a file of unsigned bytes, by dimensions
_FILES = {part: (f"{part}-images-idx3-ubyte", f"{part}-labels-idx1-ubyte") for part in ("train", "t10k")}


@dataclass(frozen=True)
class Digits:
    """N handwritten digits: images (N, h, w) uint8, 0 on paper and 255 on the stroke; values (N,), 0 to 9."""

    images: NDArray[np.uint8]
    values: NDArray[np.uint8]


def load(mnist: Path | None) -> dict[str, Digits]:
    """The digits of the splits 'train', 'val' and 'test', which share none. `mnist` is the folder with
    MNIST's four files; None: scikit-learn's digits. DataError for bad files."""
    return _from_sklearn() if mnist is None else _from_idx(expanded(mnist))


def missing_files(folder: Path) -> list[str]:
    """The names of those of MNIST's four files that aren't in the folder, gzipped or not."""
    names = [name for pair in _FILES.values() for name in pair]
    return [n for n in names if not ((folder / n).is_file() or (folder / f"{n}.gz").is_file())]


def _from_sklearn() -> dict[str, Digits]:
    from sklearn.datasets import load_digits  # noqa: PLC0415 - takes a second, which only this needs

    bunch = load_digits()
    images = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
    values = bunch.target.astype(np.uint8)
    # shuffled, always in the same way, because neighbours in the file were written by the same hand
    order = np.random.Generator(np.random.Philox(key=1797)).permutation(len(values))
    parts = np.split(order, [round(0.8 * len(order)), round(0.9 * len(order))])
    return {split: Digits(images[part], values[part]) for split, part in zip(SPLITS, parts, strict=True)}


def _from_idx(folder: Path) -> dict[str, Digits]:
    train, test = _pair(folder, "train"), _pair(folder, "t10k")
    cut = len(train.values) * 55 // 60  # 55,000 of MNIST's 60,000
    return {
        "train": Digits(train.images[:cut], train.values[:cut]),
        "val": Digits(train.images[cut:], train.values[cut:]),
        "test": test,
    }


def _pair(folder: Path, part: str) -> Digits:
    images, values = (read_idx(_find(folder, name)) for name in _FILES[part])
    if images.ndim != 3 or values.ndim != 1 or len(images) != len(values):
        raise DataError(f"{folder}: the {part} images and labels do not belong together")
    if len(values) == 0 or values.max() > 9:
        raise DataError(f"{folder}: the {part} labels are not digits from 0 to 9")
    return Digits(images, values)


def _find(folder: Path, name: str) -> Path:
    for candidate in (folder / name, folder / f"{name}.gz"):
        if candidate.is_file():
            return candidate
    raise DataError(
        f"{folder} holds no {name} nor {name}.gz: --mnist needs a folder with MNIST's four IDX files"
    )


def read_idx(path: Path) -> NDArray[np.uint8]:
    """The array (1 or 3 dimensions) in an IDX file of bytes, gzipped or not. DataError for other files."""
    try:
        raw = path.read_bytes()
        if raw[:2] == b"\x1f\x8b":
            raw = gzip.decompress(raw)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} can't be read: {error}") from error
    ndim = raw[3] if len(raw) >= 4 else 0
    if _MAGIC.get(ndim) != int.from_bytes(raw[:4], "big") or len(raw) < 4 + 4 * ndim:
        raise DataError(f"{path} is not an IDX file of bytes, as MNIST's are")
    shape = struct.unpack(f">{ndim}I", raw[4 : 4 + 4 * ndim])
    body = np.frombuffer(raw, np.uint8, offset=4 + 4 * ndim)
    if body.size != int(np.prod(shape, dtype=np.int64)):
        raise DataError(f"{path} is cut short or too long: fetch it again")
    return body.reshape(shape)
