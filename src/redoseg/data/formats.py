"""Which files are images: by their suffix, or by their first bytes where the suffix says nothing."""

import re
import struct
import zlib
from importlib import import_module
from importlib.util import find_spec

from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    CurImagePlugin,
    DdsImagePlugin,
    GifImagePlugin,
    IcnsImagePlugin,
    IcoImagePlugin,
    Image,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    MpoImagePlugin,
    PcxImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    PsdImagePlugin,
    QoiImagePlugin,
    SgiImagePlugin,
    TgaImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)  # fmt: skip


def _suffixes(words: str) -> frozenset[str]:
    return frozenset(f".{word}" for word in words.split())


IMAGE_SUFFIXES = _suffixes(
    "jpg jpeg jpe jfif jif png apng webp tif tiff bmp dib gif avif avifs heic heif hif jp2 j2k "
    "jpx mpo ppm pgm pbm pnm tga ico icns pcx sgi rgb psd qoi dds cur"
)
# Files that nobody takes for photos: their first bytes are not looked at.
OTHER_SUFFIXES = _suffixes(
    "txt csv tsv json jsonl xml html htm md rst py ipynb yaml yml toml ini log db sqlite zip tar "
    "gz bz2 xz tgz 7z rar npy npz mat h5 hdf5 pt pth ckpt onnx safetensors pkl pdf doc docx xls "
    "xlsx mp4 mov avi mkv webm mp3 wav m4a xmp aae url svg eps ai sh bat exe"
)
# Camera raw, of which Pillow could read no more than a preview.
RAW_SUFFIXES = _suffixes("cr2 cr3 nef arw dng raf orf rw2 pef srw")
# A mask must be stored without loss.
MASK_SUFFIXES = _suffixes("png apng tif tiff bmp dib gif ppm pgm pbm pnm tga pcx")

HEIC = "HEIC"
NO_HEIC = "in HEIC, which needs pillow-heif: pip install 'redoseg[heic]'"

# Imported above because Pillow would import them on first use, which several threads must not do at once.
_PLUGINS = (
    AvifImagePlugin, BmpImagePlugin, CurImagePlugin, DdsImagePlugin, GifImagePlugin, IcnsImagePlugin,
    IcoImagePlugin, Jpeg2KImagePlugin, JpegImagePlugin, MpoImagePlugin, PcxImagePlugin, PngImagePlugin,
    PpmImagePlugin, PsdImagePlugin, QoiImagePlugin, SgiImagePlugin, TgaImagePlugin, TiffImagePlugin,
    WebPImagePlugin,
)  # fmt: skip
# No others: some (EPS, WMF) start programs, and some only know the size of what they can't read.
_FORMATS = (
    *("JPEG", "PNG", "WEBP", "TIFF", "BMP", "DIB", "GIF", "AVIF", "JPEG2000", "PPM", "TGA", "ICO"),
    *("ICNS", "CUR", "PCX", "SGI", "PSD", "QOI", "DDS"),
)
# What Pillow raises for damaged files; `Warning` where warnings are made errors, as in the tests.
UNREADABLE = (
    *(OSError, EOFError, SyntaxError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError),
    *(RuntimeError, MemoryError, struct.error, zlib.error, Image.DecompressionBombError, Warning),
)
HEAD = 32  # bytes that tell what a file is
# Of formats that are known from their first bytes alone; the others are found by their suffix.
_HEADS = tuple(
    (name, re.compile(pattern, re.DOTALL))
    for name, pattern in (
        ("JPEG", rb"\xff\xd8\xff"),
        ("PNG", rb"\x89PNG\r\n\x1a\n"),
        ("GIF", rb"GIF8[79]a"),
        ("WEBP", rb"RIFF....WEBP"),
        ("TIFF", rb"II[*+]\0|MM\0[*+]"),
        ("BMP", rb"BM....\0\0\0\0....[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0"),
        ("PPM", rb"P[1-6][\s#]"),
        ("AVIF", rb"....ftypavi[fs]"),
        (HEIC, rb"....ftyp(?:hei[cxms]|hev[cxms]|mif1|msf1)"),
        ("JPEG2000", rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51\0"),
        ("PSD", rb"8BPS\0[\x01\x02]"),
        ("QOI", rb"qoif"),
        ("DDS", rb"DDS \x7c\0\0\0"),
    )
)


def sniff(head: bytes) -> str | None:
    """The name of the format that a file with these first `HEAD` bytes has; None for what is no image."""
    return next((name for name, pattern in _HEADS if pattern.match(head)), None)


def reads_heic() -> bool:
    """Whether HEIC photos can be read: pillow-heif is installed."""
    return find_spec("pillow_heif") is not None


def pillow_formats() -> tuple[str, ...]:
    """The formats that Pillow may try, HEIC among them if it can be read."""
    if not reads_heic():
        return _FORMATS
    if "HEIF" not in Image.OPEN:
        import_module("pillow_heif").register_heif_opener()
    return (*_FORMATS, "HEIF")
