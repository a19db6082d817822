"""Frames of one colour around photos, as of scans, catalogues and films: found, and cut off.

What learns without labels takes the picture in the frame for the object: no outline is sharper.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from redoseg.data.image_ref import ImageRef, read_contents
from redoseg.data.images import decode_image
from redoseg.data.naming import join_names
from redoseg.data.native.sources import list_source
from redoseg.errors import DataError
from redoseg.files import expanded, write_folder_aside

Box = tuple[int, int, int, int]

TOLERANCE = 24
"""Levels of 255 by which a frame's pixels may differ from its colour: JPEG leaves some."""
_ALIKE = 0.98  # of a line's pixels, at least, that have the frame's colour
_THIN = 0.01  # of the side: what is thinner is no frame
_BLURRED = 0.005  # of the side, cut off beyond the frame
_FILLED = 0.7
"""Share of the line just within a frame that has other colours: along a thing on plain ground it is less."""
_LEAST = 0.5  # of both sides that lies within a frame
_QUALITY = 95  # of JPEG files that are written anew


def content_box(pixels: NDArray[np.uint8]) -> Box | None:
    """Left, upper, right and lower edge, in pixels, of what lies in a frame around the photo (H, W, 3), or
    between two bars; None for a photo without. A thing on a plain ground has none: the lines that bound
    it are mostly ground."""
    left, upper, right, lower = (_thickness(turned) for turned in _sides(pixels))
    box = (left, upper, right, lower)
    kept = [_is_filled(turned, box, index) for index, turned in enumerate(_sides(pixels))]
    left, upper, right, lower = (size if filled else 0 for size, filled in zip(box, kept, strict=True))
    height, width = pixels.shape[:2]
    if not (left and right) and not (upper and lower):
        return None
    found = (left, upper, width - right, height - lower)
    if found[2] - found[0] < _LEAST * width or found[3] - found[1] < _LEAST * height:
        return None
    return found


def _sides(pixels: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """The photo so that its first row is its left, upper, right, lower side, each (rows, columns, 3)."""
    upright, lying = pixels, pixels.transpose(1, 0, 2)
    return [lying, upright, lying[::-1], upright[::-1]]


def _thickness(turned: NDArray[np.uint8]) -> int:
    """How many rows from the first one on have its colour, and the blurred ones after them; 0 for too few."""
    colour, most = np.median(turned[0], 0), len(turned) // 2
    thick = 0
    while thick < most and not _differs(turned[thick], colour).mean() > 1 - _ALIKE:
        thick += 1
    if thick == most or thick < max(2, _THIN * len(turned)):
        return 0
    return thick + max(1, round(_BLURRED * len(turned)))


def _is_filled(turned: NDArray[np.uint8], box: Box, side: int) -> bool:
    """Whether the line just within the frame on this side is mostly of other colours."""
    thick, before, after = box[side], *((box[1], box[3]) if side % 2 == 0 else (box[0], box[2]))
    line = turned[thick, before : turned.shape[1] - after]
    return bool(thick and len(line) and _differs(line, np.median(turned[0], 0)).mean() >= _FILLED)


def _differs(line: NDArray[np.uint8], colour: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(L,): which pixels of a line (L, 3) haven't the frame's colour."""
    return np.asarray((np.abs(line - colour) > TOLERANCE).any(-1))


def share_framed(photos: Sequence[ImageRef]) -> float:
    """The share of the photos that have a frame; what can't be read has none."""
    framed = 0
    for index, content in read_contents(photos):
        try:
            photo = decode_image(BytesIO(_whole(photos[index], content)))
            framed += content_box(np.asarray(photo)) is not None
        except (OSError, DataError):
            continue
    return framed / max(1, len(photos))


def _whole(photo: ImageRef, content: bytes | None) -> bytes:
    """The bytes of a photo's file, which are there already if it was read from a compressed archive."""
    if content is not None:
        return content
    with photo.open() as file:
        return file.read()


@dataclass
class Trimmed:
    """What `trim_photos` did: how many photos were `trimmed`, how many `copied` as they are, (name, reason)
    of each that `failed`."""

    trimmed: int = 0
    copied: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)


def trim_photos(
    source: str | Path, out: str | Path, *, progress: Callable[[int, int], None] | None = None
) -> Trimmed:
    """Write the photos of a folder or archive to the folder `out`, by the same names, without their frames.
    Photos without one are copied byte for byte. JPEG files stay such, others become PNG. `progress` is called
    with (photos done, photos in all). DataError for a source with masks, which frames belong to, and for an
    `out` that is there or lies among the photos; then, and if it is stopped, there is no `out`."""
    listing, out = list_source(source), expanded(out)
    if listing.masks:
        raise DataError(f"{source} has masks, which would no longer fit: name a folder of photos alone")
    if out.exists():
        raise DataError(f"{out} is there: name a new folder")
    if expanded(source).resolve() in out.resolve().parents:
        raise DataError(f"{out} lies among the photos: choose a folder elsewhere")
    done = Trimmed()

    def write(folder: Path) -> None:
        for count, (index, content) in enumerate(read_contents(listing.images), 1):
            _trim(listing.images[index], content, folder, done)
            if progress is not None:
                progress(count, len(listing.images))

    out.parent.mkdir(parents=True, exist_ok=True)
    write_folder_aside(out, write)
    return done


def _trim(ref: ImageRef, content: bytes | None, folder: Path, done: Trimmed) -> None:
    """Write one photo into the folder, and count it."""
    target = folder / f"{ref.name}{ref.suffix}"
    try:
        content = _whole(ref, content)
        photo = decode_image(BytesIO(content))
    except (OSError, DataError) as error:
        done.failed.append((join_names([ref.entry.path]), str(error)))
        return
    box = content_box(np.asarray(photo))
    target.parent.mkdir(parents=True, exist_ok=True)
    if box is None:
        target.write_bytes(content)
        done.copied += 1
    else:
        _save(photo.crop(box), target)
        done.trimmed += 1


def _save(photo: Image.Image, target: Path) -> None:
    if target.suffix.lower() in (".jpg", ".jpeg"):
        photo.save(target, "JPEG", quality=_QUALITY, subsampling=0)
    elif target.suffix.lower() == ".png":
        photo.save(target, "PNG")
    else:
        photo.save(target.with_name(f"{target.name}.png"), "PNG")
