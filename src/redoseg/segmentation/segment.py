"""Files, folders and archives of photos to a folder of masks."""

import errno
import os
import threading
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from redoseg.data.archive import Entry, read_in_order
from redoseg.data.images import IMAGE_SUFFIXES, decoding
from redoseg.errors import DataError
from redoseg.files import leftovers_of, write_aside
from redoseg.segmentation.plan import Job, planned
from redoseg.segmentation.segmenter import Fitted, Masks, Segmenter

Progress = Callable[[int, int], None]

_CHUNK = 16  # photos that the network is given at once
_AHEAD = 2  # chunks at the network, so that it needn't wait while one is put together; one more is read
_THREADS = min(4, os.cpu_count() or 1)  # for decoding and writing: no more whole photos are in memory
_PNG: dict[str, int] = {"compress_type": zlib.Z_RLE}  # for masks half the time, and smaller files
_BIG = 8_000_000  # pixels; bigger masks are made one at a time
_one_big_mask = threading.Lock()
_HOPELESS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}  # no other mask can be written either


@dataclass(frozen=True)
class SegmentReport:
    """`written` masks, and of each photo that `failed` its name, fit to print, and the reason."""

    written: int
    failed: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Read:
    """`content`: the file's, if it is needed again and can't be had again."""

    job: Job
    fitted: Fitted
    content: bytes | None


@dataclass(frozen=True, slots=True)
class Failure:
    """A photo that got no mask, and why."""

    job: Job
    reason: str


def segment_files(
    segmenter: Segmenter, inputs: Sequence[str | Path], out: str | Path, *, progress: Progress | None = None
) -> SegmentReport:
    """A mask for every photo in `inputs` (images, folders, archives, `lfw:DIR`) as `out`/<relative path>.png.

    8-bit PNG of the photo's own size: 255 on the object if the model has two regions, else the region's
    number. Names that would be the same keep their suffix (a.jpg.png) or get their input's name in front.
    A photo that fails is reported, and so is an input that isn't there or holds no photo; the rest is done.
    `progress` hears (photos done, photos in all). DataError without any input, if `out` lies among the photos
    or can't be written to.
    """
    return segment_jobs(lambda jobs: segmented(segmenter, jobs), inputs, out, progress=progress)


def segment_jobs(
    run: Callable[[Sequence[Job]], Iterator[Job | Failure]],
    inputs: Sequence[str | Path],
    out: str | Path,
    *,
    progress: Progress | None = None,
) -> SegmentReport:
    """As `segment_files`, where `run` does the jobs, in any order."""
    out = Path(os.path.realpath(out))
    jobs, failed = planned(inputs, out)
    if jobs:
        _make_folder(out)
    written = 0
    for result in run(jobs):
        if isinstance(result, Failure):
            failed.append((result.job.name, result.reason))
        else:
            written += 1
        if progress is not None:
            progress(written + len(failed), len(jobs))
    for left in leftovers_of(job.target for job in jobs):  # by a worker, or an earlier call, that was killed
        left.unlink(missing_ok=True)
    return SegmentReport(written, failed)


def segmented(segmenter: Segmenter, jobs: Sequence[Job]) -> Iterator[Job | Failure]:
    """Every job in its order, done or failed. While the network works, photos are read and masks written.

    Closed early, by Ctrl-C for one, it finishes what is being written and begins nothing more.
    """
    contents = _read_contents(jobs)
    files, network = ThreadPoolExecutor(_THREADS), ThreadPoolExecutor(_AHEAD)

    def work(reads: Sequence[Future[_Read | Failure]]) -> list[Future[Job | Failure] | Failure]:
        found = [read.result() for read in reads]
        masks = iter(segmenter.predict([one.fitted for one in found if isinstance(one, _Read)]))
        return [
            one if isinstance(one, Failure) else files.submit(_write, segmenter, one, next(masks))
            for one in found
        ]

    ahead: deque[Future[list[Future[Job | Failure] | Failure]]] = deque()
    try:
        while True:
            chunk = list(islice(contents, _CHUNK))
            if chunk:
                ahead.append(network.submit(work, [files.submit(_read, segmenter, *item) for item in chunk]))
            elif not ahead:
                return
            if not chunk or len(ahead) > _AHEAD:
                for one in ahead.popleft().result():
                    yield one if isinstance(one, Failure) else one.result()
    finally:
        files.shutdown(wait=False, cancel_futures=True)
        network.shutdown(cancel_futures=True)
        files.shutdown()


def _read(segmenter: Segmenter, job: Job, content: bytes | Failure | None) -> _Read | Failure:
    if isinstance(content, Failure):
        return content
    try:
        with _open(job, content) as file:
            return _Read(job, segmenter.read(file), None if segmenter.edges is None else content)
    except (DataError, OSError) as error:
        return Failure(job, _reason(error))


def _open(job: Job, content: bytes | None) -> BinaryIO:
    return job.ref.open() if content is None else BytesIO(content)


def _write(segmenter: Segmenter, read: _Read, masks: Masks) -> Job | Failure:
    job, size = read.job, read.fitted.size
    try:
        with _one_big_mask if size[0] * size[1] > _BIG else nullcontext():
            labels = _regions(segmenter, read, masks)
            image = Image.fromarray(labels * 255 if segmenter.n == 2 else labels)
    except (DataError, OSError) as error:  # the photo, where it is read again
        return Failure(job, _reason(error))
    try:
        write_aside(job.target, lambda aside: image.save(aside, "PNG", **_PNG))
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        if isinstance(error, OSError) and error.errno in _HOPELESS:
            raise DataError(f"masks can't be written to {job.target.parent}: {_reason(error)}") from error
        return Failure(job, f"its mask can't be written: {_reason(error)}")
    return job


def _regions(segmenter: Segmenter, read: _Read, masks: Masks) -> NDArray[np.uint8]:
    """(H, W). For its edges the photo is decoded again, whole: to keep those that wait would take more."""
    if segmenter.edges is None:
        return segmenter.regions(masks, read.fitted.size)
    with _open(read.job, read.content) as file, decoding(file) as photo:
        return segmenter.regions(masks, read.fitted.size, photo)


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _read_contents(jobs: Sequence[Job]) -> Iterator[tuple[Job, bytes | Failure | None]]:
    """Every job; with the bytes where they can only be had in passing (compressed tars), else None."""
    packed: dict[str, dict[Entry, Job]] = {}
    for job in jobs:
        if job.ref.entry.kind == "packed":
            packed.setdefault(job.ref.entry.source, {})[job.ref.entry] = job
        else:
            yield job, None
    for waiting in packed.values():
        try:
            for entry, content in read_in_order(list(waiting)):
                yield waiting.pop(entry), content
        except (DataError, OSError) as error:  # nothing behind the damage can be reached
            yield from ((job, Failure(job, _reason(error))) for job in waiting.values())


def _make_folder(out: Path) -> None:
    if out.suffix.lower() in IMAGE_SUFFIXES and not out.exists():
        raise DataError(f"--out {out} is a folder's name, masks are files in it: leave out {out.suffix}")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"--out {out} can't be made: {error.strerror}") from error
