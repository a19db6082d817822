"""Photos of sound pixels whose notes (EXIF, colour profile, text) are damaged or huge: without the notes.

Viewers show such files; Pillow refuses them. Nothing is ever written: only the bytes to decode are others.
"""

import re
import struct
import zlib
from collections.abc import Iterator

from PIL import ExifTags, Image

from redoseg.data.formats import UNREADABLE

_PNG = b"\x89PNG\r\n\x1a\n"
_PIXEL_CHUNKS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
_END = b"\xff\xd9"
_FILLER = bytes(range(1, 255)) * 4  # read as pixels where some are missing, and ignored where none are
_WITHOUT_LENGTH = (0x01, *range(0xD0, 0xD9))
_ADOBE, _EXIF = 0xEE, 0xE1  # the one says what the channels are, the other how the photo is turned


def without_notes(content: bytes) -> list[bytes]:
    """Files with the same pixels as `content`, a damaged JPEG or PNG, and no notes but how it is turned.

    All of them show one picture if the pixels are whole; where they differ, some are missing. [] for what
    can't be mended.
    """
    if content.startswith(_PNG):
        return [_mended_png(content)]
    if content.startswith(b"\xff\xd8"):
        plain = _mended_jpeg(content)
        if plain.rstrip(b"\0").endswith(_END):
            return [plain]
        # Recovered cards are filled up with these bytes, which would pass for pixels.
        sound = plain.rstrip(b"\0\xff")
        sound += b"\xff\0" if plain == sound + b"\xff\0" else b""  # these two are a pixel's own
        return [sound + _END, sound + _FILLER + _END] if _has_all_scans(sound) else []
    return []


def is_filled_up(content: bytes) -> bool:
    """Whether a JPEG has no end, but zeros or bytes of 255, which would pass for pixels, in place of one."""
    kept = content.rstrip(b"\0\xff")
    return len(content) - len(kept) > 8 and not kept.endswith(_END)


def has_damaged_pixels(content: bytes) -> bool:
    """Whether the pixels of a PNG file aren't what its checksums say."""
    return any(
        kind == b"IDAT" and struct.pack(">I", zlib.crc32(kind + data)) != checksum
        for kind, data, checksum in _png_chunks(content)
        if len(checksum) == 4
    )


def _has_all_scans(content: bytes) -> bool:
    """Whether a JPEG's scans tell all of each of its coefficients, as the last one of a progressive JPEG does
    and one before it doesn't."""
    left: dict[int, set[int]] = {}
    for marker, segment in _jpeg_segments(content):
        if 0xC0 <= marker <= 0xC2:
            left = {segment[6 + 3 * k]: set(range(64)) for k in range(segment[5])}
        elif marker == 0xDA:
            count = segment[0]
            first, last, bits = segment[1 + 2 * count], segment[2 + 2 * count], segment[3 + 2 * count] & 15
            for k in range(count if not bits else 0):
                left.get(segment[1 + 2 * k], set()).difference_update(range(first, last + 1))
    return bool(left) and not any(left.values())


def _jpeg_segments(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Marker and content of the segments of a JPEG, between its scans, too."""
    place = 2
    while found := re.compile(rb"\xff([\xc0-\xc4\xda\xdb\xdd])").search(content, place):
        length = int.from_bytes(content[found.end() : found.end() + 2], "big")
        segment = content[found.end() + 2 : found.end() + length]
        if len(segment) < max(4, length - 2):
            return
        yield found[1][0], segment
        place = found.end() + length


def _mended_png(content: bytes) -> bytes:
    kept = [_PNG]
    for kind, data, checksum in _png_chunks(content):
        if kind in _PIXEL_CHUNKS:
            kept.append(_png_chunk(kind, data, checksum))
        elif kind == b"eXIf" and (note := _orientation_note(data)):
            kept.append(_png_chunk(b"eXIf", note.removeprefix(b"Exif\0\0"), None))
    return b"".join(kept)


def _png_chunks(content: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    place = len(_PNG)
    while place + 12 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, place)
        end = place + 8 + length
        yield kind, content[place + 8 : end], content[end : end + 4]
        place = end + 4


def _png_chunk(kind: bytes, data: bytes, checksum: bytes | None) -> bytes:
    if checksum is None:
        checksum = struct.pack(">I", zlib.crc32(kind + data))
    return struct.pack(">I", len(data)) + kind + data + checksum


def _mended_jpeg(content: bytes) -> bytes:
    """Without the segments before the pixels that say nothing about them."""
    kept, place = [content[:2]], 2
    while place + 4 <= len(content):
        if content[place] != 0xFF:  # damaged: go on at the next marker of a segment that is needed
            found = re.compile(rb"\xff[\xc0-\xc4\xdb\xda\xdd]").search(content, place)
            if found is None:
                break
            place = found.start()
        marker = content[place + 1]
        if marker == 0xFF or marker in _WITHOUT_LENGTH:
            place += 1 if marker == 0xFF else 2
            continue
        if marker == 0xDA:  # pixels from here on
            return b"".join(kept) + content[place:]
        end = place + 2 + int.from_bytes(content[place + 2 : place + 4], "big")
        segment = content[place:end]
        if marker == _EXIF:
            note = _orientation_note(segment[4:])
            kept += [b"\xff\xe1" + struct.pack(">H", len(note) + 2) + note] if note else []
        elif marker == _ADOBE or not (0xE0 <= marker <= 0xEF or marker == 0xFE):
            kept.append(segment)
        place = end
    return content


def _orientation_note(exif: bytes) -> bytes:
    """EXIF data that say how the photo is turned and nothing else; b"" if `exif` doesn't say it."""
    found, made = Image.Exif(), Image.Exif()
    try:
        found.load(exif)
        made[ExifTags.Base.Orientation] = int(found[ExifTags.Base.Orientation])
        return made.tobytes()
    except UNREADABLE:  # they are left out
        return b""
