"""Text files that redoseg wrote and nobody changed since: a hidden file in the folder knows them."""

import hashlib
import json
import os
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

from redoseg.files import write_aside

NAME = ".redoseg-written"


class OwnTexts:
    """The text files below `folder` that redoseg writes. Lines of numbers have no place for a note, so what
    was written is known from a list beside them."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._list = folder, folder / NAME

    @cached_property
    def _known(self) -> set[str]:
        """Lines of a digest and a path; a later line doesn't make an earlier one untrue."""
        try:
            return set(self._list.read_text(encoding="utf-8", errors="surrogateescape").splitlines())
        except OSError:
            return set()

    def is_own(self, file: Path) -> bool:
        """Whether a file is as redoseg wrote it. OSError if it can't be read."""
        return self._line(file, file.read_bytes()) in self._known

    def write(self, file: Path, parts: Iterable[str]) -> None:
        """Write a file, whole or not at all, and note it first: a kill leaves none that isn't known."""
        # A name that isn't UTF-8 becomes an escape, which JSON reads back as that name.
        content = "".join(parts).encode(errors="backslashreplace")
        line = self._line(file, content)
        if line not in self._known:
            self._folder.mkdir(parents=True, exist_ok=True)
            with self._list.open("ab+") as known:
                known.write(self._break(known) + f"{line}\n".encode(errors="surrogateescape"))
            self._known.add(line)
        write_aside(file, lambda aside: aside.write_bytes(content))

    @staticmethod
    def _break(known: BinaryIO) -> bytes:
        """What ends the last line where a full disk has cut it off."""
        if not known.seek(0, os.SEEK_END):
            return b""
        known.seek(-1, os.SEEK_END)
        return b"" if known.read(1) == b"\n" else b"\n"

    def _line(self, file: Path, content: bytes) -> str:
        digest = hashlib.blake2b(content, digest_size=8).hexdigest()
        return f"{digest} {json.dumps(file.relative_to(self._folder).as_posix())}"


def is_annotation(file: Path) -> bool:
    """Whether a file can be nothing but annotations: COCO's, labelme's or YOLO's."""
    try:
        text = file.read_text(encoding="utf-8")
        if file.suffix == ".json":
            content: Any = json.loads(text)
            return isinstance(content, dict) and (
                {"shapes", "imagePath"} <= content.keys() or {"images", "annotations"} <= content.keys()
            )
        if file.suffix == ".yaml":
            return any(line.startswith("names:") for line in text.splitlines())
        return all(len([float(word) for word in line.split()]) >= 5 for line in text.splitlines())
    except (OSError, ValueError, RecursionError):
        return False
