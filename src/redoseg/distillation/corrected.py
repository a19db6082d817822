"""What a person said of a teacher's masks: corrected ones, and ticks. Here masks ARE read in training.

Without --corrected and --ticks nothing of this file is used, and a student reads none.
"""

import math
import posixpath
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from redoseg.config import DistillConfig, TrainConfig
from redoseg.data.dataset import Split
from redoseg.data.held_out import image_digest, index_chunks
from redoseg.data.labels import UNLABELLED
from redoseg.distillation.targets import RefinedTargets
from redoseg.errors import DataError, ModelError
from redoseg.files import read_json
from redoseg.training.labelled import Labelled, open_labelled_source

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Corrected:
    """`rows` of a split whose masks are `labelled`, in its order, or ticked as `wrong` or `right`."""

    labelled: Labelled | None
    rows: Indices
    wrong: Indices
    right: Indices
    share: float
    unknown: int
    """Corrected photos and ticks that belong to no image of the split."""

    @property
    def text(self) -> str:
        """In a line, what is made of it."""
        said = [f"{len(self.rows)} corrected masks are learned in full"] if self.labelled is not None else []
        if len(self.wrong) or len(self.right):
            said.append(
                f"{len(self.wrong)} ticked as wrong are left out, {len(self.right)} as right are kept"
            )
        if self.unknown:
            said.append(f"{self.unknown} are of no photo of the run")
        return "; ".join(said)

    def lay_over(self, targets: RefinedTargets, kept: Indices, n: int) -> Indices:
        """Put the corrected masks in the place of the refined ones, and choose what is learned of what was
        `kept`; a corrected image is there as often as its share asks for. Nothing is written to the disk."""
        others = np.setdiff1d(np.union1d(kept, self.right), np.union1d(self.wrong, self.rows))
        if self.labelled is None:
            return others
        objects = targets.objects.copy()
        for row, labels in zip(self.rows, self.labelled.labels, strict=True):
            for region in range(1, n):
                inside = 255 * (labels == region)
                objects[row, ..., region - 1] = np.where(labels == UNLABELLED, round(255 / n), inside)
        targets.objects = objects
        wanted = self.share * len(others) / (1 - self.share)
        return np.concatenate([others, np.tile(self.rows, max(1, math.ceil(wanted / len(self.rows))))])


def open_corrected(config: DistillConfig, described: TrainConfig, images: Split) -> Corrected | None:
    """What --corrected and --ticks say of `images`; None without them. DataError if not one corrected photo
    is among the images, or if a list can't be read."""
    if config.corrected is None and config.ticks is None:
        return None
    wrong, right, unknown = _read_ticks(config.ticks, images.names)
    none = np.zeros(0, np.int64)
    if config.corrected is None:
        return Corrected(None, none, wrong, right, 0.0, unknown)
    labelled = open_labelled_source(described, str(config.corrected), "--corrected")
    rows = _rows_of(labelled, images)
    found = [index for index, row in enumerate(rows) if row >= 0]
    if not found:
        raise DataError(
            f"--corrected {config.corrected}: none of its {len(labelled)} photos is one that is learned from"
        )
    known = Labelled(
        labelled.source, tuple(labelled.names[index] for index in found), labelled.images[found],
        labelled.labels[found],
    )  # fmt: skip
    corrected = rows[found]
    wrong, right = np.setdiff1d(wrong, corrected), np.setdiff1d(right, corrected)
    lost = unknown + len(labelled) - len(found)
    return Corrected(known, corrected, wrong, right, config.corrected_share, lost)


def joined(before: dict[str, Any] | None, corrected: Corrected | None) -> dict[str, Any] | None:
    """What is known of the masks that were read: by the teacher, and by its student."""
    own = None if corrected is None or corrected.labelled is None else corrected.labelled.supervision
    if before is None or own is None:
        return own or before
    entries = {key: [*before[key], *own[key]] for key in ("names", "images")}
    prints = f"{before['fingerprint']}+{own['fingerprint']}"
    counts = {"labelled": before["labelled"] + own["labelled"], "fingerprint": prints}
    return own | entries | counts | {"source": f"{before['source']}, then {own['source']}"}


def _rows_of(labelled: Labelled, images: Split) -> Indices:
    """The row of each labelled image among `images`, by its pixels; -1 for one that isn't there."""
    wanted = {image_digest(image): index for index, image in enumerate(labelled.images)}
    rows = np.full(len(labelled), -1, np.int64)
    for part in index_chunks(np.arange(len(images))):
        for row, image in zip(part, images.images(part), strict=True):
            index = wanted.get(image_digest(image))
            if index is not None and rows[index] < 0:
                rows[index] = row
    return rows


def _read_ticks(file: Path | None, names: Sequence[str]) -> tuple[Indices, Indices, int]:
    """The rows that are ticked as wrong and as right, and how many ticks are of no image of these `names`."""
    if file is None:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), 0
    try:
        content = read_json(file)
        lists = [list(map(str, content[tick])) for tick in ("wrong", "right")]
        if content["redoseg"] != "ticks":
            raise KeyError("redoseg")
    except (ModelError, KeyError, TypeError) as error:
        raise DataError(f"--ticks {file} is no list that the page of `redoseg report` has saved") from error
    by_name = {name: row for row, name in enumerate(names)}
    found: list[Indices] = []
    unknown = 0
    for ticked in lists:
        rows = [row for row in (_row_of(photo, by_name) for photo in ticked) if row is not None]
        unknown += len(ticked) - len(rows)
        found.append(np.array(sorted(set(rows)), np.int64))
    return found[0], found[1], unknown


def _row_of(photo: str, by_name: dict[str, int]) -> int | None:
    """The image whose name is the longest end of a photo's path, without or with its suffix."""
    path = photo.replace("\\", "/")
    parts = path.split("/")
    for start in range(len(parts)):
        end = "/".join(parts[start:])
        for name in (posixpath.splitext(end)[0], end):
            if name in by_name:
                return by_name[name]
    return None
