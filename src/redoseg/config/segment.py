"""What `redoseg segment` makes of each photo, declared once: command line and Python read it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from redoseg.config.checks import Config
from redoseg.config.markers import Bound, Group, at_least
from redoseg.errors import ConfigError

Type = Literal["mask", "soft", "rgba", "cutout", "overlay"]

Picture = Type | Literal["colmap"]
Annotation = Literal["coco", "coco-rle", "labelme", "yolo", "colmap"]

WITH_PHOTO = frozenset({"rgba", "cutout", "overlay"})
"""Types that show the photo's own pixels."""

LEAST_INSTANCE = 0.004
"""Share of a photo: of pieces that are no smaller fewer than 255 fit, so that each has a label of 8 bits."""

_WITHIN = Bound("it must be above 0 and below 1", lambda value: 0 < value < 1)
_DOUBT = Bound("it must be from 0 to 1", lambda value: 0 <= value <= 1)
_SHARE = Bound(f"it must be from {LEAST_INSTANCE} to 1", lambda value: LEAST_INSTANCE <= value <= 1)


@dataclass(frozen=True)
class SegmentConfig(Config):
    """Which files each photo gets, and what counts as its object."""

    type: Annotated[tuple[Type, ...], Group.FILES] = ("mask",)
    """What is written, one or several: mask (8-bit), soft (16-bit grey, how sure each pixel is), rgba (the
    photo, transparent around the object), cutout (the same, cropped to the object), overlay (the photo, its
    object tinted). Several lie in OUT/mask, OUT/soft ..., one alone in OUT."""

    annotations: Annotated[tuple[Annotation, ...], Group.FILES] = ()
    """Beside the pictures, one or several: coco (OUT/coco.json: polygons, run lengths of what has holes),
    coco-rle (all run lengths, exact), labelme (OUT/labelme), yolo (OUT/yolo), colmap (OUT/colmap/masks)."""
    category: Annotated[str, Group.FILES] = "object"
    """What annotations call the object: a word such as flower."""
    measurements: Annotated[Path | None, Group.FILES] = None
    """File for a table of the objects: area, box, centroid, orientation, axes, perimeter, mean colour, number
    of pieces, whether it touches the photo's border, doubt."""

    max_doubt: Annotated[float | None, _DOUBT, Group.FILES] = None
    """Write nothing of a photo whose doubt, 0 sure to 1 not, is larger, and take away the same files of an
    earlier call. None: all are written."""

    trim: Annotated[bool, Group.OBJECT] = False
    """Look for the object within the frame of one colour around a photo, if it has one (scans, catalogues,
    films): the frame is background."""
    threshold: Annotated[float | None, _WITHIN, Group.OBJECT] = None
    """How sure the object must be, above 0 and below 1: higher gives smaller masks. None: .5, of several
    regions the largest."""
    region: Annotated[int | None, at_least(0), Group.OBJECT] = None
    """Take this region alone as the object; 0 is the background. None: all but the background."""
    largest: Annotated[bool, Group.OBJECT] = False
    """Keep the object's largest connected piece alone."""
    fill_holes: Annotated[bool, Group.OBJECT] = False
    """Count what the object encloses as the object."""
    instances: Annotated[float | None, _SHARE, Group.OBJECT] = None
    """Number the connected pieces that are at least this share of the photo, such as .01, from 1, the largest
    one, and leave out the others. At least .004."""

    def __post_init__(self) -> None:
        """One type, or one form of annotations, may be given by itself."""
        for name in ("type", "annotations"):
            given = getattr(self, name)
            object.__setattr__(self, name, tuple(dict.fromkeys([given] if isinstance(given, str) else given)))
        super().__post_init__()

    def _check_together(self) -> None:
        if not self.type:
            raise ConfigError("--type names nothing to write: choose from mask, soft, rgba, cutout, overlay")
        if {"coco", "coco-rle"} <= set(self.annotations):
            raise ConfigError("--annotations coco and coco-rle are one file: give one of them")
        if not self.category.strip() or not self.category.isprintable():
            raise ConfigError("--category names nothing: give a word for the object")
        if self.trim and self.region == 0:
            raise ConfigError("--trim takes a frame for background, which --region 0 asks for: leave one out")
        if self.largest and self.instances is not None:
            raise ConfigError("--largest keeps one piece and --instances numbers several: give one of them")

    def check_regions(self, n: int) -> None:
        """ConfigError for what can't be had of a model of `n` regions."""
        if self.region is not None and self.region >= n:
            raise ConfigError(f"--region is {self.region}: the model's regions are 0 to {n - 1}")
        for name, asked in (("--fill-holes", self.fill_holes), ("--instances", self.instances is not None)):
            if asked and n > 2 and self.region is None:
                raise ConfigError(f"{name} is for one region, the model has 1 to {n - 1}: choose a --region")

    def category_names(self, n: int) -> tuple[str, ...]:
        """What annotations call the objects of a model of `n` regions; one name unless regions differ."""
        if n == 2 or self.region is not None:
            return (self.category,)
        return tuple(f"{self.category} {region}" for region in range(1, n))

    @property
    def writes_coco(self) -> bool:
        """Whether there is a COCO file."""
        return bool({"coco", "coco-rle"} & set(self.annotations))

    @property
    def needs_shapes(self) -> bool:
        """Whether outlines are asked for."""
        return bool(set(self.annotations) - {"colmap"})

    @property
    def types(self) -> tuple[Type, ...]:
        """The types, the mask first."""
        return tuple(sorted(self.type, key=lambda one: one != "mask"))

    @property
    def shows_photo(self) -> bool:
        """Whether anything that is made needs the photo at its full size."""
        return self.measurements is not None or not WITH_PHOTO.isdisjoint(self.type)


PLAIN = SegmentConfig()
"""Masks alone."""
