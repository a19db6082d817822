"""Files that are whole or not there: they are written aside and then renamed."""

import hashlib
import json
import os
import platform
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from redoseg.errors import ModelError

_ASIDE = re.compile(r"\.(?P<name>.+)\.(?:(?P<machine>[0-9a-f]{8})-)?(?P<process>\d+)")
_LONGEST = 200  # bytes of a name to which some are added: most systems allow 255
_ABANDONED = 3600.0  # seconds after which a file that a process elsewhere has begun counts as left behind


def aside_of(path: Path) -> Path:
    """Where this process writes what will become `path`: no other process of any machine writes there."""
    name = path.name
    if len(name.encode(errors="surrogateescape")) > _LONGEST:
        name = hashlib.blake2b(name.encode(errors="surrogateescape"), digest_size=8).hexdigest()
    return path.with_name(f".{name}.{_machine()}-{os.getpid()}")


@cache
def _machine() -> str:
    """8 hex digits of this machine, since it was started, and of the container that the process runs in: two
    processes have one number only where both would be different ones."""
    facts = [platform.node()]
    for fact in ("/proc/sys/kernel/random/boot_id", "/proc/self/ns/pid"):
        try:
            facts.append(os.readlink(fact) if "/ns/" in fact else Path(fact).read_text())
        except OSError:  # another system than Linux
            continue
    return hashlib.blake2b(repr(facts).encode(), digest_size=4).hexdigest()


def expanded(path: str | Path) -> Path:
    """The path with a leading `~` written out; as it is where there is no home folder."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def same_file(one: str | Path, other: str | Path) -> bool:
    """Whether two paths lead to one file, whether it is there or not."""
    return os.path.realpath(expanded(one)) == os.path.realpath(expanded(other))


def write_aside(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` make a file beside `path`, then rename it: a reader sees the old or the new one, whole.
    The folder is made if need be. Whatever `write` raises is passed on, and `path` stays as it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = aside_of(path)
    try:
        write(aside)
        os.replace(aside, path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def write_folder_aside(path: Path, write: Callable[[Path], object]) -> None:
    """As `write_aside`, for a folder. If it is killed, `path` may be gone, but is never half there."""
    aside = aside_of(path)
    shutil.rmtree(aside, ignore_errors=True)
    try:
        write(aside)
    except (Exception, KeyboardInterrupt):  # tests' imitation of kill -9 is neither
        shutil.rmtree(aside, ignore_errors=True)
        raise
    shutil.rmtree(path, ignore_errors=True)
    os.replace(aside, path)


def paths_from(folder: Path, paths: Iterable[str]) -> list[str | None]:
    """Those of the `paths` that exist as seen from `folder`; None for the others."""

    def from_there(path: str) -> str | None:
        try:
            found, there = os.path.realpath(path), os.path.realpath(folder)
            return os.path.relpath(found, there) if os.path.exists(found) else None
        except ValueError:  # another drive of Windows
            return None

    return [from_there(path) for path in paths]


def asides(folder: Path) -> list[Path]:
    """The files in `folder` that `write_aside` is writing, in any process, or that a killed one has left."""
    return [file for file in folder.glob(".*") if _ASIDE.fullmatch(file.name)]


def leftovers(folder: Path) -> list[Path]:
    """The files in `folder` that a killed `write_aside` has left. Of a process of another machine nobody here
    knows whether it lives: its files are left behind if they are an hour old."""
    return [file for file in asides(folder) if _is_left(file)]


def remove(paths: Iterable[Path]) -> None:
    """Remove files, and folders with all that is in them. Files may be gone already. OSError."""
    for path in paths:
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _is_left(aside: Path) -> bool:
    found = _ASIDE.fullmatch(aside.name)
    if found is None:
        return False
    if os.name == "posix" and found["machine"] in (None, _machine()):
        if _is_alive(int(found["process"])):
            return False
        if found["machine"]:
            return True
    try:
        return time.time() - aside.stat().st_mtime > _ABANDONED
    except OSError:  # it is gone by now
        return False


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def leftovers_of(paths: Iterable[Path]) -> Iterator[Path]:
    """The files that killed `write_aside`s of these `paths` have left beside them."""
    wanted = dict.fromkeys(paths)
    for folder in dict.fromkeys(path.parent for path in wanted):
        for file in leftovers(folder):
            if folder / _ASIDE.sub(r"\g<name>", file.name) in wanted:
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
