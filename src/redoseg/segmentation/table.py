"""A table of masks as a CSV file."""

import os
from collections.abc import Sequence
from csv import writer
from pathlib import Path
from typing import TextIO

from redoseg.files import aside_of, leftovers_of
from redoseg.segmentation.written import WrittenMask

COLUMNS = ("photo", "mask", "doubt", "area", "left", "top", "right", "bottom", "error")


class MaskTable:
    """A CSV file with a line for each mask, and at its end one for each photo that failed, written aside and
    put in its place when it is closed; without a mask, what was there stays."""

    def __init__(self, file: Path) -> None:
        self.file, self.aside = file, aside_of(file)
        self._stream: TextIO | None = None
        self._failed: list[tuple[str, str]] = []

    def write(self, mask: WrittenMask) -> None:
        fields = mask.as_dict()
        self._write((*list(fields.values())[:-1], *(mask.box or ("",) * 4), ""))

    def write_failure(self, photo: str, error: str) -> None:
        """A line for a photo without a mask: empty, but for the photo and the reason."""
        self._failed.append((photo, error))

    def _write(self, row: Sequence[object]) -> None:
        if self._stream is None:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            self._stream = self.aside.open("w", newline="", encoding="utf-8")
            writer(self._stream).writerow(COLUMNS)
        writer(self._stream).writerow(row)

    def close(self) -> None:
        if self._stream is None and self.file.exists():
            return
        for photo, error in self._failed:
            self._write((photo, *("",) * (len(COLUMNS) - 2), error))
        if self._stream is None:
            return
        self._stream.close()
        os.replace(self.aside, self.file)
        for file in leftovers_of([self.file]):  # of a call that was killed
            file.unlink(missing_ok=True)
