"""Names of files: as messages show them, and as people compare them."""

import unicodedata
from collections.abc import Sequence
from pathlib import Path

_NAMED = 5  # examples in a warning


def join_names(names: Sequence[str]) -> str:
    """The first five names, and how many more there are, for a message of one line."""
    # names from file systems and archives may hold line breaks and stray bytes: they become escapes
    shown = ["".join(c if c.isprintable() else ascii(c)[1:-1] for c in name) for name in names[:_NAMED]]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(shown) + more


def folded(name: str) -> str:
    """The name as a person reads it: without upper case, and accents in one of Unicode's two ways."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def inside_of(path: str, *folders: str) -> str | None:
    """The path within the first of the `folders` ("masks/") that it is in, written in capitals or not; None
    if it is in none of them."""
    return next((path[len(name) :] for name in folders if folded(path[: len(name)]) == folded(name)), None)


def find_path(path: Path) -> Path:
    """The path; where there is none, the one that only writes accents in Unicode's other way, if there is.
    A name that was typed, or copied elsewhere, may not be byte for byte the one on the disk."""
    if path.exists() or not path.parent.is_dir():
        return path
    name = unicodedata.normalize("NFC", path.name)
    try:
        alike = [other for other in path.parent.iterdir() if unicodedata.normalize("NFC", other.name) == name]
    except OSError:
        return path
    return alike[0] if len(alike) == 1 else path
