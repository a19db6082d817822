"""The action report: photos and their masks on one page."""

from pathlib import Path
from typing import Annotated, Any

import tyro

from redoseg.cli.terminal import Device, Weights, note_frames, print_failed, progress_of


def report(
    model: tyro.conf.Positional[str],
    photos: tyro.conf.Positional[tuple[str, ...]] = (),
    /,
    *,
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])],
    most: int | None = None,
    checkpoint: str = "last",
    weights: Weights | None = None,
    device: Device = "auto",
    quiet: bool = False,
) -> int:
    """Leave a page of photos with their masks, the most doubtful first, to look at and to tick what is wrong.

    Args:
        model: A run's folder, a model's folder, an ONNX file, a hub id, or a name from `redoseg models`.
        photos: Photos, folders, archives, patterns ('photos/*.jpg'). None: those that a run was trained on.
        out: The page, such as report.html. The pictures of more than 500 photos lie in a folder beside it.
        most: Show so many photos at most, evenly spaced. None: all.
        checkpoint: In a run: last, label-free (chosen without masks), best (chosen with masks) or a step.
        weights: In a run: the moving average or the raw weights. None: the average if one is kept.
        quiet: Say nothing but what went wrong.
    """
    from redoseg.reporting.report import report as write

    if not quiet:
        note_frames(model, photos)
    chosen: dict[str, Any] = {"checkpoint": checkpoint, "weights": weights, "device": device}
    with progress_of("segmenting", quiet=quiet) as show:
        found = write(model, photos, out, most=most, progress=show, **chosen)
    print_failed(found.failed)
    if not quiet:
        beyond = f", {found.beyond} not shown (--most)" if found.beyond else ""
        count = f"{found.shown + found.beyond} photos{beyond}, {found.left_out} left out"
        print(f"{found.sure} of {found.shown} masks are sure; {count}: {found.page}")
    return 1 if found.failed else 0
