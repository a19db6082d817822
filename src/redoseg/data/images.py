"""Decodes any photo to 8-bit RGB and any mask to its values, and brings both to a square."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from redoseg.data.formats import UNREADABLE
from redoseg.data.loading import loading
from redoseg.errors import DataError

Resize = Literal["antialias", "nearest"]

SHADES = 8
"""So many different greys of a mask are soft edges, and no classes."""

_EDGES = 0.1  # of all pixels: fewer between black and white are its soft edges
_WIDE_WHITE = 240 << 8  # of 16 bits: from here on white, and no number of a class
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip


def decode_image(file: BinaryIO | Path) -> Image.Image:
    """The photo in `file` as a viewer would show it: its first frame, upright, in mode RGB.

    Transparent parts become white. 16-bit grey is scaled to 8 bits from its full range, floats from [0, 1],
    from [0, 255] or else from their largest value. Notes in the file that are damaged or huge are passed
    over. DataError, in one line without the file's name, if pixels are damaged or missing, or if there are
    more of them than `PIL.Image.MAX_IMAGE_PIXELS` allows.
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
    with decoding_turned(file, at_least) as (image, size, _):
        yield image, size


@contextmanager
def decoding_turned(
    file: BinaryIO | Path, at_least: int | None = None
) -> Iterator[tuple[Image.Image, tuple[int, int], int]]:
    """As `decoding_sized`, together with the EXIF orientation, from 1 to 8, by which the photo was turned."""
    with loading(file, at_least) as (image, (width, height)):
        orientation = _orientation(image)
        upright = turn(image, orientation)
        yield to_rgb(upright), (height, width) if orientation > 4 else (width, height), orientation


def decode_label(file: BinaryIO | Path) -> NDArray[np.uint8]:
    """The values in a mask file, (H, W) uint8.

    They are grey values; of a palette of greys its colours, if they are black and white and at most soft
    edges in between, of any other its indices; 0 and 255 of one bit; of 16 bits the numbers up to 255, with
    65535 as 255, or else the upper 8 bits; of floats up to 1 that many 255ths. Where all visible colours are
    one and the opacity differs, the opacity is the mask. It is turned as its own EXIF data say, if it has
    any. DataError, in one line without the file's name, if it doesn't decode, is coloured, or has both a mask
    in its greys and another one in its opacity.
    """
    with loading(file) as (image, _):
        return label_values(turn(image, _orientation(image)))


def label_values(image: Image.Image) -> NDArray[np.uint8]:
    """As `decode_label`, of a decoded image."""
    alpha = _opacity(image)
    if image.mode in ("P", "PA"):
        values = _palette_values(image)
    elif image.mode in ("L", "1", "LA"):
        values = np.array(image.convert("L") if image.mode == "1" else image.getchannel(0), np.uint8)
    elif image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _wide_values(np.asarray(image), image.mode)
    else:
        colours = np.asarray(image if image.mode in ("RGB", "RGBA") else image.convert("RGB"))[..., :3]
        values = _grey(colours, alpha)
    return values if alpha is None else _grey_or_opacity(values, alpha)


def _opacity(image: Image.Image) -> NDArray[np.uint8] | None:
    """(H, W) uint8; None where it is the same all over, or a palette's own, whose indices say more."""
    if "A" not in image.getbands():
        return None
    alpha = np.asarray(image.getchannel("A"), np.uint8)
    return None if alpha.min() == alpha.max() else alpha


def _palette_values(image: Image.Image) -> NDArray[np.uint8]:
    """A palette's indices; grey values where all colours in use are greys: black and white, and at most a few
    pixels or many shades in between, as along soft edges."""
    indices = np.array(image.getchannel(0), np.uint8)
    palette = np.asarray(image.getpalette("RGB") or [], np.uint8).reshape(-1, 3)
    used = np.unique(indices)
    if used[-1] >= len(palette) or np.ptp(palette[used], 1).any():
        return indices
    greys = palette[indices, 0]
    between = (greys > 0) & (greys < 255)
    soft = len(used) >= SHADES or between.mean() < _EDGES
    return greys if soft and np.isin((0, 255), greys).any() else indices


def _grey(colours: NDArray[np.uint8], alpha: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
    """(H, W) uint8 of colours (H, W, 3); 0 all over for what is coloured and partly transparent."""
    if (colours == colours[..., :1]).all():
        return np.ascontiguousarray(colours[..., 0])
    if alpha is not None:  # a cut-out: what it shows is the object
        return np.zeros(alpha.shape, np.uint8)
    raise DataError("a mask must be 8-bit grey labels or a palette, and this one is in colours")


def _grey_or_opacity(values: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The one of the two that is a mask. DataError if both are, and not the same one."""
    shown = values[alpha > 0]
    if shown.min() == shown.max() or not (np.where(alpha > 0, values, 0) != alpha).any():
        return alpha
    raise DataError(
        "its greys are one mask and its transparency is another: save the right one alone, in grey"
    )


def _wide_values(values: NDArray[np.generic], mode: str) -> NDArray[np.uint8]:
    """(H, W) uint8 of values of more than 8 bits."""
    top, whole = float(values.max()), bool((values == np.floor(values.astype(np.float64))).all())
    if values.min() < 0 or not np.isfinite(top):
        raise DataError(f"labels must be whole numbers from 0 to 255, and here one is {values.min()}")
    if mode == "F" and top <= 1:
        return np.rint(values.astype(np.float64) * 255).astype(np.uint8)
    if whole and top <= 255:
        return values.astype(np.uint8)
    if mode != "F" and 65535 >= top >= _WIDE_WHITE:  # 16-bit black and white, or labels and 65535
        rest = np.unique(values[values.astype(np.int64) < 65535]).astype(np.int64)
        if top == 65535 and len(rest) and 0 < rest[-1] <= 255:
            return np.minimum(values, 255).astype(np.uint8)
        if len(rest) > SHADES or not ((rest > 255) & (rest < _WIDE_WHITE)).any():
            return to_bytes(values, "I;16")
    raise DataError(f"labels must be whole numbers from 0 to 255, and here one is {values.max()}")


def decode_grey(file: BinaryIO | Path) -> NDArray[np.uint8]:
    """The grey values of an image, (H, W) uint8; of one with colours or alpha its first channel. 16 bits are
    scaled to 8. DataError, in one line without the file's name, if it doesn't decode."""
    with loading(file) as (image, _):
        if image.mode in ("I", "F") or image.mode.startswith("I;16"):
            return to_bytes(np.asarray(image), image.mode)
        grey = image.convert("RGB") if image.mode in ("P", "PA", "1") else image
        return np.array(grey.getchannel(0), dtype=np.uint8)


def fit_image(
    image: Image.Image, size: int, resize: Resize = "antialias", at: float = 0.5
) -> NDArray[np.uint8]:
    """A square of an RGB image, brought to S x S pixels: (S, S, 3) uint8. It is as large as the short side
    and lies `at` the long one, from 0, the left or upper end, to 1; .5 is the centred square. An image that
    is S x S already comes back bit for bit. "nearest" is what the authors' code does; it aliases."""
    filtering = Image.Resampling.NEAREST if resize == "nearest" else Image.Resampling.LANCZOS
    fitted = image.resize((size, size), filtering, box=_square(*image.size, at))
    return np.array(fitted, dtype=np.uint8)


def fit_label(label: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """The centred square of labels (H, W), brought to S x S by the nearest pixel: (S, S) uint8."""
    height, width = label.shape
    image = Image.fromarray(np.ascontiguousarray(label))
    fitted = image.resize((size, size), Image.Resampling.NEAREST, box=_square(width, height))
    return np.array(fitted, dtype=np.uint8)


def _square(width: int, height: int, at: float = 0.5) -> tuple[int, int, int, int]:
    """Left, upper, right and lower edge of a square, in whole pixels to keep S x S as it is."""
    side = min(width, height)
    left, upper = int(at * (width - side)), int(at * (height - side))
    return left, upper, left + side, upper + side


def _orientation(image: Image.Image) -> int:
    """From 1 to 8, as EXIF numbers them; 1 if there is none, or no sound one."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except UNREADABLE:  # only the EXIF data are damaged: the pixels can be used
        return 1
    return orientation if orientation in _TURNS else 1


def turn(image: Image.Image, orientation: int) -> Image.Image:
    """The image upright, if its EXIF data give this orientation, from 1 to 8."""
    return image.transpose(_TURNS[orientation]) if orientation in _TURNS else image


def to_rgb(image: Image.Image) -> Image.Image:
    """A decoded image of any mode as RGB, as `decode_image` says; an RGB image is returned as it is."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return Image.fromarray(to_bytes(np.asarray(image), image.mode)).convert("RGB")
    if image.has_transparency_data:
        shown = image if image.mode == "RGBA" else image.convert("RGBA")
        white = Image.new("RGB", shown.size, "white")
        white.paste(shown, mask=shown.getchannel("A"))
        return white
    return image if image.mode == "RGB" else image.convert("RGB")


def to_bytes(values: NDArray[np.generic], mode: str) -> NDArray[np.uint8]:
    """(H, W) uint8 from grey values of more than 8 bits, whose mode Pillow calls `mode`."""
    grey = np.nan_to_num(values.astype(np.float32))
    tops = (1.0, 255.0, 65535.0) if mode == "F" else (65535.0,)
    top = next((t for t in tops if grey.max() <= t), float(grey.max()))
    return np.rint(np.clip(grey / top, 0, 1) * 255).astype(np.uint8)
