"""Images and masks as memory-mapped uint8 arrays, which are built once, in parallel, and found by a key."""

import functools
import hashlib
import json
import logging
import math
import mmap
import os
import re
import shutil
import tempfile
import time
import uuid
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from platformdirs import user_cache_path

from redoseg.cores import usable_cores
from redoseg.data.image_ref import ImageRef, read_contents
from redoseg.errors import DataError
from redoseg.files import expanded

_log = logging.getLogger("redoseg.data")

FORMAT = 2  # part of every key: raise it when the files or the pixels in them become others
_DROP_AFTER = 1 << 28  # bytes to read through a map before its pages are given back
_MAY_PASS = re.compile(r"^\[Errno|memory|pip install")
_OWN_PART = re.compile(r"([0-9a-f]{32}\.[0-9a-f]{8}|[0-9a-f]{32}\.index)\.part")
_ABANDONED = 3600.0  # seconds without a write after which no process is still building a cache

Row = tuple[NDArray[np.uint8], NDArray[np.int64]]
"""The pixels of one image or mask, and a note of some numbers about them."""

Report = Callable[[int, int], None]
"""Is told how many files or images are done, and of how many."""


@dataclass(frozen=True)
class Task:
    """How to make one array: row i is what `work(i, file)` returns for the opened file of `refs[i]`. That is
    pixels of `shape` and a note of `note` numbers, or DataError if the file can't be used."""

    key: str
    refs: Sequence[ImageRef]
    shape: tuple[int, ...]
    note: int
    work: Callable[[int, BinaryIO], Row]


@dataclass(frozen=True)
class Store:
    """A finished array: pixels (N, *shape) uint8, notes (N, note), and a number for the content of each file,
    (N,) int64; row i is zeros if `failed` says why."""

    rows: "Rows"
    notes: NDArray[np.int64]
    contents: NDArray[np.int64]
    failed: dict[int, str]


class Progress:
    """Counts the files of several arrays, and calls `report` with (files done, files in all)."""

    def __init__(self, report: Report | None = None) -> None:
        self._report = report
        self._planned: dict[str, int] = {}
        self._done = 0

    def plan(self, key: str, files: int) -> None:
        """Expect an array to be built from so many files; a later call for the same key replaces this one."""
        self._planned[key] = files

    def step(self) -> None:
        """Count one more file as done."""
        self._done += 1
        if self._report is not None:
            self._report(self._done, sum(self._planned.values()))


class Rows:
    """A memory-mapped .npy file of uint8, (N, ...), read by index."""

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        """ValueError if the file isn't a whole one of this `shape`."""
        with open(path, "rb") as file:
            np.lib.format.read_magic(file)
            header = np.lib.format.read_array_header_1_0(file)
            start = file.tell()
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        if header != (shape, False, np.dtype(np.uint8)) or len(self._map) != start + math.prod(shape):
            raise ValueError(f"{path} is not whole")
        self._rows = np.frombuffer(self._map, np.uint8, offset=start).reshape(shape)
        self._read = 0

    def __len__(self) -> int:
        return len(self._rows)

    def take(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The rows at B indices, (B, ...) uint8, as a copy."""
        taken = self._rows[indices]
        self._read += taken.nbytes
        if self._read > _DROP_AFTER and hasattr(mmap, "MADV_DONTNEED"):
            # they stay in the system's file cache, but no longer count as this process's memory
            self._map.madvise(mmap.MADV_DONTNEED)
            self._read = 0
        return taken


def default_cache() -> Path:
    """`$REDOSEG_CACHE`, else the system's place for caches: on Linux `$XDG_CACHE_HOME/redoseg` or
    `~/.cache/redoseg`."""
    own = os.environ.get("REDOSEG_CACHE")
    if own:
        return expanded(own)
    try:
        return user_cache_path("redoseg", appauthor=False)
    except RuntimeError:
        return _cache_without_home()


@functools.cache
def _cache_without_home() -> Path:
    folder = Path(tempfile.gettempdir()) / f"redoseg-{os.getuid()}"
    _log.warning("there is no home folder: resized photos are kept in %s (--cache DIR says where)", folder)
    return folder


def is_cached(folder: Path, key: str) -> bool:
    """Whether the array of that key has been built."""
    return (folder / key / "meta.json").is_file()


def load_or_build(folder: Path, task: Task, progress: Progress) -> Store:
    """The array of `task.key` in `folder`, built first if it isn't there.

    It is built aside and then renamed: a killed build leaves nothing that could be taken for a cache, and if
    two processes build at once, both use the array of the first one done. DataError if `folder` can't be
    written to.
    """
    store = _load(folder / task.key, task)
    if store is None:
        progress.plan(task.key, len(task.refs))
        part = folder / f"{task.key}.{uuid.uuid4().hex[:8]}.part"
        try:
            part.mkdir(parents=True)
            _remove_abandoned(folder)
            _build(part, task, progress)
            _publish(part, folder / task.key, task)
        except OSError as error:
            text = (
                f"the cache {folder} can't be written ({error.strerror or error}): choose another --cache DIR"
            )
            raise DataError(text) from error
        finally:
            shutil.rmtree(part, ignore_errors=True)
        store = _load(folder / task.key, task)
    if store is None:
        raise DataError(f"the cache {folder / task.key} is damaged and can't be replaced: delete it")
    return store


def _load(folder: Path, task: Task) -> Store | None:
    """The array in `folder`; None if it is missing or damaged, or if it lacks a file that can be used now."""
    try:
        meta = json.loads((folder / "meta.json").read_text())
        rows = Rows(folder / "rows.npy", (len(task.refs), *task.shape))
        notes = np.load(folder / "notes.npy")
        if notes.shape != (len(task.refs), task.note + 1):
            return None
        # What was wrong may have passed: a disk, a file that was being copied, a package that was missing.
        again = _try_again(task, {int(index): str(reason) for index, reason in meta["failed"]})
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None
    if any(isinstance(result, tuple) for result in again.values()):
        return None
    return Store(rows, notes[:, :-1], notes[:, -1], {index: str(reason) for index, reason in again.items()})


def _try_again(task: Task, failed: dict[int, str]) -> dict[int, Row | DataError | OSError]:
    """What becomes of files that couldn't be used. In a compressed tar, which has to be read from its start,
    only what may be of another opinion now is tried: a disk, the memory, a decoder."""
    packed = {index for index in failed if task.refs[index].entry.kind == "packed"}
    hopeless = {index for index in packed if not _MAY_PASS.search(failed[index])}
    found: dict[int, Row | DataError | OSError] = {index: DataError(failed[index]) for index in hopeless}
    wanted = [index for index in failed if index not in hopeless]
    for place, content in read_contents([task.refs[index] for index in wanted]):
        found[wanted[place]] = _process(task, wanted[place], content)
    return dict(sorted(found.items()))


def _build(folder: Path, task: Task, progress: Progress) -> None:
    failed: dict[int, str] = {}
    notes = np.zeros((len(task.refs), task.note + 1), np.int64)
    with open(folder / "rows.npy", "wb") as file, closing(_process_all(task)) as results:
        shape = (len(task.refs), *task.shape)
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        start = file.tell()
        file.truncate(start + math.prod(shape))
        for index, result in results:
            if isinstance(result, tuple):
                file.seek(start + index * math.prod(task.shape))
                file.write(result[0].tobytes())
                notes[index] = result[1]
            else:
                failed[index] = str(result)
            progress.step()
        file.flush()
        os.fsync(file.fileno())
    np.save(folder / "notes.npy", notes)
    meta = {"format": FORMAT, "count": len(task.refs), "failed": sorted(failed.items())}
    (folder / "meta.json").write_text(json.dumps(meta))


def _process_all(task: Task) -> Generator[tuple[int, Row | DataError | OSError], None, None]:
    """Index and row, or what went wrong, of each file, in any order."""
    workers = min(usable_cores(), 16)
    waiting: deque[tuple[int, Future[Row | DataError | OSError]]] = deque()
    with ThreadPoolExecutor(workers) as pool:  # Pillow decodes and resizes without Python's lock
        for index, content in read_contents(task.refs):
            waiting.append((index, pool.submit(_process, task, index, content)))
            if len(waiting) > 4 * workers:  # no more, since the bytes of packed files wait here
                index, done = waiting.popleft()
                yield index, done.result()
        for index, done in waiting:
            yield index, done.result()


def _process(task: Task, index: int, content: bytes | None) -> Row | DataError | OSError:
    """The row of one file, with the number of its content as one more note."""
    try:
        if content is None:
            with task.refs[index].open() as file:
                content = file.read()
        pixels, note = task.work(index, BytesIO(content))
    except (DataError, OSError) as error:
        return error
    number = np.frombuffer(hashlib.blake2b(content, digest_size=8).digest(), np.int64)
    return pixels, np.concatenate([note, number])


def _publish(part: Path, final: Path, task: Task) -> None:
    try:
        part.rename(final)
    except OSError:  # there is an array already: another process was quicker, or it is damaged
        if _load(final, task) is None:
            final.rename(part / "damaged")
            part.rename(final)
            shutil.rmtree(final / "damaged", ignore_errors=True)


def _remove_abandoned(folder: Path) -> None:
    """Remove what killed builds have left."""
    for part in folder.glob("*.part"):
        if not _OWN_PART.fullmatch(part.name):
            continue
        rows = part / "rows.npy"
        try:
            idle = time.time() - (rows if rows.exists() else part).stat().st_mtime
        except OSError:
            continue
        if idle > _ABANDONED and part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        elif idle > _ABANDONED:
            part.unlink(missing_ok=True)
