"""What `segment_files` says of what it did, of each photo and of all."""

from dataclasses import dataclass, field
from typing import Any

from redoseg.segmentation.annotations.shapes import PhotoShapes
from redoseg.segmentation.measuring import Measures
from redoseg.segmentation.plan import MaskJob


@dataclass(frozen=True)
class SegmentReport:
    """What `segment_files` did: the number of photos `written`, and (name, reason) of each that failed.

    An input that doesn't exist or holds no photo is among `failed`, too; `missing` counts those. `left_out`
    counts the files in the inputs that are no photos, or can't be taken for some; the log names them. All of
    it is fit to print. `doubtful` counts the photos of which nothing was written, as their doubt was larger
    than `SegmentConfig.max_doubt`. `trimmed` counts the masks of photos that were looked at within a frame.
    """

    written: int
    failed: list[tuple[str, str]] = field(default_factory=list)
    left_out: int = 0
    missing: int = 0
    doubtful: int = 0
    trimmed: int = 0


@dataclass(frozen=True, slots=True)
class WrittenMask:
    """A mask that `segment_files` wrote: the `photo`'s path, the `mask`'s file (without a mask that of the
    first type), its `doubt` from 0, sure, to 1, not, the `area` of the object as a share of the photo, and
    the `box` around it: left, top, right and bottom in pixels, the last two just outside; None where there
    is no object. `files`: every picture by its type; `shapes`: outlines, if annotations were asked for;
    `measures`: of every object, if measurements were; `trimmed`: it was looked for within a frame."""

    photo: str
    mask: str
    doubt: float
    area: float
    box: tuple[int, int, int, int] | None
    files: dict[str, str] = field(default_factory=dict)
    shapes: PhotoShapes | None = None
    measures: tuple[Measures, ...] = ()
    trimmed: bool = False

    def as_dict(self) -> dict[str, Any]:
        """The same as `redoseg segment --json` prints it, rounded to a ten-thousandth."""
        fields = {name: getattr(self, name) for name in ("photo", "mask", "doubt", "area", "box")}
        return fields | {"doubt": round(self.doubt, 4), "area": round(self.area, 4)}


@dataclass(frozen=True, slots=True)
class Failure:
    """A photo that got no mask, and why."""

    job: MaskJob
    reason: str


@dataclass(frozen=True, slots=True)
class Doubtful:
    """A photo that got no mask, since its doubt is larger than asked for."""

    job: MaskJob


Result = WrittenMask | Doubtful | Failure
