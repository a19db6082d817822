"""Drawn scenes: the paper's colored-2-MNIST (`digits`) and its easiest case, one digit (`digit`).

Colours are drawn from ranges of [0, 1]:

    background   red = green from U(.33, .66)   blue from U(.33, .66)
    even digit   red from U(0, .33)             green = blue from U(0, .33)
    odd digit    red = blue from U(.66, 1)      green from U(.66, 1)
"""

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from redoseg.data.mnist import SPLITS, Digits, load
from redoseg.errors import DataError

COUNTS = {"train": 50_000, "val": 1_000, "test": 1_000}
REGIONS = {"digits": 3, "digit": 2}
_SIDE = {"digits": 56 / 128, "digit": 5 / 8}  # a digit's side in units of the scene's
_SEED = 0
_DRAWS = 16  # uniform numbers that are drawn for each scene; `digits` uses 13 of them
_VERSION = 1  # part of the fingerprint: raise it when the same numbers make other scenes


class SceneSplit:
    """One split of drawn scenes, see `redoseg.data.dataset.Split`. Scene i depends on the seed, the split and
    i alone, and is painted anew each time it is read."""

    def __init__(self, kind: str, split: str, size: int, digits: Digits) -> None:
        self.kind, self.size = kind, size
        self.names: Sequence[str] = [f"{index:05d}" for index in range(COUNTS[split])]
        self._digits = digits
        self._strokes: dict[int, NDArray[np.uint8]] = {}
        seed = np.random.SeedSequence([_SEED, SPLITS.index(split), sorted(REGIONS).index(kind)])
        # row i is the same for any number of rows
        self._u = np.random.Generator(np.random.Philox(seed)).random((COUNTS[split], _DRAWS))

    def __len__(self) -> int:
        return len(self.names)

    @property
    def labelled(self) -> NDArray[np.int64]:
        """Every index, since all drawn scenes have labels."""
        return np.arange(len(self), dtype=np.int64)

    def images(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        return self.render(indices)[0]

    def labels(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        """(B, S, S) uint8: 0 background; of `digits` 1 the even and 2 the odd one; of `digit` 1 the digit."""
        return self.render(indices)[1]

    def whole(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        images, labels = self.render(np.array([index]))
        return images[0], labels[0]

    def render(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """The images (B, S, S, 3) uint8 and labels (B, S, S) uint8 at B indices."""
        u = self._u[np.asarray(indices, dtype=np.int64)]  # (B, 16)
        yellow, blue = _scale(u[:, 0], 0.33, 0.66), _scale(u[:, 1], 0.33, 0.66)
        images = np.empty((len(u), self.size, self.size, 3), np.uint8)
        images[:] = _to_bytes(np.stack([yellow, yellow, blue], axis=1))[:, None, None, :]
        labels = np.zeros((len(u), self.size, self.size), np.uint8)
        for layer in self._layers(u):  # a later digit hides what is below
            for image, label, (digit, y, x, *rgb, region) in zip(images, labels, layer.tolist(), strict=True):
                stroke = self._stroke(digit)
                box = slice(y, y + self._side), slice(x, x + self._side)
                image[box][stroke] = rgb
                label[box][stroke] = region
        return images, labels

    def _layers(self, u: NDArray[np.float64]) -> list[NDArray[np.int64]]:
        """The digits from back to front: one (B, 7) array each, see `_layer`."""
        coin = u[:, 2:3] < 0.5
        if self.kind == "digit":
            colour = np.where(coin, _even_colour(u[:, 3:]), _odd_colour(u[:, 3:]))
            return [self._layer(u[:, 3:8], self._pools["any"], colour, 1)]
        even = self._layer(u[:, 3:8], self._pools["even"], _even_colour(u[:, 3:]), 1)
        odd = self._layer(u[:, 8:13], self._pools["odd"], _odd_colour(u[:, 8:]), 2)
        return [np.where(coin, even, odd), np.where(coin, odd, even)]

    def _layer(
        self, u: NDArray[np.float64], pool: NDArray[np.int64], rgb: NDArray[np.float64], region: int
    ) -> NDArray[np.int64]:
        """(B, 7) int64: digit, y, x, red, green, blue, region. Columns 2 to 4 of u give digit, y and x."""
        digit = pool[_to_index(u[:, 2], len(pool))]
        yx = _to_index(u[:, 3:5], self.size - self._side + 1)
        return np.column_stack([digit, yx, _to_bytes(rgb), np.full(len(u), region)]).astype(np.int64)

    def _stroke(self, digit: int) -> NDArray[np.bool_]:
        """(side, side) bool, the stroke of a digit; kept at 8 pixels a byte (MNIST at S = 128: 22 MB)."""
        packed = self._strokes.get(digit)
        if packed is None:
            packed = self._strokes[digit] = np.packbits(binarise(self._digits.images[digit], self._side))
        return np.unpackbits(packed, count=self._side**2).reshape(self._side, self._side).view(np.bool_)

    @property
    def _side(self) -> int:
        return max(1, round(self.size * _SIDE[self.kind]))

    @cached_property
    def _pools(self) -> dict[str, NDArray[np.int64]]:
        odd = self._digits.values % 2 == 1
        return {"any": np.arange(len(odd)), "even": np.flatnonzero(~odd), "odd": np.flatnonzero(odd)}


def binarise(image: NDArray[np.uint8], side: int) -> NDArray[np.bool_]:
    """(side, side) bool, the stroke of a grey digit (h, w): resized smoothly, then cut at a threshold.

    At one half, 4 in 100 of scikit-learn's strokes break, and 10 in 100 of MNIST's at a side of 14 pixels.
    A little lower it is 1 and 2, no more than in the digits as they come.
    """
    smooth = Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(smooth) >= (112 if side >= len(image) else 96)


def open_scenes(kind: str, size: int, mnist: Path | None) -> tuple[dict[str, SceneSplit], str]:
    """The splits at `size` x `size` pixels, their fingerprint (32 hex digits). DataError for bad `mnist`."""
    digits = load(mnist)
    for split, part in digits.items():
        if len(np.unique(part.values % 2)) < 2:
            raise DataError(f"{mnist}: the {split} digits must be even and odd ones")
    key = hashlib.sha256(f"{kind} {size} {_SEED} {_VERSION} {COUNTS}".encode())
    for part in digits.values():
        key.update(part.images.tobytes())
        key.update(part.values.tobytes())
    splits = {split: SceneSplit(kind, split, size, part) for split, part in digits.items()}
    return splits, key.hexdigest()[:32]


def _scale(u: NDArray[np.float64], low: float, high: float) -> NDArray[np.float64]:
    return low + (high - low) * u


def _even_colour(u: NDArray[np.float64]) -> NDArray[np.float64]:
    """The dark colour of even digits, (B, 3) in [0, 1], from the first two columns of `u`."""
    red, rest = _scale(u[:, 0], 0, 0.33), _scale(u[:, 1], 0, 0.33)
    return np.stack([red, rest, rest], axis=1)


def _odd_colour(u: NDArray[np.float64]) -> NDArray[np.float64]:
    """The bright colour of odd digits, (B, 3) in [0, 1], from the first two columns of `u`."""
    rest, green = _scale(u[:, 0], 0.66, 1), _scale(u[:, 1], 0.66, 1)
    return np.stack([rest, green, rest], axis=1)


def _to_index(u: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """Integers from 0 to count - 1, from `u` in [0, 1)."""
    return np.floor(u * count).astype(np.int64)


def _to_bytes(colour: NDArray[np.float64]) -> NDArray[np.uint8]:
    return np.rint(colour * 255).astype(np.uint8)
