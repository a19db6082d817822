"""The verb report: segment photos and leave one page of them, the most doubtful first."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np

from redoseg.data.image_ref import ImageRef
from redoseg.errors import ConfigError, DataError
from redoseg.files import expanded
from redoseg.label_free.verdict import SURE
from redoseg.models.run_folder import RunFolder
from redoseg.reporting.page import Content, check_page, write_page
from redoseg.reporting.pictures import Progress, Shown, show_photos
from redoseg.reporting.run_part import describe_run, run_of, verdict_of
from redoseg.segmentation.plan import list_photos
from redoseg.segmentation.segmenter import Segmenter


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
    photos: Sequence[str | Path],
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
    if most is not None and most < 1:
        raise ConfigError(f"--most is {most}: it must be at least 1")
    check_page(out)
    refs, failed, left_out = list_photos(photos or _photos_of(model, run))
    if not refs:
        raise DataError("; ".join(reason for _, reason in failed))
    kept = refs if most is None or most >= len(refs) else [refs[row] for row in _spread(len(refs), most)]
    segmenter = Segmenter.from_pretrained(
        str(model) if isinstance(model, str) else model, checkpoint=checkpoint, weights=weights, device=device
    )
    found = report_photos(segmenter, kept, out, model=str(model), run=run, of=len(refs), progress=progress)
    return Report(found.page, found.shown, found.sure, failed + found.failed, left_out, len(refs) - len(kept))


def report_photos(
    segmenter: Segmenter,
    photos: Sequence[ImageRef],
    out: Path,
    *,
    model: str,
    run: RunFolder | None,
    of: int,
    chosen: str = "evenly spaced",
    progress: Progress = lambda done, photos: None,
) -> Report:
    """As `report`, of these photos; they are some `of` so many, `chosen` in a way that the page states."""
    shown: list[Shown] = []
    failed: list[tuple[str, str]] = []
    for one in show_photos(segmenter, photos, progress):
        if isinstance(one, Shown):
            shown.append(one)
        else:
            failed.append(one)
    if not shown:
        raise DataError(f"not one of {len(photos)} photos can be read: {failed[0][0]}: {failed[0][1]}")
    sure = sum(photo.doubt <= SURE for photo in shown)
    summary = [f"<strong>{sure} of {len(shown)}</strong> masks are sure (a doubt of {SURE:g} at most)."]
    if len(photos) < of:
        summary.append(f"Shown are {len(photos)} of {of} photos, {escape(chosen)}.")
    verdict = None if run is None else verdict_of(run)
    if verdict is not None:
        summary.append(f"Verdict of the training, without labels: {escape(verdict.text)}.")
    content = Content(
        title=f"Masks by {model}", model=model, summary=" ".join(summary), shown=shown, failed=failed,
        run="" if run is None else describe_run(run),
    )  # fmt: skip
    write_page(out, content)
    return Report(out, len(shown), sure, failed)


def _photos_of(model: str | Path, run: RunFolder | None) -> tuple[str, ...]:
    """Where the photos lie that a run was trained on."""
    if run is None:
        raise ConfigError(f"{model} comes without photos: name some, `redoseg report {model} PHOTOS`")
    data = run.find_data(run.config().data)
    if set(data) <= {"digits", "digit"}:
        raise ConfigError(f"{model} was trained on drawn scenes, which are no photos: name some")
    return data


def _spread(count: int, wanted: int) -> list[int]:
    """`wanted` of `count` indices, evenly spaced."""
    rows: list[int] = np.linspace(0, count - 1, wanted).round().astype(int).tolist()
    return rows
