"""Photos whose object is looked for within the frame around them, and masks of the whole photo from that."""

from dataclasses import dataclass, replace
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from redoseg.data.frames import Box, inner_box
from redoseg.data.images import decoding
from redoseg.errors import DataError
from redoseg.segmentation.objects import Objects
from redoseg.segmentation.segmenter import NetworkInput, Segmenter


@dataclass(frozen=True, slots=True)
class Frame:
    """The frame of a photo of `size` (width, height): what lies outside of `inside`, in pixels."""

    inside: Box
    size: tuple[int, int]

    def cut(self, photo: Image.Image) -> Image.Image:
        """The photo without its frame. DataError for one of another size than it had."""
        if photo.size != self.size:
            now, then = (f"{width}x{height}" for width, height in (photo.size, self.size))
            raise DataError(f"it is {now} and was {then} a moment ago")
        return photo.crop(self.inside)

    def around(self, objects: Objects) -> Objects:
        """Objects that were found within the frame, in the whole photo; the frame is background."""
        soft = None if objects.soft is None else self._padded(objects.soft)
        return replace(objects, labels=self._padded(objects.labels), soft=soft)

    def _padded(self, array: NDArray[Any]) -> NDArray[Any]:
        left, upper, right, lower = self.inside
        whole = np.zeros(self.size[::-1], array.dtype)
        whole[upper:lower, left:right] = array
        return whole


def read_within(segmenter: Segmenter, file: BinaryIO) -> tuple[NetworkInput, Frame] | None:
    """What lies within the frame of the photo in a file, at the network's size, and that frame; None for a
    photo without one. DataError, without the file's name, if it can't be decoded."""
    with decoding(file) as photo:  # whole, as edges of a frame are a pixel wide
        box = inner_box(photo)
        if box is None:
            return None
        frame = Frame(box, photo.size)
        return segmenter.fit(frame.cut(photo)), frame
