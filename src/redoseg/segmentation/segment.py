"""The function segment_files: files, folders and archives of photos to a folder of masks."""

import errno
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, nullcontext
from dataclasses import dataclass
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from redoseg.config.segment import PLAIN, WITH_PHOTO, SegmentConfig
from redoseg.cores import usable_cores
from redoseg.data.archive import Entry, read_in_order
from redoseg.data.formats import IMAGE_SUFFIXES
from redoseg.data.images import decoding
from redoseg.data.naming import join_names
from redoseg.errors import DataError, reason_of
from redoseg.figures.own_png import check_replaceable
from redoseg.files import expanded, leftovers_of, remove, write_aside
from redoseg.segmentation.annotations.shapes import shapes_in
from redoseg.segmentation.crops import box_of
from redoseg.segmentation.framed import Frame, read_within
from redoseg.segmentation.measuring import measure
from redoseg.segmentation.objects import Objects, find_objects
from redoseg.segmentation.pictures import draw, saving
from redoseg.segmentation.plan import MaskJob, plan_jobs
from redoseg.segmentation.records import Records
from redoseg.segmentation.segmenter import Masks, NetworkInput, Segmenter
from redoseg.segmentation.written import Doubtful, Failure, Result
from redoseg.segmentation.written import SegmentReport as SegmentReport
from redoseg.segmentation.written import WrittenMask as WrittenMask

Progress = Callable[[int, int], None]

_CHUNK = 16  # photos that the network is given at once
_AHEAD = 2  # chunks waiting for the network, so that it is never idle; one more chunk is being read
_THREADS = min(4, usable_cores())  # that decode and write: each holds one whole photo in memory
_BIG = 8_000_000  # pixels: of larger masks one is made at a time, to save memory
_one_big_mask = threading.Lock()
_FATAL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}  # after these no other mask can be written either


@dataclass(frozen=True, slots=True)
class _Loaded:
    """A photo read for the network. `content` are its file's bytes where they are needed again for the edges
    and can't be read again; else None. `frame`: of a photo within which the object is looked for."""

    job: MaskJob
    network_input: NetworkInput
    content: bytes | None
    frame: Frame | None = None


def segment_files(
    segmenter: Segmenter,
    inputs: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    progress: Progress | None = None,
    each: Callable[[WrittenMask], object] | None = None,
    cutouts: str | Path | None = None,
    overwrite: bool = False,
    config: SegmentConfig = PLAIN,
) -> SegmentReport:
    """Write a mask for every photo in `inputs` to the folder `out`, as `out`/<relative path>.png.

    `inputs` are images, patterns of their names (`photos/*.jpg`), folders, archives and data sets in their
    owner's form (`lfw:DIR`). Masks are 8-bit PNG files of the photo's own size: 255 on the object and 0
    elsewhere for two regions, else the number of the region. `config` says what else is written, or instead,
    and what the object is. Where two masks would have the same name, the photo's suffix (a.jpg.png) or its
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
        *([inputs] if isinstance(inputs, str | Path) else inputs, out),
        n=segmenter.n,
        config=config,
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
    n: int,
    progress: Progress | None = None,
    each: Callable[[WrittenMask], object] | None = None,
    cutouts: str | Path | None = None,
    overwrite: bool = False,
    config: SegmentConfig = PLAIN,
) -> SegmentReport:
    """As `segment_files`, but `run` does the jobs, with a model of `n` regions, and may yield its results in
    any order."""
    config.check_regions(n)
    out = Path(os.path.realpath(expanded(out)))
    apart = None if cutouts is None else Path(os.path.realpath(expanded(cutouts)))
    jobs, without, left_out = plan_jobs(inputs, out, apart, config)
    pictures = [picture for job in jobs for picture in job.pictures]
    masks = {"mask", "colmap"}
    check_replaceable((file for type, file in pictures if type in masks), overwrite=overwrite)
    check_replaceable(file for type, file in pictures if type not in masks)
    records = Records(out, jobs, config, n, overwrite=overwrite)
    for folder in (out, apart) if jobs else ():
        if folder is not None:
            _make_folder(folder)
    failed: list[tuple[str, str]] = []
    written = doubtful = trimmed = 0
    with closing(records):
        for result in run(jobs):
            if not isinstance(result, Failure):
                result = _recorded(records, result)
            if isinstance(result, Failure):
                failed.append((result.job.name, result.reason))
            elif isinstance(result, Doubtful):
                doubtful += 1
            else:
                written += 1
                trimmed += result.trimmed
                if each is not None:
                    each(result)
            if progress is not None:
                progress(written + doubtful + len(failed), len(jobs))
    remove(leftovers_of(file for _, file in pictures))  # of a worker or an earlier call that was killed
    return SegmentReport(written, without + failed, left_out, len(without), doubtful, trimmed)


def _recorded(records: Records, result: WrittenMask | Doubtful) -> Result:
    """What became of a photo, or a Failure if its annotations can't be written, or what an earlier call wrote
    of a doubtful one can't be removed: others' still may be."""
    if isinstance(result, Doubtful):
        return _removed(records, result)
    try:
        records.add(result)
    except (OSError, ValueError) as error:  # such as a name that is too long with another suffix
        if isinstance(error, OSError) and error.errno in _FATAL:
            raise
        return Failure(records.job_of(result), f"its annotations can't be written: {reason_of(error)}")
    return result


def _removed(records: Records, doubtful: Doubtful) -> Doubtful | Failure:
    try:
        foreign = records.remove_doubtful(doubtful.job)
    except OSError as error:
        if error.errno in _FATAL:
            raise
        why = f"it is too doubtful, and its files can't be removed: {reason_of(error)}"
        return Failure(doubtful.job, why)
    if foreign is not None:
        there = join_names([str(foreign)])
        why = f"it is too doubtful, and {there} stays: redoseg didn't write it, or it has been changed since"
        return Failure(doubtful.job, why)
    return doubtful


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
        if job.config.trim:
            with _open(job, content) as file:
                found = read_within(segmenter, file)
            if found is not None:
                return _Loaded(job, found[0], content, found[1])
        with _open(job, content) as file:
            return _Loaded(job, segmenter.read(file), content)
    except (DataError, OSError) as error:
        return Failure(job, reason_of(error))


def _open(job: MaskJob, content: bytes | None) -> BinaryIO:
    return job.ref.open() if content is None else BytesIO(content)


def _write_mask(segmenter: Segmenter, photo: _Loaded, masks: Masks) -> Result:
    job, size = photo.job, photo.network_input.size
    try:
        with _one_big_mask if size[0] * size[1] > _BIG else nullcontext():
            refined = segmenter.refine(masks, photo.network_input)
            if job.config.max_doubt is not None and round(refined.doubt, 4) > job.config.max_doubt:
                return Doubtful(job)  # rounded as in all tables, so that a doubt read there can be given
            objects, whole = _find_objects(segmenter, photo, refined.masks)
            written = _describe(photo, objects, whole, refined.doubt)
            pictures = [(file, draw(type, objects, whole)) for type, file in job.pictures]
    except (DataError, OSError) as error:  # from reading the photo a second time
        return Failure(job, reason_of(error))
    try:
        for file, picture in reversed(pictures):  # the mask comes last: where it is, all is
            write_aside(file, saving(picture))
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        if isinstance(error, OSError) and error.errno in _FATAL:
            raise DataError(f"masks can't be written to {job.target.parent}: {reason_of(error)}") from error
        return Failure(job, f"its mask can't be written: {reason_of(error)}")
    return written


def _describe(photo: _Loaded, objects: Objects, whole: Image.Image | None, doubt: float) -> WrittenMask:
    job, inside = photo.job, objects.labels > 0
    files: dict[str, str] = {type: str(file) for type, file in job.pictures}
    shapes = shapes_in(objects.labels) if job.config.needs_shapes else None
    measures = measure(objects.labels, whole) if job.config.measurements and whole is not None else ()
    area, box, trimmed = float(inside.mean()), box_of(inside), photo.frame is not None
    return WrittenMask(job.name, str(job.target), doubt, area, box, files, shapes, measures, trimmed)


def _find_objects(segmenter: Segmenter, photo: _Loaded, masks: Masks) -> tuple[Objects, Image.Image | None]:
    """The objects, and the photo if it was needed. Edges, cut-outs and overlays need it at full size: it is
    decoded a second time, as keeping every photo that waits for the network would take too much memory."""
    size, config = photo.network_input.size, photo.job.config
    shown = any(type in WITH_PHOTO for type, _ in photo.job.pictures)
    frame = photo.frame
    if not (shown or config.shows_photo or segmenter.needs_photo(masks, size)):
        objects = find_objects(segmenter, masks, size, None, config)
        return objects if frame is None else frame.around(objects), None
    with _open(photo.job, photo.content) as file, decoding(file) as image:
        if frame is None:
            return find_objects(segmenter, masks, size, image, config), image
        return frame.around(find_objects(segmenter, masks, size, frame.cut(image), config)), image


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
            yield from ((job, Failure(job, reason_of(error))) for job in remaining.values())


def _make_folder(out: Path) -> None:
    if out.suffix.lower() in IMAGE_SUFFIXES and not out.exists():
        raise DataError(f"--out {out} is a folder's name, masks are files in it: leave out {out.suffix}")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"--out {out} can't be made: {error.strerror}") from error
