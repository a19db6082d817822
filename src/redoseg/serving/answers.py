"""One photo's answer: the picture that was asked for, or what there is to say of it as JSON."""

import base64
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from redoseg.data.images import decoding
from redoseg.errors import DataError
from redoseg.segmentation.crops import box_of
from redoseg.segmentation.objects import Labels, Objects, choose_pieces, find_objects
from redoseg.segmentation.pictures import draw
from redoseg.segmentation.refining import Refined
from redoseg.segmentation.segmenter import Segmenter
from redoseg.serving.asked import Asked, Refine, check_pixels
from redoseg.serving.limits import Refusal

_QUALITY = 85  # of JPEG
_BIG = 8_000_000  # pixels: of larger photos one is worked on at a time, to save memory


class Answers:
    """What one loaded model says of photos. Several threads may ask it at once."""

    def __init__(self, segmenter: Segmenter, most_pixels: int) -> None:
        plain = Segmenter(segmenter.backend, n=segmenter.n, size=segmenter.size, squares=segmenter.squares)
        self.by_refine: dict[Refine, Segmenter] = {"auto": segmenter, "off": plain}
        self.n, self.most_pixels = segmenter.n, most_pixels
        self._one_big = threading.Lock()

    def answer(self, content: bytes, asked: Asked, corrected: Labels | None = None) -> dict[str, Any] | bytes:
        """The PNG, or the JSON, of a photo's file. `corrected`: the labels (H, W) that take the place of the
        model's. Refusal for what is no photo, or too large a one."""
        with self._found(content, asked) as (photo, refined, objects):
            if corrected is not None and corrected.shape == objects.labels.shape:
                objects = _corrected(corrected, objects, asked)
            else:
                corrected = None
            if asked.type != "json":
                return png(draw(asked.type, objects, photo))
            said = _describe(objects, photo.size, refined.doubt, self.n) | {
                "corrected": corrected is not None
            }
            if asked.side is not None:
                shown, small = _shown(photo, asked.side)
                masks = self.by_refine[asked.refine].restore(refined.masks, shown, small)
                said |= _pictures(small, masks if corrected is None else _as_masks(corrected, shown, self.n))
            return said

    def labels(self, content: bytes, asked: Asked) -> Labels:
        """The region of each pixel, (H, W), as a mask would be written. Refusal as `answer`."""
        with self._found(content, asked) as (_, _, objects):
            return objects.labels

    @contextmanager
    def _found(self, content: bytes, asked: Asked) -> Iterator[tuple[Image.Image, Refined, Objects]]:
        """For a block: the photo, its masks at the size to which they are refined, and its objects. Refusal,
        also for a DataError of the block."""
        segmenter = self.by_refine[asked.refine]
        big = check_pixels(content, self.most_pixels) > _BIG
        with self._one_big if big else nullcontext():
            try:
                prepared = segmenter.read(BytesIO(content))
                (masks,) = segmenter.predict([prepared])
                refined = segmenter.refine(masks, prepared)
                with decoding(BytesIO(content)) as photo:
                    objects = find_objects(segmenter, refined.masks, prepared.size, photo, asked.config)
                    yield photo, refined, objects
            except DataError as error:
                raise Refusal(415, str(error)) from error


def _corrected(labels: Labels, objects: Objects, asked: Asked) -> Objects:
    """The objects of a corrected mask: a threshold has no say there, and what is soft is 0 or 1."""
    if asked.config.region is not None:
        labels = (labels == asked.config.region).astype(np.uint8)
    labels = choose_pieces(labels, asked.config)
    return Objects(labels, objects.single, (labels > 0).astype(np.float32))


def _describe(objects: Objects, size: tuple[int, int], doubt: float, n: int) -> dict[str, Any]:
    inside = objects.labels > 0
    return {
        "width": size[0], "height": size[1], "regions": n, "doubt": round(doubt, 4),
        "area": round(float(inside.mean()), 4), "box": box_of(inside),
    }  # fmt: skip


def _shown(photo: Image.Image, side: int) -> tuple[tuple[int, int], Image.Image]:
    """The (width, height) of a photo that is no longer than `side`, and the photo at that size."""
    scale = min(1.0, side / max(photo.size))
    size = max(1, round(photo.width * scale)), max(1, round(photo.height * scale))
    return size, photo.resize(size, Image.Resampling.LANCZOS)


def _as_masks(labels: Labels, size: tuple[int, int], n: int) -> NDArray[np.float32]:
    """Masks (n, h, w) of 0 and 1 of labels (H, W), at another (width, height)."""
    small = np.asarray(Image.fromarray(labels).resize(size, Image.Resampling.NEAREST))
    return np.asarray(small == np.arange(n)[:, None, None], np.float32)


def _pictures(photo: Image.Image, masks: NDArray[np.float32]) -> dict[str, Any]:
    """The photo as a JPEG and the mask of each region but the background as a grey PNG, in base64."""
    soft = [Image.fromarray(np.rint(255 * mask).astype(np.uint8)) for mask in masks[1:]]
    stream = BytesIO()
    photo.save(stream, "JPEG", quality=_QUALITY)
    return {
        "shown": photo.size,
        "photo": base64.b64encode(stream.getvalue()).decode(),
        "soft": [base64.b64encode(png(mask)).decode() for mask in soft],
    }


def png(picture: Image.Image) -> bytes:
    """A picture's PNG file."""
    stream = BytesIO()
    picture.save(stream, "PNG", compress_type=zlib.Z_RLE)
    return stream.getvalue()
