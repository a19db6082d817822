"""Files that are whole or not there: written aside, then renamed."""

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
    """`write` a file beside `path`, then rename it: a reader sees the old or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write(aside)
        os.replace(aside, path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def write_folder_aside(path: Path, write: Callable[[Path], object]) -> None:
    """As `write_aside`, for a folder. Killed before the rename it may leave none, but never half a one."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    shutil.rmtree(aside, ignore_errors=True)
    write(aside)
    shutil.rmtree(path, ignore_errors=True)
    os.replace(aside, path)


def leftovers(folder: Path) -> list[Path]:
    """What a killed `write_aside` left in `folder`."""
    return [file for file in folder.glob(".*") if _ASIDE.fullmatch(file.name)]


def leftovers_of(paths: Iterable[Path]) -> Iterator[Path]:
    """What killed `write_aside`s of these files left beside them."""
    folders: dict[Path, set[str]] = {}
    for path in paths:
        folders.setdefault(path.parent, set()).add(path.name)
    for folder, names in folders.items():
        for file in leftovers(folder):
            found = _ASIDE.fullmatch(file.name)
            if found is not None and found[1] in names:
                yield file


def write_json(path: Path, content: object) -> None:
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    write_aside(path, lambda aside: aside.write_text(text, encoding="utf-8"))


def read_json(path: Path) -> Any:
    """ModelError if the file isn't there or isn't JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} can't be read ({error})") from error
