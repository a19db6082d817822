"""Decodes any photo to 8-bit RGB and any mask to 8-bit labels, and brings both to a square."""

import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, TiffImagePlugin, UnidentifiedImageError, WebPImagePlugin

from redoseg.errors import DataError

Resize = Literal["antialias", "nearest"]
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif"})
MASK_SUFFIXES = frozenset({".png", ".tif", ".tiff", ".bmp", ".gif"})  # a mask must be stored without loss

# Found by content, not by suffix. No others, since some (EPS) start programs. LFW's masks are PPM.
_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM")
# Imported here because Pillow would import them on first use, which several threads must not do at once.
_PLUGINS = (TiffImagePlugin, WebPImagePlugin)
# What Pillow raises for damaged files; `Warning` where warnings are made errors, as in the tests.
_UNREADABLE = (
    *(OSError, EOFError, SyntaxError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError),
    *(RuntimeError, MemoryError, struct.error, zlib.error, Image.DecompressionBombError, Warning),
)
_AT_ONCE = 50_000_000  # pixels that all threads together decode at once; one takes 12 bytes at worst


class Budget:
    """An amount that threads share: each waits until enough is left, or until no other has any."""

    def __init__(self, amount: int) -> None:
        self._amount = amount
        self._taken = 0
        self._changed = threading.Condition()

    @contextmanager
    def take(self, part: int) -> Iterator[None]:
        """Take a part for the length of a `with` block."""
        with self._changed:
            self._changed.wait_for(lambda: self._taken == 0 or self._taken + part <= self._amount)
            self._taken += part
        try:
            yield
        finally:
            with self._changed:
                self._taken -= part
                self._changed.notify_all()


_pixels = Budget(_AT_ONCE)


def decode_image(file: BinaryIO | Path) -> Image.Image:
    """The photo in `file` as a viewer would show it: its first frame, upright, in mode RGB.

    Transparent parts become white. 16-bit grey is scaled to 8 bits from its full range, floats from [0, 1],
    from [0, 255] or else from their largest value. DataError, in one line without the file's name, if the
    photo is damaged, cut short or of more pixels than `PIL.Image.MAX_IMAGE_PIXELS` allows.
    """
    with decoding(file) as image:
        return image


@contextmanager
def decoding(file: BinaryIO | Path, at_least: int | None = None) -> Iterator[Image.Image]:
    """As `decode_image`, for a `with` block: of many threads some wait rather than fill the memory.

    `at_least`: a JPEG may come at a half, a quarter or an eighth of its size, which is quicker, as long as no
    side has fewer pixels than this.
    """
    with decoding_sized(file, at_least) as (image, _):
        yield image


@contextmanager
def decoding_sized(
    file: BinaryIO | Path, at_least: int | None = None
) -> Iterator[tuple[Image.Image, tuple[int, int]]]:
    """As `decoding`, together with the width and height of what `decode_image` returns."""
    with _open(file) as image:
        width, height = image.size
        if at_least is not None:
            image.draft(None, (at_least, at_least))
        with _pixels.take(image.width * image.height):
            image.load()
            turned = _turn_upright(image)
            yield to_rgb(image), (height, width) if turned else (width, height)


def decode_label(file: BinaryIO | Path) -> NDArray[np.uint8]:
    """The labels in a mask file, (H, W) uint8: grey values or palette indices; 1-bit masks give 0 and 255.

    DataError, in one line without the file's name, if it doesn't decode, is coloured or has labels above 255.
    """
    with _open(file) as image:
        image.load()
        if image.mode in ("L", "P", "1", "LA", "PA"):
            band = image.convert("L") if image.mode == "1" else image.getchannel(0)
            return np.array(band, dtype=np.uint8)
        values = np.asarray(image.convert("RGB") if image.mode in ("RGBA", "CMYK") else image)
    if values.ndim == 3:
        if (values != values[..., :1]).any():
            raise DataError("a mask must be 8-bit grey labels or a palette, and this one is in colours")
        values = values[..., 0]
    if values.min() < 0 or values.max() > 255 or (values != np.floor(values)).any():
        raise DataError(f"labels must be whole numbers from 0 to 255, and here one is {values.max()}")
    return values.astype(np.uint8)


def decode_grey(file: BinaryIO | Path) -> NDArray[np.uint8]:
    """The grey values of an image, (H, W) uint8; of one with colours or alpha its first channel. 16 bits are
    scaled to 8. DataError, in one line without the file's name, if it doesn't decode."""
    with _open(file) as image:
        image.load()
        if image.mode in ("I", "F") or image.mode.startswith("I;16"):
            return _to_bytes(np.asarray(image), image.mode)
        grey = image.convert("RGB") if image.mode in ("P", "PA", "1") else image
        return np.array(grey.getchannel(0), dtype=np.uint8)


@dataclass(frozen=True)
class MaskRule:
    """How a mask file becomes labels: `read` gives (H, W) uint8.

    It raises DataError, in one line without the file's name, for a file that can't be a mask. `name` is
    part of a cache's key and has to change when `read` does.
    """

    name: str
    read: Callable[[BinaryIO], NDArray[np.uint8]]


LABELS = MaskRule("", decode_label)
"""The files hold the labels themselves."""


def fit_image(image: Image.Image, size: int, resize: Resize = "antialias") -> NDArray[np.uint8]:
    """The centred square of an RGB image, brought to S x S pixels: (S, S, 3) uint8. One that is S x S already
    comes back bit for bit. "nearest" is what the authors' code does; it aliases."""
    filtering = Image.Resampling.NEAREST if resize == "nearest" else Image.Resampling.LANCZOS
    fitted = image.resize((size, size), filtering, box=_centre(*image.size))
    return np.array(fitted, dtype=np.uint8)


def fit_label(label: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """The centred square of labels (H, W), brought to S x S by the nearest pixel: (S, S) uint8."""
    height, width = label.shape
    image = Image.fromarray(np.ascontiguousarray(label))
    fitted = image.resize((size, size), Image.Resampling.NEAREST, box=_centre(width, height))
    return np.array(fitted, dtype=np.uint8)


def _centre(width: int, height: int) -> tuple[int, int, int, int]:
    """Left, upper, right and lower edge of the centred square, in whole pixels to keep S x S as it is."""
    side = min(width, height)
    left, upper = (width - side) // 2, (height - side) // 2
    return left, upper, left + side, upper + side


@contextmanager
def _open(file: BinaryIO | Path) -> Iterator[Image.Image]:
    """Open an image without decoding it; whatever Pillow raises about it in the block becomes a DataError."""
    try:
        with Image.open(file, formats=_FORMATS) as image:
            yield image
    except _UNREADABLE as error:
        raise DataError(_describe_error(error)) from error


def _describe_error(error: BaseException) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not an image, or damaged from its first bytes on"
    if isinstance(error, MemoryError):
        return "too large for this machine's memory"
    return " ".join(str(error).split()) or type(error).__name__


def _turn_upright(image: Image.Image) -> bool:
    """Turn the image as its EXIF data say; returns whether width and height changed places."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
        ImageOps.exif_transpose(image, in_place=True)
    except _UNREADABLE:  # only the EXIF data are damaged: the pixels can be used
        return False
    return orientation in (5, 6, 7, 8)


def to_rgb(image: Image.Image) -> Image.Image:
    """A decoded image of any mode as RGB, as `decode_image` says; an RGB image is returned as it is."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return Image.fromarray(_to_bytes(np.asarray(image), image.mode)).convert("RGB")
    if image.has_transparency_data:
        shown = image if image.mode == "RGBA" else image.convert("RGBA")
        white = Image.new("RGB", shown.size, "white")
        white.paste(shown, mask=shown.getchannel("A"))
        return white
    return image if image.mode == "RGB" else image.convert("RGB")


def _to_bytes(values: NDArray[np.generic], mode: str) -> NDArray[np.uint8]:
    """(H, W) uint8 from grey values of more than 8 bits."""
    grey = np.nan_to_num(values.astype(np.float32))
    tops = (1.0, 255.0, 65535.0) if mode == "F" else (65535.0,)
    top = next((t for t in tops if grey.max() <= t), float(grey.max()))
    return np.rint(np.clip(grey / top, 0, 1) * 255).astype(np.uint8)
