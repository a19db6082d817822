"""What is written from the results of all photos, in one process: annotations and measurements."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

from redoseg.config.segment import SegmentConfig
from redoseg.figures.own_png import check_replaceable, is_own
from redoseg.files import leftovers_of, remove
from redoseg.segmentation.annotations import formats
from redoseg.segmentation.annotations.own_text import OwnTexts, is_annotation
from redoseg.segmentation.annotations.places import COCO, YAML, check_texts
from redoseg.segmentation.annotations.shapes import PhotoShapes
from redoseg.segmentation.plan import MaskJob
from redoseg.segmentation.table import MeasuredTable, check_table
from redoseg.segmentation.written import WrittenMask


class Records:
    """The text files and the table of a call of `segment_files`: those of one photo are written by `add`,
    those of all by `close`, after Ctrl-C of the photos that were done."""

    def __init__(
        self, out: Path, jobs: Sequence[MaskJob], config: SegmentConfig, n: int, *, overwrite: bool
    ) -> None:
        """DataError if a file is there that mustn't be replaced, ConfigError for a table of another name."""
        self._out, self._config, self._texts = out, config, OwnTexts(out)
        self._names = config.category_names(n)
        self._jobs = {str(job.target): job for job in jobs}
        self._written = self._doubtful = 0
        self._table = None
        if config.measurements is not None:
            check_table("--measurements", config.measurements)
            self._table = MeasuredTable(config.measurements)
        self._coco: dict[str, tuple[dict[str, object], list[str]]] = {}
        check_texts([(job.name, file) for job in jobs for form, file in job.texts if form == "yolo"])
        self._files = [file for job in jobs for _, file in job.texts]
        self._files += [out / COCO] * config.writes_coco + [out / YAML] * ("yolo" in config.annotations)
        check_replaceable(
            self._files, overwrite=overwrite, own=self._texts.is_own, kind=is_annotation, what="an annotation"
        )

    def job_of(self, written: WrittenMask) -> MaskJob:
        """The job whose result it is."""
        return self._jobs[written.mask]

    def add(self, written: WrittenMask) -> None:
        """Take up what a photo has got. OSError."""
        job = self._jobs[written.mask]
        self._written += 1
        if self._table is not None:
            self._table.write(written)
        if written.shapes is None:
            return
        for form, file in job.texts:
            if form == "labelme":
                path = _seen_from(file.parent, job)
                self._texts.write(file, [formats.labelme_text(written.shapes, path, self._names)])
            else:
                self._texts.write(file, [formats.yolo_text(written.shapes, self._names)])
        if self._config.writes_coco:
            self._coco[job.photo_name] = self._coco_entry(job.photo_name, written.shapes)

    def remove_doubtful(self, job: MaskJob) -> Path | None:
        """Remove what an earlier call wrote of a photo that is too doubtful now. Files that aren't redoseg's
        as it wrote them stay; the first of them, if any. OSError."""
        self._doubtful += 1
        knowers = {file: is_own for _, file in job.pictures} | {
            file: self._texts.is_own for _, file in job.texts
        }
        foreign = None
        for file, own in knowers.items():
            if not os.path.lexists(file):
                continue
            if file.is_symlink() or file.is_dir() or not own(file):
                foreign = foreign or file
            else:
                file.unlink()
        return foreign

    def _coco_entry(self, name: str, photo: PhotoShapes) -> tuple[dict[str, object], list[str]]:
        """The photo's entry, and its annotations as JSON, which takes less memory than what it stands for."""
        width, height = photo.size
        exact = "coco-rle" in self._config.annotations
        found = formats.coco_annotations(photo, self._names, exact)
        return {"file_name": name, "width": width, "height": height}, [json.dumps(one) for one in found]

    def close(self) -> None:
        """Write what is one file for all photos, unless there are none. OSError."""
        remove(leftovers_of(self._files))  # of an earlier call that was killed
        if self._table is not None:
            if self._doubtful:
                self._table.begin()
            self._table.close()
        if self._coco or (self._config.writes_coco and self._doubtful):
            photos = [self._coco[name] for name in sorted(self._coco)]
            self._texts.write(self._out / COCO, formats.coco_lines(photos, self._names))
        if "yolo" in self._config.annotations and self._written:
            self._texts.write(self._out / YAML, [formats.yolo_yaml(self._names)])


def _seen_from(folder: Path, job: MaskJob) -> str:
    """The photo's path relative to a folder; of one in an archive its name, as if unpacked there."""
    entry = job.ref.entry
    if entry.kind != "file":
        return job.photo_name
    try:
        return Path(os.path.relpath(os.path.join(entry.source, entry.path), folder)).as_posix()
    except ValueError:  # another drive of Windows
        return Path(entry.source, entry.path).as_posix()
