"""Which files of a folder or an archive are images and which their masks, and which split an image is in."""

import csv
import hashlib
import io
import logging
import posixpath
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, TypeVar

from redoseg.data.archive import Entry, indexed, list_archive, list_folder
from redoseg.data.images import IMAGE_SUFFIXES, LABELS, MASK_SUFFIXES, MaskRule
from redoseg.errors import DataError

T = TypeVar("T")
_log = logging.getLogger("redoseg.data")
_ARCHIVE_SUFFIXES = {".tar", ".zip", ".gz", ".bz2", ".xz", ".tgz", ".tbz2", ".txz"}
_NAMED = 5  # examples in a warning


@dataclass(frozen=True, slots=True)
class ImageRef:
    """One image or mask: `name` is its relative path without the suffix, `suffix` as written: `.JPG`."""

    name: str
    suffix: str
    entry: Entry

    def open(self) -> BinaryIO:
        """The file, to be read from any thread. OSError or DataError if it can't be read."""
        return self.entry.open()


@dataclass(frozen=True)
class FolderListing:
    """The files of one source: images sorted by name, and their masks and splits by the names of images.

    `splits` has every image, or is empty, which means that all are 'train'. `native` is the name of a set in
    its owner's form (`redoseg.data.native.sources`), or "". `rule` says how a mask file becomes labels.
    """

    path: Path
    images: list[ImageRef]
    masks: dict[str, ImageRef] = field(default_factory=dict)
    splits: dict[str, str] = field(default_factory=dict)
    native: str = ""
    rule: MaskRule = LABELS

    @property
    def stem(self) -> str:
        """The set's name, or that of the folder, archive or image without the suffixes of its format."""
        if self.native:
            return self.native
        name = self.path.resolve().name
        if self.path.is_file():
            while _suffix(name).lower() in _ARCHIVE_SUFFIXES | IMAGE_SUFFIXES:
                name = name.removesuffix(_suffix(name))
        return name or "data"


def scan(path: str | Path, *, sidecars: bool = True, index: Path | None = None) -> FolderListing:
    """List the images in a folder, a tar or a zip, or one image file; no image is read.

    `sidecars`: list masks/ and read splits.csv, too. `index`: the folder in which an archive's table of
    contents is kept for the next time. DataError if there is no such path, if it is no folder, archive or
    image, if it holds no image, or if its splits.csv is broken.
    """
    path = Path(path)
    try:
        entries = _list_entries(path, index)
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror or error}") from error
    photos = [entry for entry in entries if _is_image(entry)]
    root = _top_folder(photos)
    images = _find_images(photos, root)
    if not images:
        raise DataError(f"{path} holds no images ({' '.join(sorted(IMAGE_SUFFIXES))})")
    if not sidecars:
        return FolderListing(path, images)
    masks = _find_masks(path, entries, root, images)
    return FolderListing(path, images, masks, _find_splits(path, entries, root, images, index))


def digest(refs: Iterable[ImageRef], *options: object, times: bool = True) -> str:
    """32 hex digits of `options` and of files' names, sizes and times of change (in a zip: checksums). They
    are the same wherever the files lie; without `times` they are the same for a copy, too."""
    key = hashlib.sha256(repr(options).encode())
    for ref in refs:
        stamp = ref.entry.stamp if times else ""
        line = f"{ref.name}\0{ref.suffix}\0{ref.entry.size}\0{stamp}\n"
        key.update(line.encode(errors="surrogateescape"))
    return key.hexdigest()[:32]


def join_names(names: Sequence[str]) -> str:
    """The first five names, and how many more there are, for a message of one line."""
    # names from file systems and archives may hold line breaks and stray bytes: they become escapes
    shown = ["".join(c if c.isprintable() else ascii(c)[1:-1] for c in name) for name in names[:_NAMED]]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(shown) + more


def _list_entries(path: Path, index: Path | None) -> list[Entry]:
    """All files in `path`. Their places are absolute, because the working directory may change."""
    path = path.absolute()
    if path.is_dir():
        return list_folder(path)
    if not path.exists():
        raise DataError(
            f"there is no {path}: give a folder, a .tar, a .zip, flowers:DIR, lfw:DIR, cub:DIR, "
            "or `digits` or `digit` (drawn scenes)"
        )
    if path.suffix.lower() in IMAGE_SUFFIXES:
        status = path.stat()
        return [Entry(str(path.parent), path.name, status.st_size, status.st_mtime_ns)]
    return list_archive(path, index)


def _suffix(path: str) -> str:
    return posixpath.splitext(path)[1]


def _is_image(entry: Entry) -> bool:
    return _suffix(entry.path).lower() in IMAGE_SUFFIXES


def _top_folder(photos: Sequence[Entry]) -> str:
    """The one folder that holds all images, as "name/", or "" without one. Masks beside it don't count."""
    folders = {top if rest else "" for top, _, rest in (entry.path.partition("/") for entry in photos)}
    folders.discard("masks")
    return "" if len(folders) != 1 or folders & {"", "images"} else f"{folders.pop()}/"


def _find_images(photos: Sequence[Entry], root: str) -> list[ImageRef]:
    """The images, sorted by name. Those that would have the same name keep their suffixes in it."""
    inside = f"{root}images/"
    found = [entry for entry in photos if entry.path.startswith(inside)]
    if not found:
        inside = root
        found = [entry for entry in photos if not entry.path.startswith((f"{root}masks/", "masks/"))]
    relative = [entry.path.removeprefix(inside) for entry in found]
    names = [path.removesuffix(_suffix(path)) for path in relative]
    clashes = [0]
    while clashes:  # repeated, since a name with its suffix may be that of another image
        counts = Counter(names)
        clashes = [i for i, name in enumerate(names) if counts[name] > 1 and name != relative[i]]
        for i in clashes:
            names[i] = relative[i]
    refs = [ImageRef(name, _suffix(entry.path), entry) for name, entry in zip(names, found, strict=True)]
    return sorted(refs, key=lambda ref: ref.name)


def _find_masks(
    path: Path, entries: Sequence[Entry], root: str, images: Sequence[ImageRef]
) -> dict[str, ImageRef]:
    found: dict[str, ImageRef] = {}
    others = []
    for entry in sorted(entries, key=lambda entry: entry.path):
        inside = next((p for p in (f"{root}masks/", "masks/") if entry.path.startswith(p)), None)
        if inside is None:
            continue
        suffix = _suffix(entry.path)
        name = entry.path[len(inside) : -len(suffix) or None]
        if suffix.lower() not in MASK_SUFFIXES:
            others += [entry.path] if _is_image(entry) else []
        elif name not in found or suffix.lower() == ".png":
            found[name] = ImageRef(name, suffix, entry)
    if others:
        _log.warning("%s: masks must be PNG, left out: %s", path, join_names(others))
    masks = _match_to_images(found, root, images, stems=False)
    lost = sorted(found.keys() - {mask.name for mask in masks.values()})
    if lost:
        _log.warning("%s: %d masks have no image of their name: %s", path, len(lost), join_names(lost))
    return masks


def _find_splits(
    path: Path, entries: Sequence[Entry], root: str, images: Sequence[ImageRef], index: Path | None
) -> dict[str, str]:
    """The split of every image; empty without a splits.csv."""
    by_path = {entry.path: entry for entry in entries if entry.path.endswith("splits.csv")}
    entry = by_path.get(f"{root}splits.csv") or by_path.get("splits.csv")
    if entry is None:
        return {}
    splits = _match_to_images(_read_splits(path, entry, index), root, images, stems=True)
    unnamed = [ref.name for ref in images if ref.name not in splits]
    if unnamed:
        text = "%s: splits.csv doesn't name %d images, now in `train`: %s"
        _log.warning(text, path, len(unnamed), join_names(unnamed))
    return {ref.name: splits.get(ref.name, "train") for ref in images}


def _match_to_images(found: dict[str, T], root: str, images: Sequence[ImageRef], stems: bool) -> dict[str, T]:
    """What was `found` for each image, by the image's name; it may have been written with the image's suffix
    or below the top folder.

    `stems`: an image that keeps its suffix in its name may also be written without it.
    """
    names = {ref.name for ref in images}
    matched: dict[str, T] = {}
    for ref in images:
        others = [f"{ref.name}{ref.suffix}", f"{root}{ref.name}"]
        others += [ref.name.removesuffix(ref.suffix)] if stems else []
        for key in [ref.name, *(key for key in others if key not in names)]:
            if key in found:
                matched[ref.name] = found[key]
                break
    return matched


def _read_splits(path: Path, entry: Entry, index: Path | None) -> dict[str, str]:
    def read() -> bytes:
        with entry.open() as file:
            return file.read()

    try:
        content = indexed(index, path, entry.path, read) if entry.kind == "packed" else read()
        text = content.decode("utf-8-sig")
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: splits.csv can't be read: {error}") from error
    if not {"name", "split"} <= set(reader.fieldnames or ()):
        raise DataError(f"{path}: splits.csv must have the columns `name` and `split`")
    splits: dict[str, str] = {}
    for number, row in enumerate(rows, start=1):
        name, split = row["name"], (row["split"] or "").strip()
        if not name or not split:
            raise DataError(f"{path}: splits.csv, row {number}, lacks a name or a split")
        if splits.setdefault(name, split) != split:
            both = f"{splits[name]}, {split}"
            raise DataError(f"{path}: splits.csv gives {join_names([name])} two splits: {both}")
    return splits
