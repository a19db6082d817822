"""Unpacks an archive that isn't trusted: nothing is written outside the folder, and nothing is half done."""

import os
import shutil
import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePath, PurePosixPath

from redoseg.errors import DataError, first_line
from redoseg.files import aside_of

_BROKEN = (tarfile.TarError, EOFError, zlib.error)


def unpack(archive: Path, folder: Path, places: Mapping[str, str]) -> None:
    """Unpack the files and folders that `places` names (path in the tar -> path in `folder`).

    Each is there whole or not at all, and one that exists stays as it is. DataError if the archive is broken,
    lacks one of them, or holds anything, wanted or not, that could reach outside of the folder: an absolute
    path, `..`, a link or a device.
    """
    aside = aside_of(folder / archive.name)
    try:
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        _extract(archive, aside, [PurePosixPath(name) for name in places])
        for name in places:
            if not (aside / name).exists():
                raise DataError(f"{archive} holds no {name}: it is another archive than expected")
        for name, place in places.items():
            if not (folder / place).exists():
                (folder / place).parent.mkdir(parents=True, exist_ok=True)
                os.replace(aside / name, folder / place)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _extract(archive: Path, into: Path, wanted: list[PurePosixPath]) -> None:
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                path = _check_member(member, archive)
                # A Mac adds a `._` file for each file, and it has a photo's suffix.
                if any(path == name or name in path.parents for name in wanted) and not path.name.startswith(
                    "._"
                ):
                    tar.extract(member, into, filter="data")
    except _BROKEN as error:
        raise DataError(f"{archive} is not a whole archive ({first_line(error)})") from error


def _check_member(member: tarfile.TarInfo, archive: Path) -> PurePosixPath:
    """The member's path; DataError for one that isn't a plain file or folder within. tarfile's own filter
    would make absolute paths relative in silence and allow links."""
    path = PurePosixPath(member.name)
    outside = path.is_absolute() or ".." in path.parts or "\\" in member.name or PurePath(member.name).drive
    if not outside and (member.isfile() or member.isdir()):
        return path
    inside = "a link" if member.issym() or member.islnk() else "a device"
    kind = "a path outside the folder" if outside else inside
    raise DataError(
        f"{archive} holds {kind}, {member.name!r}, which a data set has no use for: nothing was unpacked; "
        "delete the file and get it from its owner"
    )
