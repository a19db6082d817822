"""The photos that a page has sent: they lie in a folder of its own until it is closed or forgotten."""

import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from redoseg.files import write_aside
from redoseg.serving.corrected import mask_file
from redoseg.serving.limits import Limits, Refusal

_IDLE = 3600.0  # seconds after which a page's photos are removed
_STALE = 300.0  # the same if there is no room for another page
GONE = "these photos are not here any more: send them again"


class Album:
    """One page's photos, in `folder`/photos, and its corrected masks, in `folder`/corrections. `sizes`: the
    bytes of each photo; `done` and `of`: how far its archive is."""

    def __init__(self, folder: Path, now: float) -> None:
        self.folder, self.heard = folder, now
        self.sizes: dict[str, int] = {}
        self.done = self.of = 0
        self.packing = threading.Lock()
        self.closed = False
        self._users, self._lock = 0, threading.Lock()
        (folder / "photos").mkdir(parents=True)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """For a block that needs its files: they stay until it ends. Refusal (404) if it has been removed."""
        with self._lock:
            if self.closed:
                raise Refusal(404, GONE)
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                left = self.closed and not self._users
            if left:
                shutil.rmtree(self.folder, ignore_errors=True)

    def remove(self) -> None:
        """Remove its files, as soon as nobody needs them."""
        with self._lock:
            self.closed, left = True, not self._users
        if left:
            shutil.rmtree(self.folder, ignore_errors=True)

    def check_open(self) -> None:
        """Refusal (404) if it has been removed meanwhile."""
        if self.closed:
            raise Refusal(404, GONE)

    def photo(self, name: str) -> Path:
        """The file of one of its photos. Refusal (404) for a name that none has."""
        if name not in self.sizes:
            raise Refusal(404, f"there is no photo {name!r} here: send it first")
        return self.folder / "photos" / name

    @property
    def corrections(self) -> Path:
        """The folder of its corrected masks."""
        return self.folder / "corrections"

    def add(self, name: str, content: bytes, most: int) -> None:
        """Keep a photo; one of the same name is replaced. Refusal (409, 413) if it can't be, OSError."""
        if name not in self.sizes and len(self.sizes) >= most:
            raise Refusal(413, f"there are {most} photos already: begin anew")
        file = self.folder / "photos" / name
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            write_aside(file, lambda aside: aside.write_bytes(content))
        except (NotADirectoryError, IsADirectoryError, FileExistsError) as error:
            raise Refusal(409, f"{name!r} is a folder's name and a photo's") from error
        mask_file(self.corrections, name).unlink(missing_ok=True)  # it was another photo's
        self.sizes[name] = len(content)


class Albums:
    """All albums, in one temporary folder."""

    def __init__(self, folder: Path, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder, self._limits, self._clock = folder, limits, clock
        self._albums: dict[str, Album] = {}
        self._lock = threading.Lock()

    def open(self) -> str:
        """A new album's number, which can't be guessed. Refusal (503) if there are too many."""
        self.forget()
        with self._lock:
            if len(self._albums) >= self._limits.albums:
                self._forget(_STALE)
            if len(self._albums) >= self._limits.albums:
                raise Refusal(503, "too many pages have photos here: ask again later", retry_after=60)
            key = secrets.token_urlsafe(16)
            self._albums[key] = Album(self._folder / secrets.token_hex(8), self._clock())
            return key

    def get(self, key: str) -> Album:
        """Refusal (404) for a number that there isn't, or that is forgotten."""
        album = self._albums.get(key)
        if album is None:
            raise Refusal(404, GONE)
        album.heard = self._clock()
        return album

    def add(self, album: Album, name: str, content: bytes) -> None:
        """Keep a photo in an album. Refusal (413) if all albums together are too large; as `Album.add`."""
        kept = sum(sum(list(one.sizes.values())) for one in list(self._albums.values()))
        if kept + len(content) > self._limits.gigabytes << 30:
            raise Refusal(413, f"the photos here are {self._limits.gigabytes} GB already: remove some first")
        album.add(name, content, self._limits.photos)

    def remove(self, key: str) -> None:
        """Refusal (404)."""
        with self._lock:
            album = self._albums.pop(key, None)
        if album is None:
            raise Refusal(404, GONE)
        album.remove()

    def forget(self) -> None:
        """Remove what was not heard of for an hour."""
        with self._lock:
            self._forget(_IDLE)

    def _forget(self, seconds: float) -> None:
        """Remove what was not heard of for so long; never while an archive of it is made."""
        for key, album in list(self._albums.items()):
            if self._clock() - album.heard > seconds and not album.packing.locked():
                self._albums.pop(key).remove()
