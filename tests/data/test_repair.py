"""Pixels that every viewer shows are read, whatever is wrong with the notes around them."""

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from redoseg.data import loading
from redoseg.data.images import decode_image
from redoseg.errors import DataError

PHOTO = Image.effect_noise((64, 48), 80).convert("RGB").resize((96, 72))


def encoded(kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    PHOTO.save(file, kind, **options)
    return file.getvalue()


def jpeg(**options: object) -> bytes:
    return encoded("JPEG", quality=95, **options)


def with_segment(content: bytes, marker: int, data: bytes) -> bytes:
    return content[:2] + bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data + content[2:]


def with_chunk(content: bytes, kind: bytes, data: bytes, *, broken: bool = False) -> bytes:
    checksum = zlib.crc32(kind + data) ^ broken
    chunk = struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)
    return content[:33] + chunk + content[33:]


HUGE = zlib.compress(bytes(3_000_000))
TURNED = Image.Exif()
TURNED[0x0112] = 6
SOUND: dict[str, Callable[[], bytes]] = {
    "jpeg without its last two bytes": lambda: jpeg()[:-2],
    "jpeg without its last byte": lambda: jpeg()[:-1],
    "progressive jpeg without its last two bytes": lambda: jpeg(progressive=True)[:-2],
    "jpeg followed by zeros": lambda: jpeg() + bytes(50),
    "jpeg, damaged exif": lambda: with_segment(jpeg(), 0xE1, b"Exif\0\0MM\0*\0\0\xff\xff" + bytes(30)),
    "jpeg, damaged multi-picture note": lambda: with_segment(jpeg(), 0xE2, b"MPF\0II*\0\xff\xff\xff\xff"),
    "jpeg, damaged colour profile": lambda: with_segment(jpeg(), 0xE2, b"ICC_PROFILE\0\1\5" + bytes(40)),
    "jpeg, damaged photoshop note": lambda: with_segment(jpeg(), 0xED, b"Photoshop 3.0\x008BIM\xff\xff\xff"),
    "png, huge text": lambda: with_chunk(encoded("PNG"), b"zTXt", b"history\0\0" + HUGE),
    "png, huge international text": lambda: with_chunk(encoded("PNG"), b"iTXt", b"a\0\1\0\0\0" + HUGE),
    "png, huge colour profile": lambda: with_chunk(encoded("PNG"), b"iCCP", b"profile\0\0" + HUGE),
    "png, note with a wrong checksum": lambda: with_chunk(encoded("PNG"), b"tEXt", b"a\0b", broken=True),
    "png, damaged exif": lambda: with_chunk(encoded("PNG"), b"eXIf", b"MM\0*\xff\xff\xff\xff"),
    "png without its end": lambda: encoded("PNG")[:-12],
}


@pytest.mark.parametrize("name", SOUND)
@pytest.mark.filterwarnings("ignore:::PIL")
def test_sound_pixels_are_read(name: str) -> None:
    expected = decode_image(io.BytesIO(jpeg() if name.startswith("jpeg") else encoded("PNG")))
    if name.startswith("progressive"):
        expected = decode_image(io.BytesIO(jpeg(progressive=True)))
    assert np.array_equal(np.asarray(decode_image(io.BytesIO(SOUND[name]()))), np.asarray(expected))


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.filterwarnings("ignore:::PIL")
def test_a_photo_of_damaged_notes_is_still_upright(kind: str) -> None:
    content = encoded(kind, exif=TURNED)
    damaged = content[:-2] if kind == "JPEG" else with_chunk(content, b"zTXt", b"a\0\0" + HUGE)
    shown = decode_image(io.BytesIO(damaged))
    assert shown.size == (72, 96)
    assert np.array_equal(np.asarray(shown), np.asarray(decode_image(io.BytesIO(content))))


@pytest.mark.parametrize("lost", [3, 40, 400, 4000])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_that_lacks_pixels_is_refused(lost: int, progressive: bool) -> None:
    with pytest.raises(DataError, match="truncated"):
        decode_image(io.BytesIO(jpeg(progressive=progressive)[: -2 - lost]))


@pytest.mark.parametrize("lost", [60, 2000])
def test_a_png_that_lacks_pixels_is_refused(lost: int) -> None:
    with pytest.raises(DataError):
        decode_image(io.BytesIO(encoded("PNG")[:-lost]))


def test_a_file_without_bytes_says_so() -> None:
    with pytest.raises(DataError, match="empty: it has no bytes"):
        decode_image(io.BytesIO(b""))


def test_a_heic_photo_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("redoseg.data.loading.reads_heic", lambda: False)
    heic = struct.pack(">I", 24) + b"ftypheic" + b"\0\0\0\0" + b"mif1heic" + b"\0" * 64
    with pytest.raises(DataError, match=r"pip install 'redoseg\[heic\]'"):
        decode_image(io.BytesIO(heic))


@pytest.mark.parametrize("share", [0.1, 0.3, 0.6, 0.9])
@pytest.mark.parametrize("filling", [b"\xff", b"\0", b"\xff\0", b""])
@pytest.mark.parametrize("progressive", [False, True])
def test_what_fills_up_a_cut_file_is_no_pixels(share: float, filling: bytes, progressive: bool) -> None:
    """As recovered cards have it, and wherever it was cut: behind a byte of 255, between two scans."""
    content = jpeg(progressive=progressive)
    start = content.index(b"\xff\xda")
    cuts = [start + int(share * (len(content) - start))]
    cuts += [content.index(b"\xff", cuts[0]) + 1] if b"\xff" in content[cuts[0] : -2] else []
    scans = [place for place in range(start + 9, len(content)) if content[place : place + 2] == b"\xff\xc4"]
    for cut in cuts + (scans if share == 0.1 else []):
        with pytest.raises(DataError):
            decode_image(io.BytesIO(content[:cut] + filling * 3000))


def test_a_large_damaged_photo_waits_for_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the memory that all threads share it takes its part once."""
    monkeypatch.setattr(loading, "_pixels", loading.Budget(96 * 72))
    assert decode_image(io.BytesIO(jpeg()[:-2])).size == (96, 72)
    with pytest.raises(DataError, match="truncated"):
        decode_image(io.BytesIO(jpeg()[:-900]))
