"""All photos of an album as `redoseg segment` writes their masks, in one archive."""

import secrets
import shutil
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from redoseg.config.segment import SegmentConfig
from redoseg.errors import RedosegError
from redoseg.segmentation.segment import WrittenMask, segment_files
from redoseg.segmentation.segmenter import Segmenter
from redoseg.segmentation.table import MaskTable
from redoseg.serving.albums import Album
from redoseg.serving.limits import Refusal

_PIECE = 1 << 18  # bytes of an archive that are sent at once


def pack(
    album: Album, segmenter: Segmenter, config: SegmentConfig, measured: bool, ending: threading.Event
) -> Path:
    """Segment all photos of an album, and leave an archive of all that `config` asks for, with a table of all
    photos and the corrected masks. Refusal (404) without photos, (409) while another one is made, (503) as
    soon as the server is `ending`; OSError."""
    if not album.sizes:
        raise Refusal(404, "there are no photos yet")
    if not album.packing.acquire(blocking=False):
        raise Refusal(409, "an archive of these photos is being made already", retry_after=5)
    out = album.folder / "masks"
    try:
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        _segment(album, segmenter, config, measured, ending, out)
        return _zip(album.folder, out)
    finally:
        shutil.rmtree(out, ignore_errors=True)
        album.packing.release()


def _segment(
    album: Album,
    segmenter: Segmenter,
    config: SegmentConfig,
    measured: bool,
    ending: threading.Event,
    out: Path,
) -> None:
    photos = album.folder / "photos"
    table, missing = MaskTable(out / "photos.csv"), set(album.sizes)
    album.done, album.of = 0, len(missing)

    def write(mask: WrittenMask) -> None:
        photo = _within(mask.photo, photos)
        missing.discard(photo)
        table.write(replace(mask, photo=photo, mask=_within(mask.mask, out)))

    def note(done: int, of: int) -> None:
        album.done, album.of = done, of
        album.check_open()
        if ending.is_set():
            raise Refusal(503, "the server is ending: ask again later", retry_after=60)

    measurements = out / "measurements.csv" if measured else None
    try:
        config = replace(config, measurements=measurements)
        found = segment_files(segmenter, photos, out, progress=note, each=write, config=config)
    except RedosegError as error:
        raise Refusal(400, str(error).replace(f"{photos}/", "")) from error
    for photo, reason in found.failed:
        name = _within(photo, photos)
        missing.discard(name)
        table.write_failure(name, reason)
    for photo in sorted(missing):
        table.write_failure(photo, "left out: by its name it is no photo")
    table.close()
    if measurements is not None and measurements.is_file():
        text = measurements.read_text(encoding="utf-8")
        measurements.write_text(text.replace(f"{photos}/", ""), encoding="utf-8")


def _zip(folder: Path, out: Path) -> Path:
    archive, prefix = folder / f"{secrets.token_hex(8)}.zip", "corrections"
    while (out / prefix).exists():  # photos may lie in a folder of that name
        prefix += "-painted"
    try:
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed:
            for root, start in ((out, ""), (folder / "corrections", f"{prefix}/")):
                for file in sorted(root.rglob("*")) if root.is_dir() else ():
                    if file.is_file() and not file.name.startswith("."):  # of redoseg's own use
                        packed.write(file, f"{start}{file.relative_to(root).as_posix()}")
    except OSError:
        archive.unlink(missing_ok=True)
        raise
    return archive


def _within(path: str, folder: Path) -> str:
    return Path(path).relative_to(folder).as_posix() if Path(path).is_relative_to(folder) else path


def pieces(archive: Path) -> Iterator[bytes]:
    """The archive's bytes; at the end, or where nobody reads on, the file is removed."""
    try:
        with open(archive, "rb") as file:
            while piece := file.read(_PIECE):
                yield piece
    finally:
        archive.unlink(missing_ok=True)
