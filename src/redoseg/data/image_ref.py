"""One image or mask of a folder or an archive, by its name."""

from dataclasses import dataclass
from typing import BinaryIO

from redoseg.data.archive import Entry


@dataclass(frozen=True, slots=True)
class ImageRef:
    """One image or mask: `name` is its relative path without the suffix, `suffix` as written: `.JPG`."""

    name: str
    suffix: str
    entry: Entry

    def open(self) -> BinaryIO:
        """The file, to be read from any thread. OSError or DataError if it can't be read."""
        return self.entry.open()
