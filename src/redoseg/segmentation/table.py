"""Tables of masks and of measurements as CSV files."""

import os
from collections.abc import Sequence
from csv import writer
from pathlib import Path
from typing import TextIO

from redoseg.errors import ConfigError
from redoseg.files import aside_of, leftovers_of, remove
from redoseg.segmentation.measuring import COLUMNS as OF_OBJECTS
from redoseg.segmentation.written import WrittenMask

COLUMNS = ("photo", "mask", "doubt", "area", "left", "top", "right", "bottom", "error")
MEASURED = ("photo", *OF_OBJECTS, "doubt")
_BEGIN = b"photo,"  # of every table's first line


def check_table(option: str, file: Path) -> None:
    """ConfigError for a name that may be a photo's, an archive's or a model's, and for a file that is there
    and isn't a table of photos."""
    if file.suffix.lower() != ".csv" or file.is_dir():
        raise ConfigError(f"{option} {file} is no name for a table: choose a file that ends in .csv")
    if file.is_file():
        with file.open("rb") as there:
            begin = there.read(len(_BEGIN))
        if begin not in (_BEGIN, b""):
            raise ConfigError(f"{option} {file} is there and is no table of redoseg's: choose another name")


class Table:
    """A CSV file, written aside and put in its place when it is closed; without `begin` or a row there is
    none, and what was there stays."""

    def __init__(self, file: Path, columns: Sequence[str]) -> None:
        self.file, self.aside, self.columns = file, aside_of(file), columns
        self._stream: TextIO | None = None

    def begin(self) -> TextIO:
        """Let there be a table, even without a row. OSError."""
        if self._stream is None:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            # A name that isn't UTF-8 is written with an escape, as on the terminal.
            self._stream = self.aside.open("w", newline="", encoding="utf-8", errors="backslashreplace")
            writer(self._stream).writerow(self.columns)
        return self._stream

    def add(self, row: Sequence[object]) -> None:
        """Write a row. OSError."""
        writer(self.begin()).writerow(row)

    def close(self) -> None:
        """Put the file in its place. OSError."""
        if self._stream is None:
            return
        self._stream.close()
        os.replace(self.aside, self.file)
        remove(leftovers_of([self.file]))  # of a call that was killed


class MaskTable(Table):
    """A `Table` with a line for each mask, and at its end one for each photo that failed. Without a mask what
    was there stays; where nothing was, failures alone make a table."""

    def __init__(self, file: Path) -> None:
        super().__init__(file, COLUMNS)
        self._failed: list[tuple[str, str]] = []

    def write(self, mask: WrittenMask) -> None:
        """Write the row of a mask. OSError."""
        fields = mask.as_dict()
        self.add((*list(fields.values())[:-1], *(mask.box or ("",) * 4), ""))

    def write_failure(self, photo: str, error: str) -> None:
        """A line for a photo without a mask: empty, but for the photo and the reason."""
        self._failed.append((photo, error))

    def close(self) -> None:
        """Add the failures, and put the file in its place. OSError."""
        if self._stream is not None or not self.file.exists():
            for photo, error in self._failed:
                self.add((photo, *("",) * (len(COLUMNS) - 2), error))
        super().close()


class MeasuredTable(Table):
    """A `Table` with a line for each object; for a photo without any one of object 0, of no area."""

    def __init__(self, file: Path) -> None:
        super().__init__(file, MEASURED)

    def write(self, mask: WrittenMask) -> None:
        """Write the rows of a photo. OSError."""
        doubt = round(mask.doubt, 4)
        for one in mask.measures:
            self.add((mask.photo, *one.as_row(), doubt))
        if not mask.measures:
            self.add((mask.photo, 0, 0, 0, *("",) * (len(OF_OBJECTS) - 3), doubt))
