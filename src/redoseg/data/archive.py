"""The files in a folder, a .tar (plain, gzip, bzip2, xz) or a .zip: listed once, then read by position.

Nothing is ever unpacked to disk. Links and special files in archives are ignored.
"""

import bz2
import gzip
import hashlib
import io
import json
import logging
import lzma
import os
import re
import stat
import struct
import tarfile
import uuid
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO, Literal

from redoseg.errors import DataError

_log = logging.getLogger("redoseg.data")

_INDEX_FORMAT = 1
_LARGEST = 1 << 30  # bytes of a member, which is read whole; a larger one is ignored: it is no photo
# What reading a damaged archive raises, apart from OSError
_DAMAGED = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, ValueError)
_LOCAL_HEADER = 30  # bytes of a zip member's own header before its name
_STORED, _DEFLATED, _ENCRYPTED = 0, 8, 1


@dataclass(frozen=True, slots=True)
class Entry:
    """One regular file: `path` is posix, relative to `source` (a folder or an archive)."""

    source: str
    path: str
    size: int
    stamp: int
    """A number that changes when the content does: the time of change, in a zip the checksum."""
    kind: Literal["file", "tar", "packed", "zip"] = "file"
    offset: int = 0
    """Where the content starts in a tar (in the uncompressed one), or the member's header in a zip."""
    packed: int = 0
    """Bytes that a zip's member takes up, compressed."""

    def open(self) -> BinaryIO:
        """The content, to be read from any thread. OSError if it can't be read, DataError if it is damaged.
        In a compressed tar all that comes before is decompressed, too: read many with `read_in_order`."""
        if self.kind == "file":
            return open(os.path.join(self.source, self.path), "rb")
        if self.kind == "zip":
            return io.BytesIO(_read_from_zip(self))
        with _open_tar(self.source) as file:
            return io.BytesIO(_read_from_tar(file, self))


def read_in_order(entries: Iterable[Entry]) -> Iterator[tuple[Entry, bytes]]:
    """Entries of one compressed tar with their contents, in the archive's order: it is read in one pass."""
    ordered = sorted(entries, key=lambda entry: entry.offset)
    if not ordered:
        return
    with _open_tar(ordered[0].source) as file:
        for entry in ordered:
            yield entry, _read_from_tar(file, entry)


def list_folder(root: Path) -> list[Entry]:
    """All files below `root`, also through links, without hidden ones. OSError if `root` can't be read."""
    entries: list[Entry] = []
    pending: list[tuple[str, frozenset[tuple[int, int]]]] = [("", frozenset())]
    while pending:
        folder, above = pending.pop()
        for item in _list_items(root, folder):
            path = f"{folder}{item.name}"
            try:
                status = item.stat()
            except OSError:  # a link to nowhere: listed, so that it is named when it doesn't open
                entries.append(Entry(str(root), path, 0, 0))
                continue
            itself = (status.st_dev, status.st_ino)
            if stat.S_ISREG(status.st_mode):
                entries.append(Entry(str(root), path, status.st_size, status.st_mtime_ns))
            elif stat.S_ISDIR(status.st_mode) and itself not in above:  # a link can lead back up
                pending.append((f"{path}/", above | {itself}))
    return entries


def _list_items(root: Path, folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(root / folder) as found:
            return [item for item in found if _is_wanted(item.name)]
    except OSError as error:
        if not folder:
            raise
        _log.warning("%s can't be read and is left out: %s", root / folder, error.strerror)
        return []


def list_archive(path: Path, index: Path | None = None) -> list[Entry]:
    """All regular files in a tar or zip; the list is kept in the folder `index` for the next time. DataError
    if it is no such archive or damaged, OSError if it can't be read."""

    def encode_members() -> bytes:
        return json.dumps([astuple(entry)[1:] for entry in _list_members(path)]).encode()

    return [Entry(str(path), *row) for row in json.loads(indexed(index, path, "entries", encode_members))]


def indexed(index: Path | None, path: Path, what: str, make: Callable[[], bytes]) -> bytes:
    """What `make` reads from the archive `path`, kept in the folder `index`, if one is given, as long as the
    archive's path, size and time of change are the same. DataError if `index` can't be written to."""
    if index is None:
        return make()
    status = path.stat()
    key = f"{_INDEX_FORMAT} {what} {path.resolve()} {status.st_size} {status.st_mtime_ns}"
    file = index / f"{hashlib.sha256(key.encode(errors='surrogateescape')).hexdigest()[:32]}.index"
    if file.is_file():
        return file.read_bytes()
    content = make()
    try:
        index.mkdir(parents=True, exist_ok=True)
        aside = index / f"{uuid.uuid4().hex}.index.part"
        aside.write_bytes(content)
        os.replace(aside, file)  # whole or not at all, also when the process is killed
    except OSError as error:
        raise DataError(
            f"{index} can't be written to ({error.strerror}): choose another --cache DIR"
        ) from error
    return content


def _list_members(path: Path) -> list[Entry]:
    try:
        members = list(_list_zip(path) if zipfile.is_zipfile(path) else _list_tar(path))
    except _DAMAGED as error:
        raise DataError(f"{path} is no folder, image or sound .tar or .zip: {error}") from error
    # of two members of one name the later one counts, as when unpacked
    wanted = {entry.path: entry for entry in members if _is_wanted(entry.path)}
    return [entry for entry in wanted.values() if entry.size <= _LARGEST]


def _is_wanted(path: str) -> bool:
    """Whether a path is neither hidden, nor outside (`..`), nor what macOS adds to archives."""
    return not any(part.startswith(".") or part in ("", "__MACOSX") for part in path.split("/"))


def _clean_path(path: str) -> str:
    return path.removeprefix("./").lstrip("/")


def _list_tar(path: Path) -> Iterator[Entry]:
    kind: Literal["packed", "tar"] = "tar" if _decompressor(path) is None else "packed"
    with _open_tar(str(path)) as file, tarfile.open(fileobj=file, mode="r:") as tar:
        while (member := tar.next()) is not None:
            tar.members.clear()  # type: ignore[attr-defined]  # else it would keep all members
            if member.type in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE) and not member.issparse():
                name = _clean_path(member.name)
                yield Entry(str(path), name, member.size, int(member.mtime), kind, member.offset_data)


def _list_zip(path: Path) -> Iterator[Entry]:
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if not member.is_dir() and not stat.S_ISLNK(member.external_attr >> 16):
                name = _clean_path(member.filename.replace("\\", "/"))
                where = (member.header_offset, member.compress_size)
                yield Entry(str(path), name, member.file_size, member.CRC, "zip", *where)


def _decompressor(path: str | Path) -> Callable[..., IO[bytes]] | None:
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


def _open_tar(path: str | Path) -> IO[bytes]:
    """The tar as a file, decompressed while it is read."""
    return (_decompressor(path) or open)(path, "rb")


def _read_from_tar(file: IO[bytes], entry: Entry) -> bytes:
    try:
        file.seek(entry.offset)
        content = file.read(entry.size)
    except (OSError, *_DAMAGED) as error:
        raise DataError(f"{entry.source} is damaged: {error}") from error
    if len(content) != entry.size:
        raise DataError(f"{entry.source} is cut short")
    return content


def _read_from_zip(entry: Entry) -> bytes:
    """Read one member by its position; `zipfile` would read the whole table of contents for each."""
    with open(entry.source, "rb") as file:
        file.seek(entry.offset)
        header = file.read(_LOCAL_HEADER)
        if len(header) < _LOCAL_HEADER or header[:4] != b"PK\x03\x04":
            raise DataError(f"{entry.source} is damaged")
        flags, method = struct.unpack_from("<HH", header, 6)
        file.seek(sum(struct.unpack_from("<HH", header, 26)), os.SEEK_CUR)
        content = file.read(entry.packed)
    if flags & _ENCRYPTED or method not in (_STORED, _DEFLATED):
        raise DataError("encrypted, or compressed in an unusual way: zip it again with plain settings")
    try:
        if method == _DEFLATED:  # one byte more than the entry says is enough to see that it's wrong
            content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(content, entry.size + 1)
    except zlib.error as error:
        raise DataError(f"damaged in the archive: {error}") from error
    if len(content) != entry.size or zlib.crc32(content) != entry.stamp:
        raise DataError("damaged in the archive: the checksum is wrong")
    return content
