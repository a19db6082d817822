"""Masks of photos by a baseline that sees one photo at a time, written as those of a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from redoseg.baselines.score import METHODS
from redoseg.segmentation.segment import SegmentReport, segment_files
from redoseg.segmentation.segmenter import Segmenter

Floats = NDArray[np.float32]


def write_masks(
    name: str, inputs: Sequence[str | Path], out: str | Path, *, size: int, seed: int = 0, **options: Any
) -> SegmentReport:
    """Write a mask for every photo, found by one of METHODS in the whole photo at `size` x `size` pixels, a
    multiple of 4 from 32. `options`, files and errors are those of `segment_files`."""
    segmenter = Segmenter(as_backend(name, size, seed), n=2, size=size)
    return segment_files(segmenter, inputs, out, **options)


def as_backend(name: str, size: int, seed: int) -> Callable[[Floats], Floats]:
    """The baseline as a function of images (B, 3, h, w) in [-1, 1] to masks (B, 2, h, w), each 0 or 1. It is
    given squares: an image of another shape is squeezed."""

    def masks(images: Floats) -> Floats:
        found = np.empty((len(images), 2, *images.shape[2:]), np.float32)
        for image, both in zip(images, found, strict=True):
            picture = np.rint((image.transpose(1, 2, 0) + 1) * 127.5).astype(np.uint8)
            square = cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA)
            regions = METHODS[name](np.asarray(square, np.uint8), seed)
            both[1] = cv2.resize(
                regions, (picture.shape[1], picture.shape[0]), interpolation=cv2.INTER_NEAREST
            )
            both[0] = 1 - both[1]
        return found

    return masks
