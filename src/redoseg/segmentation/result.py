"""What a Segmenter returns for a photo: the array of soft masks that it always was, and what it says."""

import base64
from collections.abc import Callable
from io import BytesIO
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from redoseg.data.labels import region_map
from redoseg.errors import DataError, MissingExtraError
from redoseg.segmentation.crops import Box, box_of, cut_out_close, tint

_SHOWN = 360  # pixels of the long side of a picture in a notebook


class PhotoMasks(np.ndarray[Any, np.dtype[np.float32]]):
    """A photo's soft masks (n, H, W) float32, background first; they sum to one over n.

    It is a NumPy array and behaves as one. What is computed from it or cut from it is a plain array; copies
    and arrays of another shape are of this class, but have neither doubt nor photo. A notebook shows it as a
    picture. What it says of itself asks for masks (n, H, W): DataError of another shape.
    """

    doubt: float
    """From 0, sure, to 1, not; NaN in copies."""
    _photo: Callable[[], Image.Image] | None

    def __new__(
        cls, masks: NDArray[np.float32], doubt: float, photo: Callable[[], Image.Image] | None = None
    ) -> Self:
        """`photo` gives the photo in mode RGB, of the masks' size; it is asked only for cut-outs."""
        made = np.asarray(masks).view(cls)
        made.doubt, made._photo = float(doubt), photo
        return made

    def __array_finalize__(self, made_from: object) -> None:
        self.doubt, self._photo = float("nan"), None

    def __array_wrap__(self, array: Any, context: Any = None, return_scalar: bool = False) -> Any:
        plain = np.asarray(array)
        return plain[()] if return_scalar else plain

    def __getitem__(self, index: Any) -> Any:
        return np.asarray(self)[index]

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled without the photo, which may lie on another machine then."""
        return type(self), (np.asarray(self), self.doubt)

    @property
    def labels(self) -> NDArray[np.uint8]:
        """The region of each pixel, (H, W) uint8, 0 the background."""
        if self.ndim != 3:
            raise DataError(f"these are no masks (n, H, W) any more, but an array of {self.shape}")
        return region_map(np.asarray(self))

    @property
    def mask(self) -> NDArray[np.bool_]:
        """(H, W): where an object is."""
        return self.labels > 0

    @property
    def soft(self) -> NDArray[np.float32]:
        """(H, W) float32: how much a pixel is an object's, from 0 to 1."""
        return 1 - np.asarray(self)[0]

    @property
    def area(self) -> float:
        """The objects' share of the photo."""
        return float(self.mask.mean())

    @property
    def boxes(self) -> list[Box]:
        """Left, top, right and bottom, the last two just outside, of each region but the background, from the
        first; regions without a pixel have none."""
        labels = self.labels
        found = (box_of(labels == region) for region in range(1, len(self)))
        return [box for box in found if box is not None]

    @property
    def photo(self) -> Image.Image:
        """The photo, RGB. DataError if it is not known any more, or its file can't be read."""
        if self._photo is None:
            raise DataError("these masks don't know their photo: take them as a Segmenter has returned them")
        photo = self._photo()
        if photo.size != self.shape[:0:-1]:
            now, then = (f"{width} x {height}" for width, height in (photo.size, self.shape[:0:-1]))
            raise DataError(f"the photo was {then} and is {now} now: segment it again")
        return photo

    def cutout(self) -> Image.Image:
        """The objects on a transparent ground, RGBA, cropped to them; one pixel where there are none. Raises
        as `photo`."""
        return cut_out_close(self.photo, self.mask)

    def overlay(self) -> Image.Image:
        """The photo with the objects in colour, RGB. Raises as `photo`."""
        return tint(self.photo, self.labels)

    def to_supervision(self) -> Any:
        """The same as `supervision.Detections`: a mask, a box, a class and 1 - doubt as the confidence for
        each region but the background. MissingExtraError without the package supervision."""
        try:
            import supervision  # noqa: PLC0415
        except ModuleNotFoundError as error:
            raise MissingExtraError("to_supervision needs supervision: pip install supervision") from error
        labels = self.labels
        regions = [region for region in range(1, len(self)) if (labels == region).any()]
        if not regions:
            return supervision.Detections.empty()
        return supervision.Detections(
            xyxy=np.array(self.boxes, np.float64),
            mask=np.stack([labels == region for region in regions]),
            class_id=np.array(regions) - 1,
            confidence=np.full(len(regions), 1 - self.doubt),
        )

    def _repr_html_(self) -> str | None:
        """Overlay and cut-out, for a notebook."""
        if self._photo is None or self.ndim != 3:
            return None
        try:
            tags = "".join(_image_tag(picture) for picture in (self.overlay(), self.cutout()))
        except DataError:  # the photo is gone, or another one
            return None
        count, height, width = self.shape
        text = f"{count} regions of {width} x {height}, area {self.area:.2f}, doubt {self.doubt:.2f}"
        return f"<div>{tags}<br>{text}</div>"


def _image_tag(picture: Image.Image) -> str:
    file = BytesIO()
    shown = picture.copy()
    shown.thumbnail((_SHOWN, _SHOWN))
    shown.save(file, "PNG")
    return f'<img src="data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"> '
