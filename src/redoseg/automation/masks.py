"""What `auto` leaves of every photo: masks, cut-outs, the table, and the page to look at."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from redoseg.automation.folder import AutoFolder
from redoseg.config.auto import AutoConfig
from redoseg.config.segment import SegmentConfig
from redoseg.data.frames import open_trimmed
from redoseg.errors import RedosegError
from redoseg.label_free.verdict import Verdict
from redoseg.reporting.page import INSIDE
from redoseg.reporting.pictures import Named, named
from redoseg.reporting.report import show
from redoseg.segmentation.plan import MaskJob, short_names
from redoseg.segmentation.segment import segment_files
from redoseg.segmentation.segmenter import Segmenter
from redoseg.segmentation.table import MaskTable
from redoseg.segmentation.written import WrittenMask
from redoseg.training.log import say


def write_masks(
    segmenter: Segmenter, config: AutoConfig, folder: AutoFolder, jobs: Sequence[MaskJob], console: Console
) -> tuple[list[WrittenMask], list[tuple[str, str]]]:
    """Write masks, cut-outs and the table of all photos; the masks, and what failed."""
    masks: list[WrittenMask] = []
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("segmenting", total=None)
        report = segment_files(
            segmenter, config.data, folder.masks, cutouts=folder.cutouts, each=masks.append,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
            config=SegmentConfig(trim=config.trim),
        )  # fmt: skip
    table, shown = MaskTable(folder.table), names_of(jobs)
    for mask in masks:
        inside = Path(os.path.relpath(mask.mask, os.path.realpath(folder.path))).as_posix()
        table.write(replace(mask, photo=shown[mask.photo], mask=inside))
    for name, reason in report.failed:
        table.write_failure(shown.get(name, name), reason)
    table.close()
    return masks, report.failed


def write_report(
    segmenter: Segmenter,
    config: AutoConfig,
    folder: AutoFolder,
    masks: Sequence[WrittenMask],
    jobs: Sequence[MaskJob],
    verdict: Verdict,
    console: Console,
) -> None:
    """Write the page to look at, of photos without their frames where these are cut. Of very many photos it
    has the most doubtful ones, and as many others. If it can't be written, that is said, and all else is
    there."""
    order = sorted(masks, key=lambda mask: mask.doubt)
    if len(order) > INSIDE:
        half = INSIDE // 2
        rest = order[:-half]
        order = [rest[row * len(rest) // half] for row in range(half)] + order[-half:]
    names, refs = names_of(jobs), {job.name: job.ref for job in jobs}
    photos: Iterable[Named] = named(
        [refs[mask.photo] for mask in order], [names[mask.photo] for mask in order]
    )
    if config.trim:
        photos = ((name, partial(open_trimmed, opened)) for name, opened in photos)
    chosen = f"the {INSIDE // 2} most doubtful ones and {INSIDE // 2} others"
    try:
        show(
            segmenter, photos, len(order), folder.run.report, model=str(folder.path), run=folder.run,
            of=len(masks), chosen=chosen, verdict=verdict,
        )  # fmt: skip
    except (RedosegError, OSError) as error:
        say(console, f"warning: there is no report: {error}")


def names_of(jobs: Sequence[MaskJob]) -> dict[str, str]:
    """What photos.csv and the page call a photo, by its job's name."""
    return dict(zip((job.name for job in jobs), short_names([job.ref for job in jobs]), strict=True))
