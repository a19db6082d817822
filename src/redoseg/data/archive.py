"""One file in a folder, a .tar (plain, gzip, bzip2, xz) or a .zip, read by its place: nothing is unpacked."""

import bz2
import gzip
import hashlib
import io
import lzma
import os
import re
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, BinaryIO, Literal, Self

from redoseg.errors import DataError

# What reading a damaged archive raises, apart from OSError
DAMAGED = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    ValueError,
    OverflowError,
)
_LOCAL_HEADER = 30  # bytes of a zip member's own header before its name
_STORED, _DEFLATED, _ENCRYPTED = 0, 8, 1


@dataclass(frozen=True, slots=True)
class Entry:
    """One regular file: `path` is posix, relative to `source` (a folder or an archive)."""

    source: str
    path: str
    size: int
    stamp: int
    """A number that changes when the content does: the `status_stamp` of a file, in a tar the time of change,
    in a zip the checksum."""
    kind: Literal["file", "tar", "packed", "zip"] = "file"
    offset: int = 0
    """Where the content starts in a tar (in the uncompressed one), or the member's header in a zip."""
    packed: int = 0
    """Bytes that a zip's member takes up, compressed."""
    looks: str = ""
    """The format that its first bytes are of, where its suffix doesn't tell; else, and for no image, ""."""

    def looking_like(self, looks: str | None) -> Self:
        """The same file, with the format that its first bytes are of."""
        return replace(self, looks=looks or "")

    def called(self, path: str) -> Self:
        """The same file under another path."""
        return replace(self, path=path, looks="")

    def open(self) -> BinaryIO:
        """The content, to be read from any thread. OSError if it can't be read, DataError if it is damaged.
        In a compressed tar all that comes before is decompressed, too: read many with `read_in_order`."""
        if self.kind == "file":
            return open(os.path.join(self.source, self.path), "rb")
        if self.kind == "zip":
            return io.BytesIO(read_from_zip(self))
        with open_tar(self.source) as file:
            return io.BytesIO(_read_from_tar(file, self))


def read_in_order(entries: Iterable[Entry]) -> Iterator[tuple[Entry, bytes]]:
    """Entries of one compressed tar with their contents, in the archive's order: it is read in one pass."""
    ordered = sorted(entries, key=lambda entry: entry.offset)
    if not ordered:
        return
    with open_tar(ordered[0].source) as file:
        start, content = -1, b""
        for entry in ordered:
            if entry.offset != start:  # else it is a link to the file before
                start, content = entry.offset, _read_from_tar(file, entry)
            yield entry, content


def status_stamp(status: os.stat_result) -> int:
    """A number that changes whenever a file is written to or replaced, also if its size and time of change
    stay as they were: the file's place on the disk and the time that the system itself notes count, too."""
    facts = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return int.from_bytes(hashlib.blake2b(repr(facts).encode(), digest_size=8).digest(), "big")


def decompressor(path: str | Path) -> Callable[..., IO[bytes]] | None:
    """What opens a compressed tar, by its first bytes; None if it isn't compressed."""
    with open(path, "rb") as file:
        start = file.read(10)
    # all ten for bzip2: a plain tar starts with a file's name, which may well be BZ...
    known: tuple[tuple[bytes, Callable[..., Any]], ...] = (
        (rb"\x1f\x8b\x08", gzip.open),
        (rb"BZh[1-9]1AY&SY", bz2.open),
        (rb"\xfd7zXZ\x00", lzma.open),
    )
    return next((opens for magic, opens in known if re.match(magic, start, re.DOTALL)), None)


def open_tar(path: str | Path) -> IO[bytes]:
    """The tar as a file, decompressed while it is read."""
    return (decompressor(path) or open)(path, "rb")


def _read_from_tar(file: IO[bytes], entry: Entry) -> bytes:
    try:
        file.seek(entry.offset)
        content = file.read(entry.size)
    except (OSError, *DAMAGED) as error:
        raise DataError(f"{entry.source} is damaged: {error}") from error
    if len(content) != entry.size:
        raise DataError(f"{entry.source} is cut short")
    return content


def read_from_zip(entry: Entry) -> bytes:
    """Read one member by its position; `zipfile` would read the whole table of contents for each."""
    with open(entry.source, "rb") as file:
        file.seek(entry.offset)
        header = file.read(_LOCAL_HEADER)
        if len(header) < _LOCAL_HEADER or header[:4] != b"PK\x03\x04":
            raise DataError(f"{entry.source} is damaged")
        flags, method = struct.unpack_from("<HH", header, 6)
        file.seek(sum(struct.unpack_from("<HH", header, 26)), os.SEEK_CUR)
        if entry.packed > os.fstat(file.fileno()).st_size:
            raise DataError("damaged in the archive: it would be larger than the archive")
        content = file.read(entry.packed)
    if flags & _ENCRYPTED:
        raise DataError("encrypted: unpack the archive and give the folder")
    if method not in (_STORED, _DEFLATED):
        return _read_with_zipfile(entry)
    try:
        if method == _DEFLATED:  # one byte more than the entry says is enough to see that it's wrong
            content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(content, entry.size + 1)
    except zlib.error as error:
        raise DataError(f"damaged in the archive: {error}") from error
    if len(content) != entry.size or zlib.crc32(content) != entry.stamp:
        raise DataError("damaged in the archive: the checksum is wrong")
    return content


def _read_with_zipfile(entry: Entry) -> bytes:
    """As `read_from_zip`, for members that aren't deflated. It reads the archive's table of contents."""
    try:
        with zipfile.ZipFile(entry.source) as archive:
            member = next(one for one in archive.infolist() if one.header_offset == entry.offset)
            return archive.read(member)
    except NotImplementedError as error:
        raise DataError("compressed in an unusual way: unpack the archive and give the folder") from error
    except (*DAMAGED, StopIteration, OSError) as error:
        raise DataError(f"damaged in the archive: {error}") from error
