"""What the readers of the owners' sets share: finding files, reading lists, making splits, finding gaps."""

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from redoseg.data.image_ref import ImageRef
from redoseg.data.listing import list_folder
from redoseg.data.naming import join_names
from redoseg.errors import DataError

_log = logging.getLogger("redoseg.data")


def find_files(folder: Path, pattern: str) -> dict[str, ImageRef]:
    """The files in `folder` whose relative paths match the regular expression `pattern`, sorted by name. Its
    group `name` is the name. {} without the folder, which is absolute; DataError if it can't be read."""
    if not folder.is_dir():
        return {}
    try:
        entries = list_folder(folder).entries
    except OSError as error:
        raise DataError(f"{folder} can't be read: {error.strerror or error}") from error
    refs: dict[str, ImageRef] = {}
    for entry in sorted(entries, key=lambda entry: entry.path):
        if match := re.fullmatch(pattern, entry.path):
            refs[match["name"]] = ImageRef(match["name"], f".{entry.path.rpartition('.')[2]}", entry)
    return dict(sorted(refs.items()))


def read_pairs(path: Path) -> list[tuple[str, str]]:
    """The two words of each line but empty ones and a count in the first. DataError for other lists."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text in UTF-8"
        raise DataError(f"{path} can't be read: {reason}") from error
    pairs = []
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if len(words) == 2:
            pairs.append((words[0], words[1]))
        elif words and not (number == 1 and len(words) == 1 and words[0].isdecimal()):
            said = join_names([line.strip()])
            raise DataError(f"{path}, line {number}, should have two words, and is: {said}")
    return pairs


def invert_splits(where: Path, parts: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Name -> split from split -> names. DataError, with `where` they come from, if a name has two splits."""
    splits: dict[str, str] = {}
    for split, names in parts.items():
        for name in names:
            if splits.setdefault(name, split) != split:
                raise DataError(f"{where} gives {join_names([name])} two splits: {splits[name]}, {split}")
    return splits


def complete_splits(
    root: Path, lists: str, splits: Mapping[str, str], images: Mapping[str, ImageRef]
) -> dict[str, str]:
    """The split of every image; a warning says which of them `lists` don't name: these train."""
    unnamed = [name for name in images if name not in splits]
    if unnamed:
        text = "%s: %s name no split of %d images, now in `train`: %s"
        _log.warning(text, root, lists, len(unnamed), join_names(unnamed))
    return {name: splits.get(name, "train") for name in images}


def shuffle_names(names: Sequence[str], key: int) -> list[str]:
    """The names in an order that depends on `key` and on the names themselves, not on the order they had."""
    order = np.random.Generator(np.random.Philox(key=key)).permutation(len(names))
    ordered = sorted(names)
    return [ordered[i] for i in order]


def check_files(
    place: Path,
    what: str,
    refs: Mapping[str, ImageRef],
    published: int,
    cure: str,
    wanted: Sequence[str] = (),
) -> list[str]:
    """What is wrong with a set's files of one kind, in lines that end with what to do about it, the `cure`.
    That is: no files at all, some of `wanted` missing, another number than is `published`, or empty files."""
    if not refs:
        return [f"{place} holds no {what}: {cure}"]
    lost = [name for name in wanted if name not in refs]
    lines = []
    if lost:
        lines.append(f"{place} lacks {what} of {len(lost):,} images: {join_names(lost)}: {cure}")
    elif len(refs) != published:
        lines.append(f"{place} holds {len(refs):,} {what}, and the set has {published:,}: {cure}")
    empty = [name for name, ref in refs.items() if ref.entry.size == 0]
    if empty:
        lines.append(f"{place}: {len(empty):,} files are empty: {join_names(empty)}: {cure}")
    return lines
