"""The files in a folder, a .tar (plain, gzip, bzip2, xz) or a .zip: which there are, and which are no photos.

No more is read of a file than its first bytes, and of those only where the suffix doesn't tell what it is.
"""

import hashlib
import json
import math
import os
import posixpath
import stat
import struct
import tarfile
import uuid
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import IO, Literal

from redoseg.data.archive import DAMAGED, Entry, decompressor, open_tar, read_from_zip, status_stamp
from redoseg.data.formats import HEAD, IMAGE_SUFFIXES, OTHER_SUFFIXES, RAW_SUFFIXES, sniff
from redoseg.errors import DataError

_INDEX_FORMAT = 3
_LARGEST = 1 << 30  # bytes of a member, which is read whole; a larger one is left out: it is no photo
_UNICODE_NAME = 0x7075  # the extra field of a zip in which a name stands in UTF-8
_NO_PHOTOS = {".git", ".hg", ".svn", ".venv", ".cache"}  # hidden folders in which nobody keeps photos
_JUNK = {"thumbs.db", "desktop.ini", "ehthumbs.db"}  # what Windows puts into folders
_LINKS = (tarfile.LNKTYPE, tarfile.SYMTYPE)
_FILES = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)


@dataclass
class Files:
    """Regular files, and the paths of those that were left out, by the reason."""

    entries: list[Entry] = field(default_factory=list)
    left_out: dict[str, list[str]] = field(default_factory=dict)

    def leave_out(self, reason: str, path: str) -> None:
        """Note a file that isn't among the entries."""
        self.left_out.setdefault(reason, []).append(path)


def suffix_of(path: str) -> str:
    """The suffix of a posix path in lower case, with its dot."""
    return posixpath.splitext(path)[1].lower()


def list_folder(root: Path) -> Files:
    """All files below `root`, also through links, without hidden ones, of which photos are counted as left
    out. OSError if `root` can't be read."""
    files = Files()
    status = os.stat(root)
    pending = [("", frozenset({(status.st_dev, status.st_ino)}))]
    while pending:
        folder, above = pending.pop()
        for name in _list_names(root, folder, files):
            path = f"{folder}{name}"
            wanted = _is_wanted(path, files)
            if not wanted and not _may_hide_photos(path):
                continue
            try:
                status = os.stat(root / path)  # that of scandir knows no folder's number on Windows
            except OSError:  # a link to nowhere: listed, so that it is named when it doesn't open
                files.entries += [Entry(str(root), path, 0, 0)] if wanted else []
                continue
            itself = (status.st_dev, status.st_ino)
            if not wanted and not stat.S_ISDIR(status.st_mode):
                continue
            if stat.S_ISREG(status.st_mode):
                files.entries.append(file_entry(str(root), path, status))
            elif stat.S_ISDIR(status.st_mode) and itself not in above:  # a link can lead back up
                pending.append((f"{path}/", above | {itself}))
            elif not stat.S_ISDIR(status.st_mode):
                files.leave_out("no regular files", path)
    return files


def file_entry(folder: str, path: str, status: os.stat_result) -> Entry:
    """The entry of a file at `path` in `folder`; its first bytes are read if its suffix doesn't tell."""
    entry = Entry(folder, path, status.st_size, status_stamp(status))
    if _says_nothing(path):
        try:
            with entry.open() as file:
                return entry.looking_like(sniff(file.read(HEAD)))
        except OSError:
            return entry
    return entry


def _says_nothing(path: str) -> bool:
    return suffix_of(path) not in IMAGE_SUFFIXES | OTHER_SUFFIXES | RAW_SUFFIXES


def _list_names(root: Path, folder: str, files: Files) -> list[str]:
    try:
        return os.listdir(root / folder)
    except OSError as error:
        if not folder:
            raise
        if not _is_hidden(folder):
            files.leave_out(f"folders that can't be read: {error.strerror}", folder)
        return []


def list_archive(path: Path, index: Path | None = None) -> Files:
    """All regular files in a tar or zip, as an unpacker would give them; the list is kept in the folder
    `index` for the next time. DataError if it is no such archive or damaged, OSError if it can't be read."""

    def encode_members() -> bytes:
        found = _list_members(path)
        return json.dumps([[astuple(entry)[1:] for entry in found.entries], found.left_out]).encode()

    rows, left_out = json.loads(indexed(index, path, "entries", encode_members))
    return Files([Entry(str(path), *row) for row in rows], left_out)


def indexed(index: Path | None, path: Path, what: str, make: Callable[[], bytes]) -> bytes:
    """What `make` reads from the archive `path`, kept in the folder `index`, if one is given, as long as the
    archive's path and `status_stamp` are the same. DataError if `index` can't be written to."""
    if index is None:
        return make()
    status = path.stat()
    key = f"{_INDEX_FORMAT} {what} {path.resolve()} {status_stamp(status)}"
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


def _list_members(path: Path) -> Files:
    files, found = Files(), dict[str, Entry]()
    try:
        for entry in _list_zip(path, files) if zipfile.is_zipfile(path) else _list_tar(path, files):
            found[entry.path] = entry  # of two members of one name the later one counts, as when unpacked
    except (*DAMAGED, struct.error) as error:
        raise DataError(f"{path} is no folder, image or sound .tar or .zip: {error}") from error
    for entry in found.values():
        if entry.size > _LARGEST:
            files.leave_out("larger than a gigabyte", entry.path)
        elif _is_wanted(entry.path, files):
            files.entries.append(entry)
    return files


def _is_wanted(path: str, files: Files) -> bool:
    """Whether a path is neither hidden nor what systems add to folders; hidden photos are counted."""
    if _is_junk(path):
        return False
    if not _is_hidden(path):
        return True
    if suffix_of(path) in IMAGE_SUFFIXES:
        files.leave_out("hidden", path)
    return False


def _is_junk(path: str) -> bool:
    parts = path.split("/")
    return (
        "__MACOSX" in parts
        or parts[-1] in _NO_PHOTOS
        or parts[-1].startswith("._")
        or parts[-1].lower() in _JUNK
    )


def _is_hidden(path: str) -> bool:
    return any(part.startswith(".") for part in path.split("/"))


def _may_hide_photos(path: str) -> bool:
    """Whether a path that isn't wanted may be that of a folder with photos to be counted."""
    return not _is_junk(path) and suffix_of(path) not in IMAGE_SUFFIXES


def _clean_path(path: str) -> str:
    """The path at which an unpacker puts a member: inside the folder it unpacks to. "" for none."""
    inside = posixpath.normpath(f"/{path}").lstrip("/")
    return "" if inside == "." else inside


def _list_tar(path: Path, files: Files) -> Iterator[Entry]:
    kind: Literal["packed", "tar"] = "tar" if decompressor(path) is None else "packed"
    links: list[tuple[str, str]] = []
    by_name: dict[str, Entry] = {}
    with open_tar(str(path)) as file, tarfile.open(fileobj=file, mode="r:") as tar:
        while (member := tar.next()) is not None:
            tar.members.clear()  # type: ignore[attr-defined]  # else it would keep all members
            name = _clean_path(member.name)
            if not name or member.isdir():
                continue
            if member.type in _LINKS:
                folder = posixpath.dirname(member.name) if member.type == tarfile.SYMTYPE else ""
                links.append((name, _inside(folder, member.linkname)))
            elif member.type not in _FILES or member.issparse():
                files.leave_out("no regular files", name)
            else:
                entry = Entry(str(path), name, member.size, _whole(member.mtime), kind, member.offset_data)
                by_name[name] = entry.looking_like(_sniff_member(file, entry))
                yield by_name[name]
    yield from _follow(links, by_name, files)


def _whole(time: float) -> int:
    return int(time) if math.isfinite(time) else 0


def _sniff_member(file: IO[bytes], entry: Entry) -> str | None:
    if not _says_nothing(entry.path):
        return None
    file.seek(entry.offset)
    return sniff(file.read(min(HEAD, entry.size)))


def _inside(folder: str, link: str) -> str:
    """The member that a link in `folder` leads to; "" if it leads out of the archive."""
    target = posixpath.normpath(posixpath.join(folder, link))
    return "" if target.startswith(("/", "..")) else _clean_path(target)


def _follow(links: list[tuple[str, str]], found: dict[str, Entry], files: Files) -> Iterator[Entry]:
    """Links to members are those members, under the link's name; others are left out."""
    targets = dict(links)
    for name, target in links:
        seen = {name}
        while target in targets and target not in found and target not in seen:
            seen.add(target)
            target = targets[target]
        if target in found:
            yield found[target].called(name)
        else:
            files.leave_out("links to outside of the archive", name)


def _list_zip(path: Path, files: Files) -> Iterator[Entry]:
    links: list[tuple[str, str]] = []
    by_name: dict[str, Entry] = {}
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        given = {member.filename for member in members}
        for member in members:
            written = _zip_name(member)
            unix = written.replace("\\", "/")
            name = _clean_path(written if unix in given else unix)
            if not name or member.is_dir() or unix.endswith("/"):
                continue
            where = (member.header_offset, member.compress_size)
            entry = Entry(str(path), name, member.file_size, member.CRC, "zip", *where)
            if stat.S_ISLNK(member.external_attr >> 16):
                try:
                    target = read_from_zip(entry) if entry.size < 4096 else b""
                except DataError:
                    files.leave_out("damaged links", name)
                    continue
                folder = posixpath.dirname(name)
                links.append((name, _inside(folder, target.decode("utf-8", "surrogateescape"))))
            else:
                by_name[name] = entry.looking_like(_sniff_zipped(entry))
                yield by_name[name]
    yield from _follow(links, by_name, files)


def _sniff_zipped(entry: Entry) -> str | None:
    if not _says_nothing(entry.path) or entry.size > _LARGEST:
        return None
    try:
        return sniff(read_from_zip(entry)[:HEAD])
    except DataError:
        return None


def _zip_name(member: zipfile.ZipInfo) -> str:
    """The name in UTF-8 that a zip may state beside an old one whose letters outside ASCII are guesses."""
    extra = member.extra
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<HH", extra)
        if kind == _UNICODE_NAME and length > 5:
            return extra[9 : 4 + length].decode("utf-8", "replace")
        extra = extra[4 + length :]
    return member.filename
