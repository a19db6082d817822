"""Files that are whole or not there: they are written aside and then renamed."""

import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from redoseg.errors import ModelError

_ASIDE = re.compile(r"\.(.+)\.\d+")


def write_aside(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` make a file beside `path`, then rename it: a reader sees the old or the new one, whole.
    The folder is made if need be. Whatever `write` raises is passed on, and `path` stays as it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write(aside)
        os.replace(aside, path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def write_folder_aside(path: Path, write: Callable[[Path], object]) -> None:
    """As `write_aside`, for a folder. If it is killed, `path` may be gone, but is never half there."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    shutil.rmtree(aside, ignore_errors=True)
    write(aside)
    shutil.rmtree(path, ignore_errors=True)
    os.replace(aside, path)


def leftovers(folder: Path) -> list[Path]:
    """The files in `folder` that a killed `write_aside` has left."""
    return [file for file in folder.glob(".*") if _ASIDE.fullmatch(file.name)]


def leftovers_of(paths: Iterable[Path]) -> Iterator[Path]:
    """The files that killed `write_aside`s of these `paths` have left beside them."""
    wanted = dict.fromkeys(paths)
    for folder in dict.fromkeys(path.parent for path in wanted):
        for file in leftovers(folder):
            if folder / _ASIDE.sub(r"\1", file.name) in wanted:
                yield file


def write_json(path: Path, content: object) -> None:
    """Write `content` as JSON, by `write_aside`. ValueError for numbers that JSON lacks (NaN, infinities)."""
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    write_aside(path, lambda aside: aside.write_text(text, encoding="utf-8"))


def read_json(path: Path) -> Any:
    """The content of a JSON file. ModelError if it isn't there or isn't JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} can't be read ({error})") from error
