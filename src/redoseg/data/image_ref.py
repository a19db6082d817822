"""One image or mask of a folder or an archive, by its name."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from redoseg.data.archive import Entry, read_in_order


@dataclass(frozen=True, slots=True)
class ImageRef:
    """One image or mask: `name` is its relative path without the suffix, `suffix` as written: `.JPG`."""

    name: str
    suffix: str
    entry: Entry

    def open(self) -> BinaryIO:
        """The file, to be read from any thread. OSError or DataError if it can't be read."""
        return self.entry.open()


def read_contents(refs: Sequence[ImageRef]) -> Iterator[tuple[int, bytes | None]]:
    """Every index, with the bytes of files in a compressed tar, which is read in one pass, else None. OSError
    or DataError if such a tar can't be read."""
    packed = {ref.entry: index for index, ref in enumerate(refs) if ref.entry.kind == "packed"}
    for entry, content in read_in_order(packed):
        yield packed[entry], content
    yield from ((index, None) for index, ref in enumerate(refs) if ref.entry.kind != "packed")
