"""What a person said of a teacher's masks: corrected ones, and ticks. Here masks ARE read in training.

Without --corrected and --ticks nothing of this file is used, and a student reads none.
"""

import hashlib
import math
import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from redoseg.config import DistillConfig, TrainConfig
from redoseg.data.dataset import Split
from redoseg.data.held_out import image_digest, index_chunks
from redoseg.data.labels import UNLABELLED
from redoseg.data.naming import join_names
from redoseg.distillation.targets import RefinedTargets
from redoseg.errors import DataError, ModelError
from redoseg.files import read_json
from redoseg.training.labelled import Labelled, open_labelled_source

Indices = NDArray[np.int64]
_SIDE = re.compile(r"(.+)#\d+")  # a square beside the centred one of the photo whose name comes first


def _none() -> Indices:
    return np.zeros(0, np.int64)


@dataclass(frozen=True)
class Ticks:
    """Rows of a split that are ticked as `wrong` or `right`, and the ticks that are of no image there."""

    wrong: Indices = field(default_factory=_none)
    right: Indices = field(default_factory=_none)
    unknown: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Corrected:
    """Masks and ticks for the images `names` of a split, of which the first `centred` are centred squares.

    The image at `rows[i]` has the mask `labelled.labels[of[i]]`: equal images have one mask. `lost`:
    corrected photos that are not among the images."""

    names: Sequence[str]
    centred: int
    ticks: Ticks
    labelled: Labelled | None = None
    rows: Indices = field(default_factory=_none)
    of: Indices = field(default_factory=_none)
    share: float = 0.0
    lost: int = 0

    @property
    def wrong(self) -> Indices:
        """Rows that are ticked as wrong and not corrected."""
        return np.setdiff1d(self.ticks.wrong, self.rows)

    @property
    def text(self) -> str:
        """In a line, what is made of it."""
        masks = len(np.unique(self.of))
        said = [f"{masks} corrected masks are learned in full"] if self.labelled is not None else []
        right = np.setdiff1d(self.ticks.right, self.rows)
        if len(self.wrong) or len(right):
            said.append(f"{len(self.wrong)} ticked as wrong are left out, {len(right)} as right are kept")
        if self.lost:
            said.append(f"{self.lost} corrected ones are of no photo that is learned from")
        if self.ticks.unknown:
            named = join_names(self.ticks.unknown)
            said.append(f"{len(self.ticks.unknown)} ticks are of no photo that is learned from: {named}")
        return "; ".join(said)

    @property
    def supervision(self) -> dict[str, Any]:
        """The entry for run.json and the card, as `Labelled.supervision`; ticks are in it, too."""
        none = {"labelled": 0, "source": "ticks", "names": [], "images": [], "fingerprint": ""}
        entry = {"kind": "semi-supervised"} | none if self.labelled is None else self.labelled.supervision
        ticked = {
            tick: [self.names[row] for row in rows]
            for tick, rows in (("wrong", self.ticks.wrong), ("right", self.ticks.right))
        }
        if not any(ticked.values()):
            return entry
        text = repr([entry["fingerprint"], ticked])
        return entry | {"ticks": ticked, "fingerprint": hashlib.sha256(text.encode()).hexdigest()[:32]}

    def lay_over(
        self, targets: RefinedTargets, kept: Indices, n: int, object_share: tuple[float, float]
    ) -> Indices:
        """Put the corrected masks in the place of the refined ones, and choose what is learned of what was
        `kept`: what has an `object_share` or is ticked as right, and a corrected image, whatever it shows, as
        often as its share asks for. Nothing is written to the disk."""
        said_of = np.union1d(self.wrong, self.rows)
        left_out = np.union1d(said_of, self._sides_of(said_of))
        shares = targets.objects[kept].sum(3, dtype=np.int64).mean((1, 2)) / 255
        kept = kept[(shares >= object_share[0]) & (shares <= object_share[1])]
        others = np.setdiff1d(np.union1d(kept, self.ticks.right), left_out)
        if self.labelled is None:
            return others
        objects = targets.objects.copy()
        for row, index in zip(self.rows, self.of, strict=True):
            labels = self.labelled.labels[index]
            for region in range(1, n):
                inside = 255 * (labels == region)
                objects[row, ..., region - 1] = np.where(labels == UNLABELLED, round(255 / n), inside)
        targets.objects = objects
        wanted = self.share * len(others) / (1 - self.share)
        return np.concatenate([others, np.tile(self.rows, max(1, math.ceil(wanted / len(self.rows))))])

    def _sides_of(self, rows: Indices) -> Indices:
        """The squares beside the centred ones at these rows: what was said of a photo isn't known of them."""
        names = {self.names[row] for row in rows}
        sides = ((row, _SIDE.fullmatch(self.names[row])) for row in range(self.centred, len(self.names)))
        return np.array([row for row, side in sides if side is not None and side[1] in names], np.int64)


def open_corrected(
    config: DistillConfig, described: TrainConfig, images: Split, centred: int
) -> Corrected | None:
    """What --corrected and --ticks say of `images`, of which the first `centred` are centred squares; None
    without them. DataError if it is said of none of them, or if a list can't be read."""
    if config.corrected is None and config.ticks is None:
        return None
    ticks = Ticks() if config.ticks is None else read_ticks(config.ticks, images.names[:centred])
    if config.corrected is None:
        if not len(ticks.wrong) + len(ticks.right):
            raise DataError(f"--ticks {config.ticks}: not one tick is of a photo that is learned from")
        return Corrected(images.names, centred, ticks)
    labelled = open_labelled_source(described, str(config.corrected), "--corrected")
    rows, of = _rows_of(labelled, images, centred)
    if not len(rows):
        raise DataError(
            f"--corrected {config.corrected}: none of its {len(labelled)} photos is one that is learned from"
        )
    lost = len(labelled) - len(np.unique(of))
    return Corrected(images.names, centred, ticks, labelled, rows, of, config.corrected_share, lost)


def joined(before: dict[str, Any] | None, corrected: Corrected | None) -> dict[str, Any] | None:
    """What is known of the masks that were read: by the teacher, and by its student."""
    own = None if corrected is None else corrected.supervision
    if before is None or own is None:
        return own or before
    images = dict(zip(before["images"], before["names"], strict=True))
    images |= dict(zip(own["images"], own["names"], strict=True))
    prints = repr([before["fingerprint"], own["fingerprint"]])
    entry = {
        "labelled": len(images), "names": list(images.values()), "images": list(images),
        "fingerprint": hashlib.sha256(prints.encode()).hexdigest()[:32],
    }  # fmt: skip
    ticked = {
        tick: sorted({*(before.get("ticks") or {}).get(tick, []), *(own.get("ticks") or {}).get(tick, [])})
        for tick in ("wrong", "right")
    }
    sources = " and ".join(dict.fromkeys((before["source"], own["source"])))
    ticks = {"ticks": ticked} if any(ticked.values()) else {}
    return before | own | entry | ticks | {"source": sources}


def _rows_of(labelled: Labelled, images: Split, centred: int) -> tuple[Indices, Indices]:
    """The rows of the images that have a mask, known by their pixels, and which one."""
    wanted = {image_digest(image): index for index, image in enumerate(labelled.images)}
    found = []
    for part in index_chunks(np.arange(centred)):
        for row, image in zip(part.tolist(), images.images(part), strict=True):
            index = wanted.get(image_digest(image))
            if index is not None:
                found.append((row, index))
    rows = np.array(found, np.int64).reshape(-1, 2)
    return rows[:, 0], rows[:, 1]


def read_ticks(file: Path, names: Sequence[str]) -> Ticks:
    """The ticks of images of these `names`. DataError for what is no list of ticks."""
    if not file.is_file():
        raise DataError(f"there is no {file} (--ticks)")
    try:
        content = read_json(file)
    except ModelError as error:
        raise DataError(f"--ticks {error}") from error
    lists: list[Any] = [content.get(tick) for tick in ("wrong", "right")] if isinstance(content, dict) else []
    if not lists or not all(isinstance(one, list) for one in lists) or content.get("redoseg") != "ticks":
        raise DataError(
            f"--ticks {file} is no list that the page of `redoseg report` has saved: it wants "
            '{"redoseg": "ticks", "wrong": [...], "right": [...]}'
        )
    by_name = {name: row for row, name in enumerate(names)}
    rows = [{str(photo): _row_of(str(photo), by_name) for photo in ticked} for ticked in lists]
    wrong, right = (
        np.array(sorted({row for row in one.values() if row is not None}), np.int64) for one in rows
    )
    return Ticks(wrong, right, [photo for one in rows for photo, row in one.items() if row is None])


def _row_of(photo: str, by_name: dict[str, int]) -> int | None:
    """The image whose name is the longest end of a photo's path, without or with its suffix."""
    parts = photo.replace("\\", "/").split("/")
    for start in range(len(parts)):
        end = "/".join(parts[start:])
        for name in (posixpath.splitext(end)[0], end):
            if name in by_name:
                return by_name[name]
    return None
