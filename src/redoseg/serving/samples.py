"""Photos that the page offers where nobody has one at hand."""

import csv
from collections.abc import Callable, Sequence
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from redoseg.data.dataset import open_data
from redoseg.data.sampler import evenly_spaced
from redoseg.data.scenes import REGIONS
from redoseg.errors import DataError, RedosegError
from redoseg.models.run_folder import RunFolder
from redoseg.segmentation.checkup import draw_flower
from redoseg.segmentation.plan import list_photos, short_names
from redoseg.serving.answers import png

MOST = 12

Samples = dict[str, Callable[[], BinaryIO]]
"""A photo's name and what opens its file."""


def find_samples(model: str | Path, photos: Sequence[str | Path]) -> Samples:
    """Some of `photos`, of a run of `auto` the most doubtful ones, else evenly spaced; without any, some that
    the run was trained on, as far as they can be found, else a drawn flower. DataError if there are none
    among `photos`."""
    run = RunFolder(Path(model))
    if photos:
        return _of_photos(photos, run)
    if run.exists:
        try:
            config = run.config()
            if set(config.data) <= REGIONS.keys():
                split = open_data(config).split("val")
                images = split.images(np.arange(min(MOST, len(split))))
                return {f"scene {i}.png": partial(BytesIO, _png(image)) for i, image in enumerate(images)}
            return _of_photos(run.find_data(config.data), run)
        except (RedosegError, OSError):  # moved or gone: the page says how many samples there are
            return {}
    return {"drawn flower.png": partial(BytesIO, _png(draw_flower()[0]))}


def _doubts(run: RunFolder) -> dict[str, float]:
    """The doubt of each photo by the table that `redoseg auto` has left; empty without one."""
    try:
        with open(run.path / "photos.csv", newline="", encoding="utf-8") as file:
            return {row["photo"]: float(row["doubt"]) for row in csv.DictReader(file) if row["doubt"]}
    except (OSError, ValueError, KeyError, TypeError, csv.Error):
        return {}


def _of_photos(photos: Sequence[str | Path], run: RunFolder) -> Samples:
    refs, failed, _ = list_photos(photos)
    if not refs:
        raise DataError("; ".join(reason for _, reason in failed))
    doubts = _doubts(run)
    names = dict(zip(refs, short_names(refs), strict=True))
    kept = [refs[row] for row in evenly_spaced(len(refs), MOST)]
    if doubts:
        kept = sorted(refs, key=lambda ref: -doubts.get(names[ref], 0.0))[:MOST]
    shown = [names[ref] for ref in kept]
    # Of folders of one name these are whole paths, which are nobody's business.
    short = ["/".join(Path(name).parts[-2:]) if Path(name).is_absolute() else name for name in shown]
    short = [f"{number} {name}" if short.count(name) > 1 else name for number, name in enumerate(short)]
    return {name: ref.open for name, ref in zip(short, kept, strict=True)}


def _png(pixels: np.ndarray) -> bytes:
    return png(Image.fromarray(pixels))
