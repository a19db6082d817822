"""Drawn shapes with known masks, and a segmenter that finds what is bright."""

from pathlib import Path

import numpy as np
from PIL import Image

from redoseg.config.segment import SegmentConfig
from redoseg.segmentation.segmenter import Segmenter

WIDTH, HEIGHT = 96, 64


def bright(images):
    """Red is the object's soft mask, as a photo's values are."""
    mask = ((images[:, 0] + 1) / 2).astype(np.float32)
    return np.stack([1 - mask, mask], 1)


def by_colour(images):
    """Three regions: dark, red and green, each as sure as its channel is bright."""
    red, green = ((images[:, channel] + 1) / 2 for channel in (0, 1))
    return np.stack([1 - np.maximum(red, green), red * (red > green), green * (green >= red)], 1)


SIZE = HEIGHT  # photos of WIDTH x HEIGHT are seen as they are: no mask is resized
BRIGHT = Segmenter(bright, n=2, size=SIZE)
COLOURS = Segmenter(by_colour, n=3, size=SIZE)


def asked(**options) -> SegmentConfig:
    return SegmentConfig(**options)


def grid():
    return np.mgrid[:HEIGHT, :WIDTH]


def disc(x, y, radius):
    rows, columns = grid()
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


def box(left, top, right, bottom):
    rows, columns = grid()
    return (columns >= left) & (columns < right) & (rows >= top) & (rows < bottom)


def photo(*inside, value=255, colour=0):
    """(HEIGHT, WIDTH, 3) uint8: `value` in one channel where any of the masks is true, and blue noise."""
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    pixels[..., 2] = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH))
    for mask in inside:
        pixels[mask, colour] = value
    return pixels


def save(file: Path, pixels) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(file)
    return file


def read(file: Path):
    with Image.open(file) as picture:
        return np.asarray(picture)


def overlap(one, other) -> float:
    """Intersection over union."""
    one, other = np.asarray(one) > 0, np.asarray(other) > 0
    return (one & other).sum() / (one | other).sum()
