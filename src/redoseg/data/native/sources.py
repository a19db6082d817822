"""The paper's sets as their owners distribute them: DATA `flowers:DIR`, `lfw:DIR`, `cub:DIR`.

DIR is a folder, which may hold links. The owners' archives have to be unpacked first.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from redoseg.data.folder import FolderListing, check_exists, scan
from redoseg.data.image_ref import ImageRef
from redoseg.data.mask_files import MaskRule
from redoseg.data.native import cub, flowers, lfw
from redoseg.errors import DataError
from redoseg.files import expanded


class Reader(Protocol):
    """What a module that reads one set has; `root` is an absolute folder, and images and masks go by name."""

    NAME: str
    EXAMPLE: str
    """The path of a photo in the folder, for messages."""
    ARCHIVE: str
    """The owner's archive of the photos."""
    RULE: MaskRule

    def find_photos(self, root: Path) -> dict[str, ImageRef]:
        """The photos in `root`, all of them or some, sorted by name."""

    def find_masks(self, root: Path) -> dict[str, ImageRef]:
        """The masks in `root`, by the names of their photos."""

    def find_splits(
        self, root: Path, images: Mapping[str, ImageRef], masks: Mapping[str, ImageRef]
    ) -> dict[str, str]:
        """The split of every image, or {} if all are 'train'. What isn't the paper's split is a warning."""

    def find_missing(self, root: Path) -> list[str]:
        """What `root` lacks of the whole set, in lines that say what to do. DataError for broken lists."""


_READERS: Mapping[str, Reader] = {flowers.NAME: flowers, lfw.NAME: lfw, cub.NAME: cub}
NAMES = tuple(_READERS)


def parse_native(source: str | Path) -> tuple[str, Path] | None:
    """Name and folder of DATA like `lfw:DIR`; None for a path, such as `./lfw:DIR` or any Path."""
    name, _, folder = str(source).partition(":")
    if isinstance(source, Path) or not folder or name not in _READERS:
        return None
    return name, expanded(folder)  # a shell leaves ~ alone after a colon


def absolute_source(source: str | Path) -> str | Path:
    """The same DATA for another working directory: an absolute Path, or `lfw:DIR` with an absolute DIR."""
    native = parse_native(source)
    return expanded(source).absolute() if native is None else f"{native[0]}:{native[1].absolute()}"


def list_source(source: str | Path, *, sidecars: bool = True, index: Path | None = None) -> FolderListing:
    """The images of one DATA but drawn scenes: `scan` of a path, `list_images` of NAME:DIR. DataError."""
    native = parse_native(source)
    if native is None:
        return scan(source, sidecars=sidecars, index=index)
    return list_images(*native, sidecars=sidecars)


def check_source(source: str | Path) -> None:
    """DataError if there is no such DATA on the disk. Nothing of it is read."""
    native = parse_native(source)
    if native is None:
        check_exists(source)
    else:
        _folder(*native)


def list_images(name: str, root: str | Path, *, sidecars: bool = True) -> FolderListing:
    """The images of the set `name` in the folder `root`, all of them or some; no image is read.

    `sidecars`: list masks and splits, too. Splits that aren't the paper's are a warning. DataError, of one
    line, if the folder isn't there or isn't the set's, or if its lists are broken.
    """
    reader, folder = _READERS[name], _folder(name, root)
    images = reader.find_photos(folder)
    if not images:
        raise DataError(f"{folder} holds no {reader.EXAMPLE}: unpack {reader.ARCHIVE} there")
    refs = list(images.values())
    if not sidecars:
        return FolderListing(folder, refs, native=name)
    masks = {mask: ref for mask, ref in reader.find_masks(folder).items() if mask in images}
    return FolderListing(folder, refs, masks, reader.find_splits(folder, images, masks), name, reader.RULE)


def find_missing(name: str, root: str | Path) -> list[str]:
    """What `root` lacks of the whole set `name` or has that doesn't fit together; [] if it is complete. Each
    line says what to do. Files are counted and lists are read, but no image is."""
    try:
        return _READERS[name].find_missing(_folder(name, root))
    except DataError as error:
        return [str(error)]


def _folder(name: str, root: str | Path) -> Path:
    folder = Path(os.path.abspath(expanded(root)))
    if folder.is_file():
        raise DataError(f"{name}:{root} is a file: unpack it, and give the folder that it was unpacked to")
    if not folder.is_dir():
        raise DataError(f"there is no folder {root} for {name}: `redoseg data` says how to fetch it")
    return folder
