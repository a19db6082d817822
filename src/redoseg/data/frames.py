"""Frames of one colour around photos, as of scans, catalogues and films: found, and cut off.

What learns without labels takes the picture in the frame for the object: no outline is sharper.
"""

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from redoseg.data.image_ref import ImageRef, read_contents
from redoseg.data.images import decode_image, decoding
from redoseg.data.naming import join_names
from redoseg.data.native.sources import list_source, parse_native
from redoseg.errors import DataError
from redoseg.files import expanded, leftovers_of, remove, write_folder_aside

Box = tuple[int, int, int, int]

TOLERANCE = 24
"""Levels of 255 by which a frame's pixels may differ from its colour: JPEG leaves some."""
_ALIKE = 0.98  # of a line's pixels, at least, that have the frame's colour
_THIN = 0.01  # of the side: what is thinner is no frame
_BLURRED, _BLOCK = 0.04, 8  # of the side, and pixels, at most, over which JPEG blurs a frame's edge
_CUT = 0.005  # of the side, cut off beyond that
_FILLED = 0.7
"""Share of the line just within a frame that has other colours: along a thing on plain ground it is less."""
_LEAST = 0.5  # of both sides that lies within a frame
_DRAFT = 512  # pixels a side, at least, of a JPEG in which a frame is looked for
_NESTED = 3  # frames, at most, around one another
_KEPT = (".jpg", ".jpeg", ".png")
_LONGEST = 255  # bytes of a name
_QUALITY = 95  # of JPEG files that are written anew


def content_box(pixels: NDArray[np.uint8]) -> Box | None:
    """Left, upper, right and lower edge, in pixels, of what lies in a frame around the photo (H, W, 3), or
    between two bars; None for a photo without. A thing on a plain ground has none, since the lines that bound
    it are mostly ground, unless it is nearly a rectangle or runs from side to side."""
    sides = _sides(pixels)
    first = [_thickness(turned) for turned in sides]
    left, upper, right, lower = (_inner(turned, first, index) for index, turned in enumerate(sides))
    height, width = pixels.shape[:2]
    if not (left and right) and not (upper and lower):
        return None
    found = (left, upper, width - right, height - lower)
    if found[2] - found[0] < _LEAST * width or found[3] - found[1] < _LEAST * height:
        return None
    return found


def inner_box(photo: Image.Image) -> Box | None:
    """As `content_box`, of an RGB photo, within up to three frames around one another."""
    found: Box | None = None
    for _ in range(_NESTED):
        box = content_box(np.asarray(photo if found is None else photo.crop(found)))
        if box is None:
            break
        left, upper = (0, 0) if found is None else found[:2]
        found = (left + box[0], upper + box[1], left + box[2], upper + box[3])
    return found


def _sides(pixels: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """The photo so that its first row is its left, upper, right, lower side, each (rows, columns, 3)."""
    upright, lying = pixels, pixels.transpose(1, 0, 2)
    return [lying, upright, lying[::-1], upright[::-1]]


def _thickness(turned: NDArray[np.uint8]) -> int:
    """How many rows of (rows, columns, 3), from the first one on, have its colour; 0 for too few."""
    colour, most = np.median(turned[0], 0), len(turned) // 2
    thick = 0
    while thick < most and _differs(turned[thick], colour).mean() <= 1 - _ALIKE:
        thick += 1
    return 0 if thick == most or thick < max(2, _THIN * len(turned)) else thick


def _inner(turned: NDArray[np.uint8], thick: Sequence[int], side: int) -> int:
    """How many rows of `turned` (rows, columns, 3) the frame has, with those in which it is blurred; 0 if
    there is none: soon within it a row has to be of other colours for the most part. `thick` is that of all
    four sides, `side` which of them this is."""
    if not thick[side]:
        return 0
    before, after = (thick[1], thick[3]) if side % 2 == 0 else (thick[0], thick[2])
    colour = np.median(turned[0], 0)
    within = turned[:, before : turned.shape[1] - after]
    if not within.shape[1]:
        return 0
    for row in range(thick[side], thick[side] + 1 + min(_BLOCK, round(_BLURRED * len(turned)))):
        if _differs(within[row], colour).mean() >= _FILLED:
            return row + max(1, round(_CUT * len(turned)))
    return 0


def _differs(line: NDArray[np.uint8], colour: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(L,): which pixels of a line (L, 3) haven't the frame's colour."""
    return np.asarray((np.abs(line - colour) > TOLERANCE).any(-1))


def open_trimmed(opened: Callable[[], BinaryIO]) -> BinaryIO:
    """The file of a photo, given what opens it, without its frame: then as PNG, else as it is. Raises what
    `opened` does, and DataError if it can't be decoded."""
    with opened() as file:
        content = file.read()
    photo = decode_image(BytesIO(content))
    box = inner_box(photo)
    if box is None:
        return BytesIO(content)
    cut = BytesIO()
    photo.crop(box).save(cut, "PNG", compress_level=1)
    return BytesIO(cut.getvalue())


def share_framed(photos: Sequence[ImageRef]) -> float:
    """The share of the photos, 0 to 1, that have a frame; what can't be read has none."""
    framed = 0
    for index, content in read_contents(photos):
        try:
            file = BytesIO(_whole(photos[index], content))
            with decoding(file, at_least=_DRAFT) as photo:
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
    of each that `failed`, how many files were `left_out` since they are no photos."""

    trimmed: int = 0
    copied: int = 0
    left_out: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)


def trim_photos(
    source: str | Path, out: str | Path, *, progress: Callable[[int, int], None] | None = None
) -> Trimmed:
    """Write the photos of a folder or archive to the folder `out`, by the same names, without their frames.
    Photos without one are copied byte for byte. Of the others JPEG files stay such, the rest become PNG, with
    `.png` after their names, all upright in 8 bits of red, green and blue. `progress` is called with (photos
    done, photos in all). DataError for a source with masks or splits.csv, which would no longer fit, for two
    photos that would have one name, for an `out` that is there or lies among the photos, and if no photo can
    be read; then, and if it is stopped, there is no `out`."""
    if parse_native(source) is not None:
        raise DataError(f"{source} comes as its owner packs it: name the folder of its photos alone")
    listing, out = list_source(source), Path(os.path.abspath(expanded(out)))
    if listing.masks or listing.splits:
        raise DataError(
            f"{source} has masks or splits.csv, which would no longer fit trimmed photos: name photos alone"
        )
    if os.path.lexists(out):
        raise DataError(f"{out} is there: name a new folder")
    if expanded(source).resolve() in out.resolve().parents:
        raise DataError(f"{out} lies among the photos: choose a folder elsewhere")
    names = [_name(ref) for ref in listing.images]
    _check_apart(names)
    done = Trimmed(left_out=sum(map(len, listing.left_out.values())))

    def write(folder: Path) -> None:
        folder.mkdir(parents=True)
        for count, (index, content) in enumerate(read_contents(listing.images), 1):
            _trim(listing.images[index], content, folder / names[index], done)
            if progress is not None:
                progress(count, len(names))
        if not done.trimmed + done.copied:
            lost = join_names([f"{name} ({reason})" for name, reason in done.failed])
            raise DataError(f"{source}: none of its {len(names)} photos can be read: {lost}")

    with suppress(OSError):  # what a killed one left there is in nobody's way
        remove(leftovers_of([out]))
    write_folder_aside(out, write)
    return done


def _name(ref: ImageRef) -> str:
    """A photo's path within its source."""
    return str(PurePosixPath(ref.name).parent / PurePosixPath(ref.entry.path).name)


def _check_apart(names: Sequence[str]) -> None:
    """DataError if a photo that becomes PNG would get another one's name."""
    taken = {*names}
    for name in names:
        new = _name_when_cut(Path(name)).as_posix()
        if new != name and new in taken:
            raise DataError(f"{name} would become {new}, and that is there: rename one of the two")


def _name_when_cut(target: Path) -> Path:
    """The file of a photo that has been cut."""
    return target if target.suffix.lower() in _KEPT else target.with_name(f"{target.name}.png")


def _trim(ref: ImageRef, content: bytes | None, target: Path, done: Trimmed) -> None:
    """Write one photo, and count it."""
    try:
        content = _whole(ref, content)
        photo = decode_image(BytesIO(content))
        box = inner_box(photo)
        if box is not None and len(_name_when_cut(target).name.encode()) > _LONGEST:
            raise DataError("its name is too long for .png after it")
    except (OSError, DataError) as error:
        done.failed.append((join_names([ref.entry.path]), str(error)))
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if box is None:
        target.write_bytes(content)
        done.copied += 1
    else:
        _save(photo.crop(box), _name_when_cut(target))
        done.trimmed += 1


def _save(photo: Image.Image, target: Path) -> None:
    """As JPEG or PNG, with the profile of its colours, unless that is for others than red, green and blue."""
    profile = photo.info.get("icc_profile")
    if profile is not None and profile[16:20] != b"RGB ":
        profile = None
    if target.suffix.lower() == ".png":
        photo.save(target, "PNG", icc_profile=profile)
    else:
        photo.save(target, "JPEG", quality=_QUALITY, subsampling=0, icc_profile=profile)
