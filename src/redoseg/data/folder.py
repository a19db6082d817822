"""Which files of a folder or an archive are photos, and what they are called."""

import hashlib
import logging
import posixpath
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from redoseg.data.archive import Entry
from redoseg.data.formats import IMAGE_SUFFIXES, RAW_SUFFIXES
from redoseg.data.image_ref import ImageRef
from redoseg.data.listing import Files, file_entry, list_archive, list_folder, suffix_of
from redoseg.data.mask_files import BY_VALUES, MaskRule
from redoseg.data.naming import find_path, folded, inside_of, join_names
from redoseg.data.sidecars import find_masks, find_splits, hold_masks
from redoseg.errors import DataError
from redoseg.files import expanded

_log = logging.getLogger("redoseg.data")
_ARCHIVE_SUFFIXES = {".tar", ".zip", ".gz", ".bz2", ".xz", ".tgz", ".tbz2", ".txz"}
_OTHER = "not images"


@dataclass(frozen=True)
class FolderListing:
    """The files of one source: images sorted by name, and their masks and splits by the names of images.

    `splits` has every image, or is empty, which means that all are 'train'. `native` is the name of a set in
    its owner's form (`redoseg.data.native.sources`), or "". `rule` says how a mask file becomes labels.
    `left_out` are the paths of files that are neither, by the reason.
    """

    path: Path
    images: list[ImageRef]
    masks: dict[str, ImageRef] = field(default_factory=dict)
    splits: dict[str, str] = field(default_factory=dict)
    native: str = ""
    rule: MaskRule = BY_VALUES
    left_out: dict[str, list[str]] = field(default_factory=dict)

    @property
    def stem(self) -> str:
        """The set's name, or that of the folder, archive or image without the suffixes of its format."""
        if self.native:
            return self.native
        name = self.path.resolve().name
        if self.path.is_file():
            while suffix_of(name) in _ARCHIVE_SUFFIXES | IMAGE_SUFFIXES:
                name = posixpath.splitext(name)[0]
        return name or "data"


def scan(path: str | Path, *, sidecars: bool = True, index: Path | None = None) -> FolderListing:
    """List the images in a folder, a tar or a zip, or one image file. Of files whose suffix says nothing the
    first bytes are read.

    `sidecars`: list masks/ and read splits.csv, too, and leave out photos beside images/, if there is such a
    folder; without, those are photos like the others, and so are those in masks/ if none is a photo's mask.
    `index`: the folder in which an archive's table of contents is kept for the next time. What is left out is
    said once. DataError if there is no such path, if it is no folder, archive or image, if it holds no image,
    or if its splits.csv is broken.
    """
    path = find_path(expanded(path))
    try:
        files = _list_entries(path, index)
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror or error}") from error
    photos = [entry for entry in files.entries if _is_photo(entry)]
    root = _top_folder(photos)
    masks = hold_masks(files.entries, root, photos)
    images = _find_images(photos, root, without_masks=sidecars or masks, images_only=sidecars)
    _leave_out_the_rest(files, images, root, sidecars)
    if not images:
        raise DataError(f"{path} holds no images, {_describe_left_out(files.left_out)}")
    _say_what_is_left_out(path, len(images), files.left_out)
    if not sidecars:
        return FolderListing(path, images, left_out=files.left_out)
    found = find_masks(path, files.entries, root, images)
    splits = find_splits(path, files.entries, root, images, index)
    return FolderListing(path, images, found, splits, left_out=files.left_out)


def digest(refs: Iterable[ImageRef], *options: object, times: bool = True) -> str:
    """32 hex digits of `options` and of files' names, sizes and times of change (in a zip: checksums). They
    are the same wherever the files lie; without `times` they are the same for a copy, too."""
    key = hashlib.sha256(repr(options).encode())
    for ref in refs:
        stamp = ref.entry.stamp if times else ""
        line = f"{ref.name}\0{ref.suffix}\0{ref.entry.size}\0{stamp}\n"
        key.update(line.encode(errors="surrogateescape"))
    return key.hexdigest()[:32]


def check_exists(path: str | Path) -> None:
    """DataError if there is no such file or folder, nor one whose name is only written otherwise."""
    path = find_path(expanded(path)).absolute()
    if not path.exists():
        raise DataError(
            f"there is no {path}: give a folder, a .tar, a .zip, flowers:DIR, lfw:DIR, cub:DIR, "
            "or `digits` or `digit` (drawn scenes)"
        )


def _list_entries(path: Path, index: Path | None) -> Files:
    """All files in `path`. Their places are absolute, because the working directory may change."""
    path = path.absolute()
    if path.is_dir():
        return list_folder(path)
    check_exists(path)
    if not path.is_file():
        raise DataError(f"{path} is a device, a pipe or the like: give a folder, an archive or an image")
    entry = file_entry(str(path.parent), path.name, path.stat())
    known = entry.looks or suffix_of(path.name) in IMAGE_SUFFIXES | RAW_SUFFIXES
    return Files([entry]) if known else list_archive(path, index)


def _is_photo(entry: Entry) -> bool:
    return bool(entry.looks) or suffix_of(entry.path) in IMAGE_SUFFIXES


def _leave_out_the_rest(files: Files, images: Sequence[ImageRef], root: str, sidecars: bool) -> None:
    """Note every file that is no photo, but those that say something about the photos."""
    taken = {ref.entry.path for ref in images}
    for entry in files.entries:
        path, suffix = entry.path, suffix_of(entry.path)
        if path in taken or path in (f"{root}splits.csv", "splits.csv"):
            continue
        in_masks = inside_of(path, f"{root}masks/", "masks/") is not None
        if in_masks and (sidecars or _is_photo(entry)):
            continue  # `find_masks` names what is no mask
        if _is_photo(entry):
            files.leave_out("beside images/", path)
        elif suffix in RAW_SUFFIXES:
            files.leave_out("camera raw: convert them to JPEG first", path)
        else:
            files.leave_out(_OTHER, path)


def _describe_left_out(left_out: dict[str, list[str]]) -> str:
    parts = [f"{len(paths)} {reason} ({join_names(paths)})" for reason, paths in left_out.items()]
    return f"{sum(map(len, left_out.values()))} left out{': ' if parts else ''}{'; '.join(parts)}"


def _say_what_is_left_out(path: Path, photos: int, left_out: dict[str, list[str]]) -> None:
    """One line, if anything is; a warning if there may be photos among it."""
    if left_out:
        level = logging.INFO if left_out.keys() == {_OTHER} else logging.WARNING
        _log.log(level, "%s: %d photos, %s", path, photos, _describe_left_out(left_out))


def _suffix(path: str) -> str:
    """The suffix as written, if it is one of images': `IMG.0001` has none."""
    suffix = posixpath.splitext(path)[1]
    return suffix if suffix.lower() in IMAGE_SUFFIXES else ""


def _top_folder(photos: Sequence[Entry]) -> str:
    """The one folder that holds all images, as "name/", or "" without one. Masks beside it don't count."""
    folders = {top if rest else "" for top, _, rest in (entry.path.partition("/") for entry in photos)}
    folders = {folder for folder in folders if folded(folder) != "masks"}
    folder = folders.pop() if len(folders) == 1 else ""
    return "" if folded(folder) in ("", "images") else f"{folder}/"


def _find_images(
    photos: Sequence[Entry], root: str, *, without_masks: bool, images_only: bool
) -> list[ImageRef]:
    """The images, sorted by name. Those that would have the same name keep their suffixes in it.
    `without_masks`: those in masks/ are none; `images_only`: if some are in images/, the others are none."""
    masks = (f"{root}masks/", "masks/") if without_masks else ()
    found = [entry for entry in photos if inside_of(entry.path, *masks) is None]
    inside = f"{root}images/"
    in_images = [entry for entry in found if inside_of(entry.path, inside) is not None]
    if in_images and images_only:
        found = in_images
    if len(in_images) < len(found):
        inside = root
    within = ((entry.path, inside_of(entry.path, inside)) for entry in found)
    relative = [path if rest is None else rest for path, rest in within]
    names = [path.removesuffix(_suffix(path)) for path in relative]
    clashes = [0]
    while clashes:  # repeated, since a name with its suffix may be that of another image
        counts = Counter(names)
        clashes = [i for i, name in enumerate(names) if counts[name] > 1 and name != relative[i]]
        for i in clashes:
            names[i] = relative[i]
    refs = [ImageRef(name, _suffix(entry.path), entry) for name, entry in zip(names, found, strict=True)]
    return sorted(refs, key=lambda ref: ref.name)
