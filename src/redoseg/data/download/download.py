"""Downloads a set: its files are fetched, verified and unpacked, and each is there whole or not at all."""

import os
from dataclasses import dataclass
from pathlib import Path

from redoseg.data.download.catalogue import DownloadableSet, RemoteFile
from redoseg.data.download.fetch import Fetcher, NoRoomError, compute_sum, disk_full, matches_sum
from redoseg.data.download.unpack import unpack
from redoseg.errors import DataError, ModelError
from redoseg.files import leftovers, read_json, remove, write_json

DOWNLOADS = "downloads"
SUMS = "checksums.json"


def download(data: DownloadableSet, root: Path, fetcher: Fetcher) -> list[str]:
    """Bring all files of `data`, which must not be a union, to `root`/NAME; those already there stay.

    Returns a line for each file that could not be had. NoRoomError, on a full disk, ends it; whatever else
    fails, it goes on with the next file. Archives stay in `root`/NAME/downloads and may be deleted. If
    an owner publishes no sum of a file, it is recorded in `root`/checksums.json and counts from then on.
    """
    folder = root / data.name
    (folder / DOWNLOADS).mkdir(parents=True, exist_ok=True)
    remove([*leftovers(folder), *leftovers(folder / DOWNLOADS)])
    failures = []
    for file in data.files:
        try:
            _Target(file, folder, fetcher).fill()
        except NoRoomError:
            raise
        except DataError as error:
            failures.append(str(error))
    return failures


@dataclass(frozen=True)
class _Target:
    """One file of a set, and the set's folder that it belongs in."""

    file: RemoteFile
    folder: Path
    fetcher: Fetcher

    @property
    def packed(self) -> Path:
        """Where the file is downloaded to, and stays if it is an archive."""
        return self.folder / DOWNLOADS / self.file.name

    @property
    def own(self) -> Path:
        """Where a file belongs that isn't unpacked."""
        return self.folder / self.file.name

    def fill(self) -> None:
        """Fetch and unpack the file unless that is done. DataError, in one line, if it can't be had."""
        if self.file.unpacked:
            if not all((self.folder / place).exists() for place in self.file.unpacked.values()):
                self._unpack()
        elif not self._is_usable(self.own):
            self._fetch()
            os.replace(self.packed, self.own)
        if not self.file.unpacked and self._expected() is None:
            self._record(self.own)

    def _unpack(self) -> None:
        fetched = self._fetch()
        self.fetcher.console.out(f"unpacking {self.packed}", highlight=False)
        try:
            unpack(self.packed, self.folder, self.file.unpacked)
        except OSError as error:
            raise disk_full(error, self.folder, f"{self.packed} could not be unpacked") from error
        except DataError as error:
            if not fetched:
                raise DataError(f"{error}; delete it and run this again") from error
            self.packed.unlink()
            raise DataError(f"{error}; it was removed: run this again") from error
        if self._expected() is None:
            self._record(self.packed)

    def _fetch(self) -> bool:
        """See to it that the file is in downloads/; returns whether it was fetched for that."""
        if self._is_usable(self.packed):
            return False
        expected = self._expected()
        try:
            self.fetcher.fetch(self.file, self.packed, expected)
        except DataError as error:
            if expected is None or expected == self.file.sum:
                raise
            raise DataError(
                f"{error} (the sum was recorded when the file first came: if its owner has changed it, "
                f"delete {self._key} in {self._sums})"
            ) from error
        return True

    def _is_usable(self, path: Path) -> bool:
        expected = self._expected()
        if not path.is_file() or expected is None or matches_sum(path, self.file, expected):
            return path.is_file()
        text = f"{path} is not the set's file, its sum differs from {expected}: fetching it anew"
        self.fetcher.console.out(text, highlight=False)
        return False

    @property
    def _sums(self) -> Path:
        return self.folder.parent / SUMS

    @property
    def _key(self) -> str:
        return f"{self.folder.name}/{self.file.name}"

    def _expected(self) -> str | None:
        return self.file.sum or _read_sums(self._sums).get(self._key)

    def _record(self, path: Path) -> None:
        write_json(self._sums, _read_sums(self._sums) | {self._key: compute_sum(path)})


def _read_sums(path: Path) -> dict[str, str]:
    """File -> sum, of the files whose owners publish none. DataError if the record is broken."""
    if not path.exists():
        return {}
    try:
        sums = read_json(path)
    except ModelError as error:
        raise DataError(f"{error}: delete it, or mend it") from error
    if not isinstance(sums, dict) or not all(isinstance(value, str) for value in sums.values()):
        raise DataError(f"{path} is not what `redoseg data` wrote: delete it, or mend it")
    return sums
