"""Photos of any size to soft masks of the same size."""

import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self, overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from redoseg.data.images import decoding, decoding_sized, to_rgb
from redoseg.data.labels import region_map
from redoseg.errors import DataError, ModelError
from redoseg.models.backends.choice import BackendName, open_backend
from redoseg.segmentation.edges import Edges, GuidedEdges, open_edges

Masks = NDArray[np.float32]
Backend = Callable[[NDArray[np.float32]], Masks]
Photo = Image.Image | NDArray[np.uint8] | str | os.PathLike[str]

_STEP = 4  # the network's sides are multiples of it,
_LEAST = 32  # from here
_LONGEST = 4  # a photo's long side, in units of the model's size; what is longer still is squashed
_BATCH_PIXELS = 1 << 18  # in one call of the backend: 16 images at 128 x 128
_BATCH_IMAGES = 64
_DRAFT = 4  # a JPEG is decoded at no less than so many times the model's size, as for training


@dataclass(frozen=True)
class Fitted:
    """A photo as the network takes it: `pixels` (h, w, 3) uint8; `size` is its own (width, height)."""

    pixels: NDArray[np.uint8]
    size: tuple[int, int]


class Segmenter:
    """Soft masks of photos.

    `segmenter(photo)` gives (n, H, W) float32, the photo's own height and width, in [0, 1] with a sum of one
    over the n regions; region 0 is the background. A photo is a PIL image, an (H, W, 3) uint8 array or a
    path; a list of them gives a list. PIL images and arrays are taken as they lie, files as a viewer shows
    them (EXIF). DataError for what is no photo.
    """

    def __init__(self, backend: Backend, *, n: int, size: int, edges: Edges | GuidedEdges = "none") -> None:
        """`backend`: images (B, 3, h, w) in [-1, 1] to masks (B, n, h, w) in the regions' order, float32.

        h and w are multiples of 4, from 32. It may be called from several threads at once. `size` is the side
        that the model was trained at. `edges` "guided" moves the masks' borders to the edges in photos that
        are larger than what the network sees; MissingExtraError without OpenCV.
        """
        if n < 2 or size < _LEAST or size % _STEP:
            raise ValueError(
                f"n is {n}, size {size}: at least 2 regions, a multiple of {_STEP} from {_LEAST}"
            )
        self.backend, self.n, self.size, self.edges = backend, n, size, open_edges(edges)

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
    ) -> Self:
        """`model`: a run, a model's folder, an ONNX file that `redoseg export` wrote, a hub id, or the name
        of a model that comes with the package (`redoseg models`); a model here of that name goes before it.

        Within a run, `checkpoint` is "last", "label-free", "best" or a step, `weights` "ema" or "raw" (None:
        EMA if kept).
        `backend` "onnx" needs no PyTorch; "auto" is the faster one of those that can be had. `edges` as in
        `Segmenter`. ModelError for a model, ConfigError for a device that can't be used, MissingExtraError
        without PyTorch or OpenCV where only they will do.
        """
        edges = open_edges(edges) or "none"  # before a model is looked for, downloaded even
        opened = open_backend(model, checkpoint=checkpoint, weights=weights, device=device, backend=backend)
        return cls(opened.backend, n=opened.n, size=opened.size, edges=edges)

    @overload
    def __call__(self, photo: Photo) -> Masks: ...
    @overload
    def __call__(self, photo: list[Any] | tuple[Any, ...]) -> list[Masks]: ...
    def __call__(self, photo: Photo | list[Any] | tuple[Any, ...]) -> Masks | list[Masks]:
        """(n, H, W) float32 for a photo, a list of such for a list of photos. See the class."""
        if not isinstance(photo, list | tuple):
            return self([photo])[0]
        fitted = [self._fitted(one) for one in photo]
        masks = self.predict(fitted)
        return [self._restored(*item) for item in zip(masks, fitted, photo, strict=True)]

    def _fitted(self, photo: object) -> Fitted:
        if not isinstance(photo, str | os.PathLike):
            return self.fit(_opened(photo))
        with _naming(photo) as path:
            return self.read(path)

    def _restored(self, masks: Masks, fitted: Fitted, photo: object) -> Masks:
        if self.edges is None:
            return self.restore(masks, fitted.size)
        if not isinstance(photo, str | os.PathLike):
            return self.restore(masks, fitted.size, _opened(photo))
        with _naming(photo) as path, decoding(path) as image:  # whole now, and only one at a time
            return self.restore(masks, fitted.size, image)

    def read(self, file: BinaryIO | Path) -> Fitted:
        """The photo in a file at the network's size. A large JPEG is not decoded at its full size.

        DataError, without the file's name, if it doesn't decode.
        """
        with decoding_sized(file, at_least=_DRAFT * self.size) as (image, size):
            return self.fit(image, size)

    def fit(self, image: Image.Image, size: tuple[int, int] | None = None) -> Fitted:
        """An RGB image at the network's size: see `network_size`. S x S comes back bit for bit.

        `size`: the photo's own width and height, if `image` shows it smaller.
        """
        size = size or image.size
        small = image.resize(self.network_size(*size), Image.Resampling.LANCZOS)
        return Fitted(np.asarray(small), size)

    def network_size(self, width: int, height: int) -> tuple[int, int]:
        """The short side becomes the model's size, the long side keeps the shape up to 4 times that."""
        scale = self.size / min(width, height)
        return self._side(width * scale), self._side(height * scale)

    def _side(self, length: float) -> int:
        return min(max(_STEP * round(length / _STEP), _LEAST), _LONGEST * self.size)

    def predict(self, fitted: Sequence[Fitted]) -> list[Masks]:
        """(n, h, w) at the network's size for each, in their order. Images of one size share batches."""
        groups: dict[tuple[int, ...], list[int]] = {}
        for index, one in enumerate(fitted):
            groups.setdefault(one.pixels.shape, []).append(index)
        masks: dict[int, Masks] = {}
        for shape, indices in groups.items():
            batch = min(_BATCH_IMAGES, max(1, _BATCH_PIXELS // (shape[0] * shape[1])))
            for start in range(0, len(indices), batch):
                part = indices[start : start + batch]
                masks.update(zip(part, self._batch([fitted[index].pixels for index in part]), strict=True))
        return [masks[index] for index in range(len(fitted))]

    def _batch(self, pictures: Sequence[NDArray[np.uint8]]) -> Masks:
        """(B, n, h, w) of pictures (h, w, 3)."""
        images = np.stack(pictures).transpose(0, 3, 1, 2).astype(np.float32, order="C")
        images /= np.float32(127.5)
        images -= 1
        masks = self.backend(images)
        if masks.shape != (len(images), self.n, *images.shape[2:]):
            raise ModelError(
                f"the model gave masks of shape {masks.shape} for {self.n} regions of {images.shape}"
            )
        return masks

    def restore(self, masks: Masks, size: tuple[int, int], photo: Image.Image | None = None) -> Masks:
        """Masks (n, h, w) brought bilinearly to `size` (width, height): (n, H, W), sum one over n.

        Where the segmenter has `edges`, they come from `photo`, RGB and of that size. DataError if it isn't.
        """
        if size == (masks.shape[2], masks.shape[1]):
            return masks
        restored = np.empty((self.n, size[1], size[0]), np.float32)
        for r, mask in enumerate(self._objects(masks, size, photo), 1):
            restored[r] = mask
        # The resize is linear, its weights sum to one: so do its results, and the background is what is left.
        np.subtract(1, restored[1:].sum(0), out=restored[0])
        restored.clip(0, 1, out=restored)
        if self.edges is not None:  # what the filter gave may have lain outside: now the sum is 1 or more
            restored /= restored.sum(0)
        return restored

    def regions(
        self, masks: Masks, size: tuple[int, int], photo: Image.Image | None = None
    ) -> NDArray[np.uint8]:
        """(H, W): the region of each pixel, `region_map` of what `restore` gives."""
        if self.n > 2:
            return region_map(self.restore(masks, size, photo))
        (mask,) = self._objects(masks, size, photo)
        return (mask > 0.5).view(np.uint8)

    def _objects(self, masks: Masks, size: tuple[int, int], photo: Image.Image | None) -> Iterator[Masks]:
        """(H, W) of every region but the background, in their order; with `edges` not quite in [0, 1]."""
        factor = math.sqrt(size[0] * size[1] / (masks.shape[1] * masks.shape[2]))
        guided = None
        if self.edges is not None and photo is not None and factor > 1:  # else f has seen every pixel
            _check_same(photo, size)
            guided = self.edges.along(photo, factor)
        for mask in masks[1:]:
            resized = _resized(mask, size)
            yield resized if guided is None else guided(resized)


def _check_same(photo: Image.Image, size: tuple[int, int]) -> None:
    if photo.size != size:
        raise DataError(f"it is {photo.width}x{photo.height} and was {size[0]}x{size[1]} a moment ago")


def _resized(mask: Masks, size: tuple[int, int]) -> Masks:
    """(h, w) brought bilinearly to `size` (width, height)."""
    if size == (mask.shape[1], mask.shape[0]):
        return mask
    return np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.BILINEAR))


@contextmanager
def _naming(photo: str | os.PathLike[str]) -> Iterator[Path]:
    """A photo's path for a block; DataErrors in it get the path's name."""
    path = _existing(Path(photo))
    try:
        yield path
    except DataError as error:
        raise DataError(f"{path} can't be read: {error}") from error


def _opened(photo: object) -> Image.Image:
    """RGB, at least 1 x 1. DataError, one line, for anything that is no photo."""
    if isinstance(photo, np.ndarray):
        return _from_array(photo)
    if not isinstance(photo, Image.Image):
        raise DataError(
            f"{type(photo).__name__} is no photo: give a PIL image, an (H, W, 3) uint8 array or a path"
        )
    if 0 in photo.size:
        raise DataError(f"the image is empty: {photo.width}x{photo.height}")
    return photo if photo.mode == "RGB" else to_rgb(photo)


def _existing(path: Path) -> Path:
    if path.is_dir():
        raise DataError(
            f"{path} is a folder: `redoseg segment` takes one, a Segmenter takes a list of photos"
        )
    if not path.exists():
        raise DataError(f"there is no {path}")
    return path


def _from_array(array: NDArray[np.generic]) -> Image.Image:
    cure = None
    if array.dtype != np.uint8:
        cure = "values must be uint8, 0 to 255"
    elif array.ndim == 2:
        cure = "a grey photo becomes RGB by np.stack([photo] * 3, axis=-1)"
    elif array.ndim == 3 and array.shape[2] == 4:
        cure = "leave out the alpha channel: photo[..., :3]"
    elif array.ndim == 3 and array.shape[0] == 3 and array.shape[2] != 3:
        cure = "channels come last: photo.transpose(1, 2, 0)"
    elif array.ndim == 4:
        cure = "give several photos as a list"
    elif array.ndim != 3 or array.shape[2] != 3:
        cure = "red, green and blue are the last axis"
    elif 0 in array.shape:
        cure = "it is empty"
    if cure is not None:
        raise DataError(f"an array photo is (H, W, 3) uint8, this one is {array.shape} {array.dtype}: {cure}")
    return Image.fromarray(np.ascontiguousarray(array))
