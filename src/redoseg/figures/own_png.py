"""PNG files that know who wrote them, so that nothing else is ever written over."""

import hashlib
import os
import struct
import zlib
from collections.abc import Callable, Iterable
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from redoseg.data.mask_files import is_mask
from redoseg.data.naming import join_names
from redoseg.errors import DataError

_END = b"\0\0\0\0IEND\xaeB`\x82"
_TEXT = b"Software\0redoseg "


def save_own_png(picture: Image.Image, file: Path, **options: Any) -> None:
    """Write `picture` as a PNG file with a note that redoseg wrote it, of `options` of Pillow. OSError,
    ValueError."""
    stream = BytesIO()
    picture.save(stream, "PNG", **options)
    content = stream.getvalue().removesuffix(_END)
    file.write_bytes(content + _note(content) + _END)


def _note(content: bytes) -> bytes:
    """The chunk of text with which a PNG file of this content ends."""
    data = b"tEXt" + _TEXT + hashlib.blake2b(content, digest_size=8).hexdigest().encode()
    return struct.pack(">I", len(data) - 4) + data + struct.pack(">I", zlib.crc32(data))


_NOTE_LENGTH = len(_note(b""))


def is_own(file: Path) -> bool:
    """Whether redoseg wrote this PNG file and nobody has changed it since. OSError if it can't be read."""
    content = file.read_bytes().removesuffix(_END)
    return content[-_NOTE_LENGTH:] == _note(content[:-_NOTE_LENGTH])


def check_replaceable(
    files: Iterable[Path],
    *,
    overwrite: bool | None = None,
    own: Callable[[Path], bool] = is_own,
    kind: Callable[[Path], bool] = is_mask,
    what: str = "a mask",
) -> None:
    """DataError, which says what to do, if any of the `files` is there and isn't redoseg's as it wrote it.
    With `overwrite` other masks may be replaced, too, never what is no mask; None: it can't be asked for.
    `own` and `kind` tell what is redoseg's own, and what is of that kind, where the files are others."""

    def replaceable(file: Path) -> bool:
        try:
            if file.is_dir():  # that can't be replaced, and is named when it is tried
                return True
            return not file.is_symlink() and (own(file) or (bool(overwrite) and kind(file)))
        except OSError:
            return False

    foreign = [file for file in files if os.path.lexists(file) and not replaceable(file)]
    if foreign:
        is_, was, has = ("is", "was", "has") if len(foreign) == 1 else ("are", "were", "have")
        raise DataError(
            f"{join_names([str(file) for file in foreign])} {is_} there and {was} not written by redoseg, "
            f"or {has} been changed since: choose another --out"
            + (f", or let --overwrite replace what is {what}" if overwrite is False else "")
        )
