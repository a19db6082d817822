"""Fetches a file, by pooch, from the first server that has it; it is written whole or not at all."""

import errno
import gzip
import hashlib
import time
import zlib
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pooch
from requests import Response
from requests.exceptions import HTTPError, RequestException
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from urllib3.exceptions import HTTPError as ConnectionFault
from urllib3.exceptions import NewConnectionError

from redoseg.data.download.catalogue import RemoteFile
from redoseg.errors import DataError, first_line
from redoseg.files import write_aside
from redoseg.version import __version__

_CHUNK = 1 << 20
_BUSY = (408, 425, 429)  # with these, as with all from 500 on, the server may answer in a moment


class NoRoomError(DataError):
    """The disk is full: nothing more can be fetched."""


class _FailedError(Exception):
    """Why a server's file can't be used; `again`: another try may succeed; `sum`: that of a wrong file."""

    def __init__(self, why: str, again: bool = False, sum_: str | None = None) -> None:
        super().__init__(why)
        self.again = again
        self.sum = sum_


@dataclass(frozen=True)
class Fetcher:
    """Asks each server up to `tries` times; after each failure it waits `wait` seconds longer than before."""

    console: Console
    tries: int = 3
    wait: float = 1.0

    def fetch(self, file: RemoteFile, target: Path, expected: str | None) -> None:
        """Write `file` to `target` and check that its sum is `expected`, if that is known. DataError, which
        names every server, if none has it; NoRoomError on a full disk. Then `target` is left as it was."""
        failures = []
        for url in file.urls:
            self.console.out(f"fetching {url}", highlight=False)
            try:
                return self._fetch_from(url, file, target, expected)
            except _FailedError as failed:
                failures.append(f"{url}: {failed}")
        with_sum = f" ({expected})" if expected else ""
        raise DataError(
            f"{'; '.join(failures)}. Try again later, or get {file.name} elsewhere{with_sum}, put it into "
            f"{target.parent} and run this again"
        )

    def _fetch_from(self, url: str, file: RemoteFile, target: Path, expected: str | None) -> None:
        seen: str | None = None
        for attempt in range(self.tries):
            time.sleep(attempt * self.wait)
            try:
                return write_aside(target, lambda aside: self._fetch_once(url, file, aside, expected))
            except _FailedError as failed:
                # the same wrong sum twice means another file, not a damaged one
                last = attempt == self.tries - 1 or not failed.again
                if last or (failed.sum is not None and failed.sum == seen):
                    raise
                seen = failed.sum
                self.console.out(f"again: {failed}", highlight=False)
        raise ValueError("tries must be at least 1")

    def _fetch_once(self, url: str, file: RemoteFile, aside: Path, expected: str | None) -> None:
        with closing(Bar(self.console, file.name)) as bar:
            try:
                _make_downloader(file, bar)(url, str(aside), None)
            except HTTPError as error:
                status = 0 if error.response is None else error.response.status_code
                # "404 Client Error: Not Found for url: ...": the URL is in the message already
                said = first_line(error).partition(" for url")[0]
                raise _FailedError(f"the server says {said}", status in _BUSY or status >= 500) from error
            except RequestException as error:
                unreachable = _is_caused_by(error, NewConnectionError)
                said = "can't be reached (is there a network?)" if unreachable else "the connection broke off"
                raise _FailedError(said, not unreachable) from error
            except ConnectionFault as error:
                raise _FailedError("the connection broke off", again=True) from error
            except OSError as error:
                raise disk_full(error, aside.parent, f"{url} could not be kept") from error
        check_content(aside, file, expected)


def check_content(path: Path, file: RemoteFile, expected: str | None) -> None:
    """_FailedError if `path` is another file than expected or, where no sum is known, a web page."""
    if expected is None:
        with open(path, "rb") as stream:
            start = stream.read(64).lstrip()
        if not start or start.startswith(b"<"):
            raise _FailedError("sent a web page or nothing instead of the file")
    elif not matches_sum(path, file, expected):
        found = compute_sum(path, expected.partition(":")[0])
        why = f"sent another file: its sum is {found}, not {expected}; it was removed"
        raise _FailedError(why, again=True, sum_=found)


def matches_sum(path: Path, file: RemoteFile, expected: str) -> bool:
    """Whether `path` has the sum `expected`, or is a .gz file with the content that is expected."""
    if compute_sum(path, expected.partition(":")[0]) == expected:
        return True
    return file.inside is not None and _compute_inner_sum(path, file.inside.partition(":")[0]) == file.inside


def compute_sum(path: Path, algorithm: str = "sha256") -> str:
    """The file's sum as `algorithm:hexadecimal`."""
    return f"{algorithm}:{pooch.file_hash(str(path), alg=algorithm)}"


def _compute_inner_sum(path: Path, algorithm: str) -> str | None:
    """The sum of what a gzip file holds; None if it is no such file, or damaged."""
    try:
        with gzip.open(path) as stream:
            found = hashlib.file_digest(stream, partial(hashlib.new, algorithm, usedforsecurity=False))
    except (OSError, EOFError, zlib.error):
        return None
    return f"{algorithm}:{found.hexdigest()}"


def disk_full(error: OSError, folder: Path, what: str) -> OSError | DataError:
    """The error to raise for `error`: on a full disk NoRoomError, which says what to do, else `error`."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return error
    return NoRoomError(
        f"{what}: no room is left in {folder} ({first_line(error)}); free some or give another --root, then "
        "run this again: what is complete is kept"
    )


def _make_downloader(file: RemoteFile, bar: "Bar") -> Any:
    # a server's compression on the way is undone, but not the file's own
    is_packed = file.name.endswith((".gz", ".tgz"))
    return pooch.HTTPDownloader(
        progressbar=bar,
        chunk_size=_CHUNK,
        timeout=30,
        headers={"User-Agent": f"redoseg/{__version__}", "Accept-Encoding": "identity"},
        hooks={"response": _keep_compressed} if is_packed else {},
    )


def _keep_compressed(response: Response, *_: object, **__: object) -> None:
    """Keep a .tgz as it is, though its server calls it a compressed .tar: the known sum is the .tgz's."""
    response.raw.headers.discard("content-encoding")


def _is_caused_by(error: BaseException | None, kind: type[BaseException]) -> bool:
    """Whether an error or a cause of it is of a kind; requests hides the causes in its errors' arguments."""
    while error is not None:
        reasons = [error, *error.args, getattr(error.args[0] if error.args else None, "reason", None)]
        if any(isinstance(reason, kind) for reason in reasons):
            return True
        error = error.__cause__ or error.__context__
    return False


class Bar:
    """A progress bar with the methods that pooch calls; it shows nothing if there is no terminal."""

    def __init__(self, console: Console, name: str) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        self._progress = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task = self._progress.add_task(name, total=None)
        self._progress.start()

    @property
    def total(self) -> float | None:
        """The file's bytes; None if the server doesn't say."""
        return self._progress.tasks[0].total

    @total.setter
    def total(self, total: int) -> None:
        self._progress.update(self._task, total=total or None)

    def update(self, more: int) -> None:
        self._progress.advance(self._task, more)

    def reset(self) -> None:
        self._progress.update(self._task, completed=0)

    def close(self) -> None:
        self._progress.stop()
