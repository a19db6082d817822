"""The Segmenter: photos of any size to soft masks of the same size."""

import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Self, overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from redoseg.data.images import decoding, decoding_sized
from redoseg.data.labels import region_map
from redoseg.errors import ConfigError, DataError, ModelError
from redoseg.models.backends.choice import BackendName, open_backend
from redoseg.segmentation.edges import Edges, GuidedEdges, open_edges
from redoseg.segmentation.photo_input import Photo, naming_errors, read_whole, to_rgb_image
from redoseg.segmentation.refining import Refine, Refined, Refining, doubt, open_refining
from redoseg.segmentation.result import PhotoMasks
from redoseg.segmentation.squares import by_squares

Masks = NDArray[np.float32]
Backend = Callable[[NDArray[np.float32]], Masks]

_STEP = 4  # the sides of the network's input are multiples of 4,
_LEAST = 32  # and at least 32
_LONGEST = 4  # of the model's size: a photo whose long side would be more is squashed to that
_BATCH_PIXELS = 1 << 18  # in one call of the backend: 16 images at 128 x 128
_BATCH_IMAGES = 64
_DRAFT = 4  # a JPEG is decoded at no less than 4 times the model's size, as for training


@dataclass(frozen=True)
class NetworkInput:
    """A photo at the network's size: `pixels` (h, w, 3) uint8. `size` is the photo's own (width, height).
    `detail` (H, W, 3) uint8 is the photo at the size at which its masks are refined; None if they aren't."""

    pixels: NDArray[np.uint8]
    size: tuple[int, int]
    detail: NDArray[np.uint8] | None = None


@dataclass(frozen=True)
class Segmentation:
    """A photo's `masks` (n, H, W) float32 at its own size, as `Segmenter` makes them, and their `doubt`: from
    0, sure, to 1, not (`refining.doubt`)."""

    masks: PhotoMasks
    doubt: float


class Segmenter:
    """Makes soft masks of photos.

    `segmenter(photo)` returns (n, H, W) float32: a mask for each of the n regions, as high and wide as the
    photo, in [0, 1]; the masks of a pixel sum to one. Region 0 is the background. A photo is a PIL image, an
    (H, W, 3) uint8 array or a path, and a list of photos gives a list of masks. Images and arrays are taken
    as they are; a file is turned as its EXIF orientation says. Raises DataError for what isn't a photo.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        n: int,
        size: int,
        edges: Edges | GuidedEdges = "none",
        refine: Refining | None = None,
        squares: bool = False,
    ) -> None:
        """A segmenter around a function that computes masks; `from_pretrained` makes one from a model.

        `backend` maps images (B, 3, h, w) float32 in [-1, 1] to masks (B, n, h, w) float32, background first;
        h and w are multiples of 4 from 32, and several threads may call it at once. `size` is the side that
        the model was trained at. `squares`: it has learned square images alone, so a photo up to twice
        as long as wide is shown to it as squares (`by_squares`), and others as they are. `refine` finds
        the photo's own outlines from the masks; None: they stay. `edges="guided"` only moves the borders
        of masks to the photo's edges, for photos larger than the network's input. Raises ValueError for n
        below 2 or a size that isn't a multiple of 4 from 32, ConfigError for other `edges`, and for both
        `edges` and `refine`, which follows edges by itself.
        """
        if n < 2 or size < _LEAST or size % _STEP:
            raise ValueError(
                f"n is {n}, size {size}: at least 2 regions, a multiple of {_STEP} from {_LEAST}"
            )
        self.backend, self.n, self.size, self.edges = backend, n, size, open_edges(edges)
        self.squares = squares
        if refine is not None and self.edges is not None:
            raise ConfigError("refined masks follow the photo's edges: --edges is for --refine off")
        self.refining = refine

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path,
        *,
        checkpoint: str = "last",
        weights: str | None = None,
        device: str = "auto",
        backend: BackendName = "auto",
        edges: Edges | GuidedEdges = "none",
        refine: Refine | Refining = "auto",
        refine_size: int | None = None,
    ) -> Self:
        """A segmenter with a trained model.

        `model` is the folder of a run or of a model, an ONNX file that `redoseg export` wrote, a hub id, or
        the name of a model that comes with the package (`redoseg models` lists them). A folder or file of
        that name is preferred to a model that comes with the package.

        `checkpoint` and `weights` choose within a run: "last", "label-free", "best" or a step; "ema" or "raw"
        (None: the moving average if one is kept). `backend="onnx"` needs no PyTorch; "auto" is the fastest
        one available. `refine="auto"` refines masks from the starts that were chosen without labels when the
        model was trained, up to a short side of `refine_size` pixels (None: 256); not where `edges` are asked
        for, which are those of `Segmenter`. Raises ModelError for a model that can't be used, ConfigError for
        such an option or device, MissingExtraError where PyTorch is needed and not installed.
        """
        edges = open_edges(edges) or "none"  # first: a model may have to be downloaded
        refining = None
        if edges == "none" or refine != "auto":
            refining = open_refining(refine, Refining.size if refine_size is None else refine_size)
        if refining is None and refine_size is not None:
            cause = "--refine off" if refine == "off" else "--edges"
            raise ConfigError(f"--refine-size is for refined masks, and {cause} refines none: leave one out")
        opened = open_backend(model, checkpoint=checkpoint, weights=weights, device=device, backend=backend)
        if refining is not None and refine == "auto" and opened.starts is not None:
            refining = Refining(opened.starts, refining.size)
        return cls(opened.backend, n=opened.n, size=opened.size, edges=edges, refine=refining, squares=True)

    @overload
    def __call__(self, photo: Photo) -> PhotoMasks: ...
    @overload
    def __call__(self, photo: list[Any] | tuple[Any, ...]) -> list[PhotoMasks]: ...
    def __call__(self, photo: Photo | list[Any] | tuple[Any, ...]) -> PhotoMasks | list[PhotoMasks]:
        """Masks (n, H, W) float32 of a photo, or a list of them for a list of photos. See the class. They are
        arrays that also have a doubt, labels, boxes, a cut-out (`PhotoMasks`)."""
        if not isinstance(photo, list | tuple):
            return self.segment([photo])[0].masks
        return [found.masks for found in self.segment(photo)]

    def segment(self, photos: Sequence[Photo]) -> list[Segmentation]:
        """The masks of each photo, and their doubt. Photos and errors are as for the class."""
        inputs = [self._prepare(one) for one in photos]
        found = []
        for soft, prepared, photo in zip(self.predict(inputs), inputs, photos, strict=True):
            refined = self.refine(soft, prepared)
            masks = self._restore_photo(refined.masks, prepared, photo)
            found.append(Segmentation(PhotoMasks(masks, refined.doubt, _again(photo)), refined.doubt))
        return found

    def refine(self, masks: Masks, prepared: NetworkInput) -> Refined:
        """Masks (n, h, w) of a photo, refined to the size of its `detail`, or as they are if this segmenter
        doesn't refine; with their doubt."""
        if self.refining is None or prepared.detail is None:
            return Refined(masks, doubt(masks))
        return self.refining(prepared.detail, masks)

    def _prepare(self, photo: object) -> NetworkInput:
        if not isinstance(photo, str | os.PathLike):
            return self.fit(to_rgb_image(photo))
        with naming_errors(photo) as path:
            return self.read(path)

    def _restore_photo(self, masks: Masks, prepared: NetworkInput, photo: object) -> Masks:
        if not self.needs_photo(masks, prepared.size):
            return self.restore(masks, prepared.size)
        if not isinstance(photo, str | os.PathLike):
            return self.restore(masks, prepared.size, to_rgb_image(photo))
        with naming_errors(photo) as path, decoding(path) as image:  # again and whole, but one at a time
            return self.restore(masks, prepared.size, image)

    def read(self, file: BinaryIO | Path) -> NetworkInput:
        """The photo in a file, at the network's size. A large JPEG is not decoded at its full size.

        Raises DataError, without the file's name, if it can't be decoded.
        """
        least = max(_DRAFT * self.size, self.refining.size if self.refining else 0)
        with decoding_sized(file, at_least=least) as (image, size):
            return self.fit(image, size)

    def fit(self, image: Image.Image, size: tuple[int, int] | None = None) -> NetworkInput:
        """An RGB image resized to its `network_size`; an image of that size keeps its pixels bit for bit.

        `size` is the photo's own (width, height) where `image` is a smaller copy of it.
        """
        size = size or image.size
        small = np.asarray(image.resize(self.network_size(*size), Image.Resampling.LANCZOS))
        if self.refining is None:
            return NetworkInput(small, size)
        detail = image.resize(self.refining.fit(*size), Image.Resampling.LANCZOS)
        return NetworkInput(small, size, np.asarray(detail))

    def network_size(self, width: int, height: int) -> tuple[int, int]:
        """The (width, height) at which the network makes the masks of a photo of this width and height.

        The short side becomes the model's size. The long side keeps the photo's shape, up to 4 times that
        size. Both are rounded to multiples of 4, at least 32.
        """
        scale = self.size / min(width, height)
        return self._round_side(width * scale), self._round_side(height * scale)

    def _round_side(self, length: float) -> int:
        return min(max(_STEP * round(length / _STEP), _LEAST), _LONGEST * self.size)

    def predict(self, inputs: Sequence[NetworkInput]) -> list[Masks]:
        """Masks (n, h, w) of each input, at its size and in order."""
        pictures = [one.pixels for one in inputs]
        return by_squares(self._predict_all, pictures) if self.squares else self._predict_all(pictures)

    def _predict_all(self, pictures: Sequence[NDArray[np.uint8]]) -> list[Masks]:
        """Masks (n, h, w) of each picture (h, w, 3). Pictures of one size share batches."""
        groups: dict[tuple[int, ...], list[int]] = {}
        for index, one in enumerate(pictures):
            groups.setdefault(one.shape, []).append(index)
        masks: dict[int, Masks] = {}
        for shape, indices in groups.items():
            batch = min(_BATCH_IMAGES, max(1, _BATCH_PIXELS // (shape[0] * shape[1])))
            for start in range(0, len(indices), batch):
                part = indices[start : start + batch]
                batched = self._predict_batch([pictures[index] for index in part])
                masks.update(zip(part, batched, strict=True))
        return [masks[index] for index in range(len(pictures))]

    def _predict_batch(self, pictures: Sequence[NDArray[np.uint8]]) -> Masks:
        """B pictures (h, w, 3) -> masks (B, n, h, w)."""
        images = np.stack(pictures).transpose(0, 3, 1, 2).astype(np.float32, order="C")  # (B, 3, h, w)
        images /= np.float32(127.5)
        images -= 1
        masks = self.backend(images)
        if masks.shape != (len(images), self.n, *images.shape[2:]):
            raise ModelError(
                f"the model gave masks of shape {masks.shape} for {self.n} regions of {images.shape}"
            )
        if not np.isfinite(masks).all():
            raise ModelError("the model's masks are no numbers: its weights are damaged, or it never learned")
        return masks

    def restore(self, masks: Masks, size: tuple[int, int], photo: Image.Image | None = None) -> Masks:
        """Masks (n, h, w) resized bilinearly to `size` (width, height): (n, H, W) that sum to one over n.

        With `edges`, and after refining, borders move to those of `photo`, an RGB image of that size. Raises
        DataError if it has another size.
        """
        if size == (masks.shape[2], masks.shape[1]):
            return masks
        restored = np.empty((self.n, size[1], size[0]), np.float32)
        for r, mask in enumerate(self._resize_objects(masks, size, photo), 1):
            restored[r] = mask
        # Bilinear weights sum to one, so resized masks do, too: the background is what the objects leave.
        np.subtract(1, restored[1:].sum(0), out=restored[0])
        restored.clip(0, 1, out=restored)
        if photo is not None and self.needs_photo(masks, size):
            # The filter's results may have been below 0, so the sum is now 1 or more.
            restored /= restored.sum(0)
        return restored

    def needs_photo(self, masks: Masks, size: tuple[int, int]) -> bool:
        """Whether `restore` wants the photo, of this (width, height): to follow edges that are too fine for
        masks (n, h, w)."""
        follows = self.edges is not None or self.refining is not None
        return follows and size[0] * size[1] > masks.shape[1] * masks.shape[2]

    def regions(
        self, masks: Masks, size: tuple[int, int], photo: Image.Image | None = None
    ) -> NDArray[np.uint8]:
        """The region of each pixel, (H, W): the same as `region_map` of what `restore` returns."""
        if self.n > 2:
            return region_map(self.restore(masks, size, photo))
        (mask,) = self._resize_objects(masks, size, photo)
        return (mask > 0.5).view(np.uint8)

    def _resize_objects(
        self, masks: Masks, size: tuple[int, int], photo: Image.Image | None
    ) -> Iterator[Masks]:
        """The mask (H, W) of each region but the background; along edges not quite within [0, 1]."""
        factor = math.sqrt(size[0] * size[1] / (masks.shape[1] * masks.shape[2]))
        guided = None
        if photo is not None and self.needs_photo(masks, size):
            if photo.size != size:
                now, then = (f"{width}x{height}" for width, height in (photo.size, size))
                raise DataError(f"it is {now} and was {then} a moment ago")
            # Refined masks already lie along the photo's edges at their own size: from there on they are led.
            edges = self.edges or GuidedEdges(radius=1, most=masks.shape[1] * masks.shape[2])
            guided = edges.along(photo, factor)
        for mask in masks[1:]:
            if size != mask.shape[::-1]:
                mask = np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.BILINEAR))
            yield mask if guided is None else guided(mask)


def _again(photo: Any) -> Callable[[], Image.Image]:
    """What gives the photo at its full size once more: of a file, by reading it again."""
    if isinstance(photo, str | os.PathLike):
        return partial(read_whole, photo)
    return partial(to_rgb_image, photo)
