"""What may lie beside photos, and belongs to them by name: masks/ and splits.csv."""

import csv
import io
import logging
import posixpath
from collections import Counter
from collections.abc import Sequence, Set
from pathlib import Path
from typing import TypeVar

from redoseg.data.archive import Entry
from redoseg.data.formats import IMAGE_SUFFIXES, MASK_SUFFIXES
from redoseg.data.image_ref import ImageRef
from redoseg.data.listing import indexed, suffix_of
from redoseg.data.naming import folded, inside_of, join_names
from redoseg.errors import DataError

T = TypeVar("T")
_log = logging.getLogger("redoseg.data")


def hold_masks(entries: Sequence[Entry], root: str, photos: Sequence[Entry]) -> bool:
    """Whether the folder masks/ holds a mask of any photo outside of it, by name."""
    places = (f"{root}masks/", "masks/")
    masks = {_key(entry.path, places) for entry in entries if suffix_of(entry.path) in MASK_SUFFIXES}
    names = (f"{root}images/", root)
    outside = {_key(entry.path, names) for entry in photos if inside_of(entry.path, *places) is None}
    return bool((masks - {""}) & outside)


def _key(path: str, places: Sequence[str]) -> str:
    """The folded name of a file in the first of these folders that it is in; "" if it is in none."""
    return _stem(folded(inside_of(path, *places) or ""))


def _stem(name: str) -> str:
    """The name without the suffixes of images: `a.jpg.png` is of `a`."""
    while suffix_of(name) in IMAGE_SUFFIXES:
        name = posixpath.splitext(name)[0]
    return name


def find_masks(
    path: Path, entries: Sequence[Entry], root: str, images: Sequence[ImageRef]
) -> dict[str, ImageRef]:
    found: dict[str, ImageRef] = {}
    others = []
    for entry in sorted(entries, key=lambda entry: entry.path):
        inside = inside_of(entry.path, f"{root}masks/", "masks/")
        if inside is None:
            continue
        name, suffix = posixpath.splitext(inside)
        if suffix.lower() not in MASK_SUFFIXES:
            others.append(entry.path)
        elif name not in found or suffix.lower() == ".png":
            found[name] = ImageRef(name, suffix, entry)
    if others:
        _log.warning("%s: masks must be PNG, %d files left out: %s", path, len(others), join_names(others))
    masks = _match_to_images(path, "masks", found, root, images, stems=False)
    lost = sorted(found.keys() - {mask.name for mask in masks.values()})
    if lost:
        _log.warning("%s: %d masks have no image of their name: %s", path, len(lost), join_names(lost))
    return masks


def find_splits(
    path: Path, entries: Sequence[Entry], root: str, images: Sequence[ImageRef], index: Path | None
) -> dict[str, str]:
    """The split of every image; empty without a splits.csv."""
    by_path = {entry.path: entry for entry in entries if entry.path.endswith("splits.csv")}
    entry = by_path.get(f"{root}splits.csv") or by_path.get("splits.csv")
    if entry is None:
        return {}
    listed = _read_splits(path, entry, index)
    splits = _match_to_images(path, "names in splits.csv", listed, root, images, stems=True)
    unnamed = [ref.name for ref in images if ref.name not in splits]
    if unnamed:
        text = "%s: splits.csv doesn't name %d images, now in `train`: %s"
        _log.warning(text, path, len(unnamed), join_names(unnamed))
    return {ref.name: splits.get(ref.name, "train") for ref in images}


def _match_to_images(
    path: Path, what: str, found: dict[str, T], root: str, images: Sequence[ImageRef], stems: bool
) -> dict[str, T]:
    """What was `found` for each image, by the image's name; it may have been written with the image's suffix
    or below the top folder. What still is without an image is compared as a person would, which is said.

    `stems`: an image that keeps its suffix in its name may also be written without it.
    """
    names = {ref.name for ref in images}
    matched: dict[str, T] = {}
    used = set()
    for ref in images:
        others = [f"{ref.name}{ref.suffix}", f"{root}{ref.name}"]
        others += [ref.name.removesuffix(ref.suffix)] if stems else []
        for key in [ref.name, *(key for key in others if key not in names)]:
            if key in found:
                matched[ref.name] = found[key]
                used.add(key)
                break
    unused = [key for key in found if key not in used]
    alike = _match_alike(unused, names, names - matched.keys(), root)
    if alike:
        text = "%s: %d %s are matched though they are written differently (capitals, accents, suffix): %s"
        shown = [f"{key} for {name}" for name, key in sorted(alike.items())]
        _log.warning(text, path, len(alike), what, join_names(shown))
    return matched | {name: found[key] for name, key in alike.items()}


def _match_alike(keys: Sequence[str], names: Set[str], unmatched: Set[str], root: str) -> dict[str, str]:
    """Name -> key of the `unmatched` images whose key differs only in capitals, the form of accents or the
    suffix, and can't be meant for another image."""
    like_key = _only_ones({key: key.removeprefix(root) for key in keys})
    like_name = _only_ones({name: name for name in names})
    return {
        like_name[alike]: like_key[alike]
        for alike in like_name.keys() & like_key.keys()
        if like_name[alike] in unmatched
    }


def _only_ones(names: dict[str, str]) -> dict[str, str]:
    """By folded stem the key of each name that no other name is like."""
    stems = {key: _stem(folded(name)) for key, name in names.items()}
    counts = Counter(stems.values())
    return {stem: key for key, stem in stems.items() if counts[stem] == 1}


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
            both = join_names([splits[name], split])
            raise DataError(f"{path}: splits.csv gives {join_names([name])} two splits: {both}")
    return splits
