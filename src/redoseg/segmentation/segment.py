"""The function segment_files: files, folders and archives of photos to a folder of masks."""

import errno
import os
import threading
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from redoseg.cores import usable_cores
from redoseg.data.archive import Entry, read_in_order
from redoseg.data.formats import IMAGE_SUFFIXES
from redoseg.data.images import decoding
from redoseg.errors import DataError
from redoseg.figures.own_png import check_replaceable, save_own_png
from redoseg.files import expanded, leftovers_of, write_aside
from redoseg.segmentation.plan import MaskJob, plan_jobs
from redoseg.segmentation.segmenter import Masks, NetworkInput, Segmenter

Progress = Callable[[int, int], None]

_CHUNK = 16  # photos that the network is given at once
_AHEAD = 2  # chunks waiting for the network, so that it is never idle; one more chunk is being read
_THREADS = min(4, usable_cores())  # that decode and write: each holds one whole photo in memory
_PNG: dict[str, Any] = {"compress_type": zlib.Z_RLE}  # of masks it makes smaller files in half the time
_BIG = 8_000_000  # pixels: of larger masks one is made at a time, to save memory
_one_big_mask = threading.Lock()
_FATAL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}  # after these no other mask can be written either


@dataclass(frozen=True)
class SegmentReport:
    """What `segment_files` did: the number of masks `written`, and (name, reason) of each photo that failed.

    An input that doesn't exist or holds no photo is among `failed`, too. `left_out` counts the files in the
    inputs that are no photos, or can't be taken for some; the log names them. All of it is fit to print.
    """

    written: int
    failed: list[tuple[str, str]] = field(default_factory=list)
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class WrittenMask:
    """A mask that `segment_files` wrote: the `photo`'s path, the `mask`'s file, its `doubt` from 0, sure, to
    1, not, the `area` of the object as a share of the photo, and the `box` around it: left, top, right and
    bottom in pixels, the last two just outside; None where there is no object."""

    photo: str
    mask: str
    doubt: float
    area: float
    box: tuple[int, int, int, int] | None

    def as_dict(self) -> dict[str, Any]:
        """The same as `redoseg segment --json` prints it, rounded to a ten-thousandth."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        return fields | {"doubt": round(self.doubt, 4), "area": round(self.area, 4)}


@dataclass(frozen=True, slots=True)
class _Loaded:
    """A photo read for the network. `content` are its file's bytes where they are needed again for the edges
    and can't be read again; else None."""

    job: MaskJob
    network_input: NetworkInput
    content: bytes | None


@dataclass(frozen=True, slots=True)
class Failure:
    """A photo that got no mask, and why."""

    job: MaskJob
    reason: str


Result = WrittenMask | Failure


def segment_files(
    segmenter: Segmenter,
    inputs: Sequence[str | Path],
    out: str | Path,
    *,
    progress: Progress | None = None,
    each: Callable[[WrittenMask], object] | None = None,
    cutouts: str | Path | None = None,
    overwrite: bool = False,
) -> SegmentReport:
    """Write a mask for every photo in `inputs` to the folder `out`, as `out`/<relative path>.png.

    `inputs` are images, folders, archives and data sets in their owner's form (`lfw:DIR`). Masks are
    8-bit PNG files of the photo's own size: 255 on the object and 0 elsewhere for two regions, else the
    number of the region. Where two masks would have the same name, the photo's suffix (a.jpg.png) or its
    input's name is added (`plan.py`). A photo that can't be read is reported, and the others are done.
    `cutouts`: another folder, for the photos themselves as PNG of the same names, transparent outside of
    their objects. A file that is there already is only replaced if this function wrote it and it hasn't been
    changed since; with `overwrite` any mask is, but nothing else.
    `progress` is called with (photos done, photos in all), `each` with every mask that was written. Raises
    DataError without any input, or if `out` lies among the photos, holds a file that mustn't be replaced or
    can't be written to.
    """
    return segment_jobs(
        lambda jobs: run_jobs(segmenter, jobs),
        *(inputs, out),
        progress=progress,
        each=each,
        cutouts=cutouts,
        overwrite=overwrite,
    )


def segment_jobs(
    run: Callable[[Sequence[MaskJob]], Iterator[Result]],
    inputs: Sequence[str | Path],
    out: str | Path,
    *,
    progress: Progress | None = None,
    each: Callable[[WrittenMask], object] | None = None,
    cutouts: str | Path | None = None,
    overwrite: bool = False,
) -> SegmentReport:
    """As `segment_files`, but `run` does the jobs, and may yield its results in any order."""
    out = Path(os.path.realpath(expanded(out)))
    apart = None if cutouts is None else Path(os.path.realpath(expanded(cutouts)))
    jobs, failed, left_out = plan_jobs(inputs, out, apart)
    check_replaceable((job.target for job in jobs), overwrite=overwrite)
    check_replaceable(job.cutout for job in jobs if job.cutout is not None)
    for folder in (out, apart) if jobs else ():
        if folder is not None:
            _make_folder(folder)
    written = 0
    for result in run(jobs):
        if isinstance(result, Failure):
            failed.append((result.job.name, result.reason))
        else:
            written += 1
            if each is not None:
                each(result)
        if progress is not None:
            progress(written + len(failed), len(jobs))
    made = [file for job in jobs for file in (job.target, job.cutout) if file is not None]
    for file in leftovers_of(made):  # of a worker or an earlier call that was killed
        file.unlink(missing_ok=True)
    return SegmentReport(written, failed, left_out)


def run_jobs(segmenter: Segmenter, jobs: Sequence[MaskJob]) -> Iterator[Result]:
    """Does the jobs and yields each in its order, done or as a Failure.
    While the network works, other photos are read and masks written. If the iterator is closed early, as by
    Ctrl-C, masks that are being written are finished and no others are begun."""
    contents = _iterate_contents(jobs)
    files, network = ThreadPoolExecutor(_THREADS), ThreadPoolExecutor(_AHEAD)

    def predict(reading: Sequence[Future[_Loaded | Failure]]) -> list[Future[Result] | Failure]:
        photos = [future.result() for future in reading]
        loaded = [photo.network_input for photo in photos if isinstance(photo, _Loaded)]
        masks = iter(segmenter.predict(loaded))
        return [
            photo if isinstance(photo, Failure) else files.submit(_write_mask, segmenter, photo, next(masks))
            for photo in photos
        ]

    ahead: deque[Future[list[Future[Result] | Failure]]] = deque()
    try:
        while True:
            chunk = list(islice(contents, _CHUNK))
            if chunk:
                reading = [files.submit(_load, segmenter, *item) for item in chunk]
                ahead.append(network.submit(predict, reading))
            elif not ahead:
                return
            if not chunk or len(ahead) > _AHEAD:
                for one in ahead.popleft().result():
                    yield one if isinstance(one, Failure) else one.result()
    finally:
        files.shutdown(wait=False, cancel_futures=True)
        network.shutdown(cancel_futures=True)
        files.shutdown()


def _load(segmenter: Segmenter, job: MaskJob, content: bytes | Failure | None) -> _Loaded | Failure:
    if isinstance(content, Failure):
        return content
    try:
        with _open(job, content) as file:
            return _Loaded(job, segmenter.read(file), content)
    except (DataError, OSError) as error:
        return Failure(job, _error_text(error))


def _open(job: MaskJob, content: bytes | None) -> BinaryIO:
    return job.ref.open() if content is None else BytesIO(content)


def _write_mask(segmenter: Segmenter, photo: _Loaded, masks: Masks) -> Result:
    job, size = photo.job, photo.network_input.size
    try:
        with _one_big_mask if size[0] * size[1] > _BIG else nullcontext():
            refined = segmenter.refine(masks, photo.network_input)
            labels, whole = _compute_regions(segmenter, photo, refined.masks)
            written = _describe(job, labels, refined.doubt)
            image = Image.fromarray(labels * 255 if segmenter.n == 2 else labels)
            pictures = [(job.target, image)]
            if job.cutout is not None and whole is not None:
                pictures.append((job.cutout, cut_out(whole, labels > 0)))
    except (DataError, OSError) as error:  # from reading the photo a second time
        return Failure(job, _error_text(error))
    try:
        for target, picture in reversed(pictures):  # the mask comes last: where it is, all is
            write_aside(target, partial(save_own_png, picture, **_PNG))
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        if isinstance(error, OSError) and error.errno in _FATAL:
            raise DataError(f"masks can't be written to {job.target.parent}: {_error_text(error)}") from error
        return Failure(job, f"its mask can't be written: {_error_text(error)}")
    return written


def _describe(job: MaskJob, labels: NDArray[np.uint8], doubt: float) -> WrittenMask:
    objects = labels > 0
    rows, columns = (np.flatnonzero(objects.any(axis)).tolist() for axis in (1, 0))
    box = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1) if rows else None
    return WrittenMask(job.name, str(job.target), doubt, float(objects.mean()), box)


def _compute_regions(
    segmenter: Segmenter, photo: _Loaded, masks: Masks
) -> tuple[NDArray[np.uint8], Image.Image | None]:
    """(H, W), the region of each pixel, and the photo if it was needed. Edges and cut-outs need it at full
    size: it is decoded a second time, as keeping every photo that waits for the network would take too much
    memory."""
    size = photo.network_input.size
    if photo.job.cutout is None and not segmenter.needs_photo(masks, size):
        return segmenter.regions(masks, size), None
    with _open(photo.job, photo.content) as file, decoding(file) as image:
        return segmenter.regions(masks, size, image), image


def cut_out(photo: Image.Image, objects: NDArray[np.bool_]) -> Image.Image:
    """An RGB photo with alpha: opaque where `objects` (H, W) is true, else transparent and black."""
    alpha = objects[..., None].astype(np.uint8)
    return Image.fromarray(np.concatenate((np.asarray(photo) * alpha, 255 * alpha), 2))


def _error_text(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _iterate_contents(jobs: Sequence[MaskJob]) -> Iterator[tuple[MaskJob, bytes | Failure | None]]:
    """Every job, with its photo's bytes where that lies in a compressed tar, which is read in one pass."""
    packed: dict[str, dict[Entry, MaskJob]] = {}
    for job in jobs:
        if job.ref.entry.kind == "packed":
            packed.setdefault(job.ref.entry.source, {})[job.ref.entry] = job
        else:
            yield job, None
    for remaining in packed.values():
        try:
            for entry, content in read_in_order(list(remaining)):
                yield remaining.pop(entry), content
        except (DataError, OSError) as error:  # the photos behind the damage can't be reached
            yield from ((job, Failure(job, _error_text(error))) for job in remaining.values())


def _make_folder(out: Path) -> None:
    if out.suffix.lower() in IMAGE_SUFFIXES and not out.exists():
        raise DataError(f"--out {out} is a folder's name, masks are files in it: leave out {out.suffix}")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"--out {out} can't be made: {error.strerror}") from error
