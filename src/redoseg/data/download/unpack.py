"""Archives of strangers, unpacked so that nothing lands outside the folder and nothing is left half done."""

import os
import shutil
import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePath, PurePosixPath

from redoseg.errors import DataError, first_line

_BROKEN = (tarfile.TarError, EOFError, zlib.error)


def unpack(archive: Path, folder: Path, places: Mapping[str, str]) -> None:
    """Put what `places` names (path in the tar -> path in `folder`) into `folder`, each whole or not at all.

    What is there already stays as it is. DataError if the archive is broken, lacks one of them, or
    holds anything, needed or not, that could reach outside: an absolute path, `..`, a link, a device.
    """
    aside = folder / f".{archive.name}.{os.getpid()}"
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
                if any(path == name or name in path.parents for name in wanted) and _is_content(path):
                    tar.extract(member, into, filter="data")
    except _BROKEN as error:
        raise DataError(f"{archive} is not a whole archive ({first_line(error)})") from error


def _check_member(member: tarfile.TarInfo, archive: Path) -> PurePosixPath:
    """The member's path. tarfile's filter would mend absolute paths in silence and allow links within."""
    path = PurePosixPath(member.name)
    outside = path.is_absolute() or ".." in path.parts or "\\" in member.name or PurePath(member.name).drive
    if not outside and (member.isfile() or member.isdir()):
        return path
    kind = "a path outside the folder" if outside else "a link" if _is_link(member) else "a device"
    raise DataError(
        f"{archive} holds {kind}, {member.name!r}, which a data set has no use for: nothing was unpacked; "
        "delete the file and get it from its owner"
    )


def _is_link(member: tarfile.TarInfo) -> bool:
    return member.issym() or member.islnk()


def _is_content(path: PurePosixPath) -> bool:
    """Not what a Mac puts beside each file: named as a photo, but none."""
    return not path.name.startswith("._")
