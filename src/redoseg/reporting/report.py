"""The verb report: segment photos and leave one page of them, the most doubtful first."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from redoseg.data.dataset import open_data
from redoseg.data.sampler import evenly_spaced
from redoseg.data.scenes import REGIONS
from redoseg.errors import ConfigError, DataError
from redoseg.files import expanded
from redoseg.label_free.verdict import SURE, Verdict
from redoseg.models.run_folder import RunFolder
from redoseg.models.source import find_model
from redoseg.reporting.page import Content, Pictures, check_page, write_page
from redoseg.reporting.pictures import Named, Progress, Shown, drawn, named, show_photos
from redoseg.reporting.run_part import describe_run, run_of, verdict_of
from redoseg.segmentation.plan import list_photos, short_names
from redoseg.segmentation.segmenter import Segmenter

_SCENES = 60  # drawn ones that are shown, as they lie in no folder


@dataclass(frozen=True)
class Report:
    """What `report` left: the `page`; how many photos are `shown`, how many of these are `sure`, (name,
    reason) of each that `failed`; `left_out` files that are no photos, and photos `beyond` those that were
    asked for."""

    page: Path
    shown: int
    sure: int
    failed: list[tuple[str, str]]
    left_out: int = 0
    beyond: int = 0


def report(
    model: str | Path,
    photos: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    most: int | None = None,
    checkpoint: str = "last",
    weights: str | None = None,
    device: str = "auto",
    progress: Progress = lambda done, photos: None,
) -> Report:
    """Write a page of `photos` with the masks that `model` finds in them, the most doubtful first, to `out`.

    `model` is what `Segmenter.from_pretrained` takes; of a run the page has curves, redraws and options, too.
    Without `photos`, those that the run was trained on are shown. `most`: so many, evenly spaced, at most.
    The pictures of more than 500 photos lie in a folder beside the page, `report_files` beside `report.html`.
    A page that is there is replaced if it is one of redoseg's. `progress` is called with (photos done,
    photos in all). Raises ConfigError for `most` below 1 or without photos, DataError without any that can be
    read and for an `out` that can't be used, and what `from_pretrained` raises.
    """
    out, run = expanded(out), run_of(model)
    photos = [photos] if isinstance(photos, str | Path) else photos
    if most is not None and most < 1:
        raise ConfigError(f"--most is {most}: it must be at least 1")
    check_page(out)
    images = None if photos or run is None else _drawn_by(run, most)
    refs, failed, left_out = ([], [], 0) if images else list_photos(photos or _photos_of(model, run))
    if not refs and images is None:
        raise DataError("; ".join(reason for _, reason in failed))
    kept = [refs[row] for row in evenly_spaced(len(refs), most)]
    segmenter = Segmenter.from_pretrained(model, checkpoint=checkpoint, weights=weights, device=device)
    shown, count = (named(kept, short_names(kept)), len(kept))
    of = len(refs)
    if images is not None:
        shown, count, of = drawn(images.pixels, images.names), len(images.names), images.of
    chosen = "evenly spaced" if images is None else "the first ones"
    found = show(
        segmenter, shown, count, out, model=str(model), run=run, of=of, chosen=chosen, progress=progress
    )
    return replace(found, failed=failed + found.failed, left_out=left_out, beyond=of - count)


def show(
    segmenter: Segmenter,
    photos: Iterable[Named],
    count: int,
    out: Path,
    *,
    model: str,
    run: RunFolder | None,
    of: int,
    chosen: str,
    verdict: Verdict | None = None,
    progress: Progress = lambda done, photos: None,
) -> Report:
    """As `report`, of these `count` photos; they are some `of` so many, `chosen` in a way that the page
    states. `verdict`: that of the training; None: the one that the run has noted."""
    check_page(out)  # before its pictures are written beside it
    shown: list[Shown] = []
    failed: list[tuple[str, str]] = []
    pictures = Pictures(out, count)
    for one, more in show_photos(segmenter, photos, count, progress):
        if isinstance(one, Shown) and isinstance(more, bytes):
            shown.append(one)
            pictures.add(more)
        else:
            failed.append((str(one), str(more)))
    if not shown:
        raise DataError(f"not one of {count} photos can be read: {failed[0][0]}: {failed[0][1]}")
    sure = sum(photo.doubt <= SURE for photo in shown)
    summary = [
        f"<strong>{sure} of {len(shown)}</strong> masks are sure (a doubt of {SURE:g} at "
        "most). Sure isn't right: what is wrong in the same way in all photos is sure, too."
    ]
    if count < of:
        summary.append(f"Shown are {count} of {of} photos, {escape(chosen)}.")
    judged = verdict or (None if run is None else verdict_of(run))
    if judged is not None:
        summary.append(f"Verdict of the training, without labels: {escape(judged.text)}.")
    content = Content(
        title=f"Masks by {model}", model=model, summary=" ".join(summary), shown=shown, pictures=pictures,
        failed=failed, run="" if run is None else describe_run(run),
    )  # fmt: skip
    write_page(out, content)
    return Report(out, len(shown), sure, failed)


def _photos_of(model: str | Path, run: RunFolder | None) -> tuple[str, ...]:
    """Where the photos lie that a run was trained on."""
    if run is None:
        find_model(model)  # ModelError if there is no such model
        raise ConfigError(f"{model} comes without photos: name some, `redoseg report {model} PHOTOS`")
    return run.find_data(run.config().data)


@dataclass(frozen=True)
class _Scenes:
    """Some scenes, (N, S, S, 3), their names, and out of how many they are."""

    pixels: NDArray[np.uint8]
    names: list[str]
    of: int


def _drawn_by(run: RunFolder, most: int | None) -> _Scenes | None:
    """Some of the scenes that a run draws; None if it was trained on photos."""
    config = run.config()
    if not set(config.data) <= REGIONS.keys():
        return None
    split = open_data(config).split("val")
    count = min(_SCENES, len(split), most or _SCENES)
    names = [f"{config.data[0]} {name}" for name in split.names[:count]]
    return _Scenes(split.images(np.arange(count)), names, len(split))
