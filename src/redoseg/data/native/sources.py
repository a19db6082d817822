"""The paper's sets as their owners distribute them: DATA `flowers:DIR`, `lfw:DIR`, `cub:DIR`.

Folders only, links and all; what an owner packs has to be unpacked first.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from redoseg.data.folder import FolderListing, scan
from redoseg.data.native import cub, flowers, lfw
from redoseg.errors import DataError


class Reader(Protocol):
    """What each of this folder's files is."""

    def list_images(self, root: Path, *, sidecars: bool) -> FolderListing:
        """The images in the folder `root` (absolute); with `sidecars` masks and splits, too."""
        ...

    def find_missing(self, root: Path) -> list[str]:
        """What the folder `root` (absolute) lacks of the whole set, in lines that say what to do."""
        ...


_READERS: Mapping[str, Reader] = {flowers.NAME: flowers, lfw.NAME: lfw, cub.NAME: cub}
NAMES = tuple(_READERS)


def parse_native(source: str | Path) -> tuple[str, Path] | None:
    """Name and folder of DATA like `lfw:DIR`; None for a path, as every Path and `./lfw:DIR` is."""
    name, _, folder = str(source).partition(":")
    if isinstance(source, Path) or not folder or name not in _READERS:
        return None
    return name, Path(folder).expanduser()  # a shell leaves ~ alone after a colon


def absolute_source(source: str | Path) -> str | Path:
    """DATA for another working directory: `lfw:/all/of/DIR`, or a Path."""
    native = parse_native(source)
    return Path(source).absolute() if native is None else f"{native[0]}:{native[1].absolute()}"


def list_source(source: str | Path, *, sidecars: bool = True, index: Path | None = None) -> FolderListing:
    """The images of one DATA that is no drawn scene: `scan` of a path, `listing` of NAME:DIR. DataError."""
    native = parse_native(source)
    if native is None:
        return scan(source, sidecars=sidecars, index=index)
    return list_images(*native, sidecars=sidecars)


def list_images(name: str, root: str | Path, *, sidecars: bool = True) -> FolderListing:
    """The images of the set `name` in the folder `root`, all of them or some; no image is read.

    `sidecars`: look at masks and splits, too. How splits came about, if not as in the paper, is a warning.
    DataError (one line) for a folder that isn't the set's, or if its lists are broken.
    """
    return _READERS[name].list_images(_folder(name, root), sidecars=sidecars)


def find_missing(name: str, root: str | Path) -> list[str]:
    """What `root` lacks of the whole set `name`, or has that doesn't fit together; [] if it is complete.

    Each is a line that says what to do about it. Files are counted and lists read, no image is.
    """
    try:
        return _READERS[name].find_missing(_folder(name, root))
    except DataError as error:
        return [str(error)]


def _folder(name: str, root: str | Path) -> Path:
    folder = Path(os.path.abspath(Path(root).expanduser()))
    if folder.is_file():
        raise DataError(f"{name}:{root} is a file: unpack it, and give the folder that it was unpacked to")
    if not folder.is_dir():
        raise DataError(f"there is no folder {root} for {name}: `redoseg data` says how to fetch it")
    return folder
