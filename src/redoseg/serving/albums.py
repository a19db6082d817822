"""The photos that a page has sent: they lie in a folder of its own until it is closed or forgotten."""

import secrets
import shutil
import threading
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from redoseg.config.segment import SegmentConfig
from redoseg.data.mask_files import read_mask
from redoseg.errors import RedosegError
from redoseg.segmentation.segment import WrittenMask, segment_files
from redoseg.segmentation.segmenter import Segmenter
from redoseg.segmentation.table import MaskTable
from redoseg.serving.corrected import mask_file
from redoseg.serving.limits import Limits, Refusal

_IDLE = 3600.0  # seconds after which a page's photos are removed
_STALE = 300.0  # the same if there is no room for another page


@dataclass
class Album:
    """One page's photos, in `folder`/photos, and its corrected masks, in `folder`/corrections. `done` and
    `of`: how far its archive is."""

    folder: Path
    heard: float
    names: set[str] = field(default_factory=set)
    done: int = 0
    of: int = 0
    packing: threading.Lock = field(default_factory=threading.Lock)

    def photo(self, name: str) -> Path:
        """The file of one of its photos. Refusal (404) for a name that none has."""
        if name not in self.names:
            raise Refusal(404, f"there is no photo {name!r} here: send it first")
        return self.folder / "photos" / name

    def corrected(self, name: str) -> NDArray[np.uint8] | None:
        """The labels (H, W) of a photo's corrected mask; None if it wasn't corrected since it was sent."""
        file = mask_file(self.folder / "corrections", name)
        return read_mask(file)[0] if file.is_file() else None

    def add(self, name: str, content: bytes, most: int) -> None:
        """Keep a photo; one of the same name is replaced. Refusal (409, 413) if it can't be."""
        if name not in self.names and len(self.names) >= most:
            raise Refusal(413, f"there are {most} photos already: begin anew")
        file = self.folder / "photos" / name
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        except (NotADirectoryError, IsADirectoryError, FileExistsError) as error:
            raise Refusal(409, f"{name!r} is a folder's name and a photo's") from error
        mask_file(self.folder / "corrections", name).unlink(missing_ok=True)  # it was another photo's
        self.names.add(name)

    def pack(self, segmenter: Segmenter, config: SegmentConfig, measured: bool) -> Path:
        """Segment all photos, and leave an archive of all that `config` asks for, with a table of all photos
        and the corrected masks. Refusal (404) without photos, (409) while another one is being made."""
        if not self.names:
            raise Refusal(404, "there are no photos yet")
        if not self.packing.acquire(blocking=False):
            raise Refusal(409, "an archive of these photos is being made already", retry_after=5)
        try:
            return self._pack(segmenter, config, measured)
        finally:
            self.packing.release()

    def _pack(self, segmenter: Segmenter, config: SegmentConfig, measured: bool) -> Path:
        photos, out = self.folder / "photos", self.folder / "masks"
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        self.done, self.of = 0, len(self.names)
        measurements = out / "measurements.csv" if measured else None
        table = MaskTable(out / "photos.csv")

        def write(mask: WrittenMask) -> None:
            photo, file = Path(mask.photo), Path(mask.mask)
            table.write(replace(mask, photo=_within(photo, photos), mask=_within(file, out)))

        try:
            config = replace(config, measurements=measurements)
            found = segment_files(segmenter, photos, out, progress=self._note, each=write, config=config)
        except RedosegError as error:
            raise Refusal(400, str(error)) from error
        for photo, reason in found.failed:
            table.write_failure(_within(Path(photo), photos), reason)
        table.close()
        if measurements is not None and measurements.is_file():
            text = measurements.read_text(encoding="utf-8")
            measurements.write_text(text.replace(f"{photos}/", ""), encoding="utf-8")
        return self._zip(out)

    def _note(self, done: int, of: int) -> None:
        self.done, self.of = done, of

    def _zip(self, out: Path) -> Path:
        archive = self.folder / f"{secrets.token_hex(8)}.zip"
        corrections = self.folder / "corrections"
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed:
            for root, prefix in ((out, ""), (corrections, "corrections/")):
                for file in sorted(root.rglob("*")) if root.is_dir() else ():
                    if file.is_file() and not file.name.startswith("."):  # of redoseg's own use
                        packed.write(file, f"{prefix}{file.relative_to(root).as_posix()}")
        shutil.rmtree(out, ignore_errors=True)
        return archive


def _within(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.as_posix()


class Albums:
    """All albums, in one temporary folder."""

    def __init__(self, folder: Path, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder, self._limits, self._clock = folder, limits, clock
        self._albums: dict[str, Album] = {}

    def open(self) -> str:
        """A new album's number, which can't be guessed. Refusal (503) if there are too many."""
        self._forget(_IDLE)
        if len(self._albums) >= self._limits.albums:
            self._forget(_STALE)
        if len(self._albums) >= self._limits.albums:
            raise Refusal(503, "too many pages have photos here: ask again later", retry_after=60)
        key = secrets.token_urlsafe(16)
        album = Album(self._folder / secrets.token_hex(8), self._clock())
        (album.folder / "photos").mkdir(parents=True)
        self._albums[key] = album
        return key

    def get(self, key: str) -> Album:
        """Refusal (404) for a number that there isn't, or that is forgotten."""
        album = self._albums.get(key)
        if album is None:
            raise Refusal(404, "these photos are not here any more: send them again")
        album.heard = self._clock()
        return album

    def remove(self, key: str) -> None:
        """Refusal (404)."""
        self.get(key)
        shutil.rmtree(self._albums.pop(key).folder, ignore_errors=True)

    def _forget(self, seconds: float) -> None:
        """Remove what was not asked for so long; never while an archive of it is made."""
        for key, album in list(self._albums.items()):
            if self._clock() - album.heard > seconds and not album.packing.locked():
                shutil.rmtree(self._albums.pop(key).folder, ignore_errors=True)
