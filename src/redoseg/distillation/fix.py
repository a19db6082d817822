"""The verb fix: masks that a person corrected, and the rest of a run's own, teach a better student."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console

from redoseg.config import DistillConfig
from redoseg.data.corrections import Correction, find_corrections, said
from redoseg.data.image_ref import ImageRef
from redoseg.data.images import decoding_sized
from redoseg.data.labels import UNLABELLED
from redoseg.distillation.distill import distill
from redoseg.errors import ConfigError, DataError
from redoseg.figures.own_png import is_own
from redoseg.files import expanded, write_folder_aside
from redoseg.models.run_folder import RunFolder
from redoseg.segmentation.plan import list_photos, name_of
from redoseg.training.log import say

OPTIONS: dict[str, Any] = {
    "f_width": 8, "f_blocks": 4, "batch": 32, "lr": 2e-3, "ema_half_life": 3_000.0, "precision": "float32",
    "steps": 600,
}  # fmt: skip
"""Of a student whose teacher is no student itself: those of `auto`."""


def fix(
    run: str | Path,
    masks: Sequence[str | Path],
    out: str | Path,
    *,
    ticks: str | Path | None = None,
    data: Sequence[str] = (),
    console: Console | None = None,
    **options: Any,
) -> Path:
    """Train a student of `run` that has learned corrected `masks`, too; SEMI-SUPERVISED. Returns its folder.

    `masks` are folders or archives of mask files, COCO files or folders of labelme's (`find_corrections`). A
    mask file that is as redoseg wrote it counts as not corrected. `ticks` is a list that the page of `report`
    has saved: masks ticked as wrong that aren't corrected are left out, those ticked as right are kept.
    `data`: where the photos lie now. What isn't given among `options` of `DistillConfig` is as in `run`, if
    that is a student, else as `auto` has it. Called again after it was stopped, it goes on. Raises DataError
    if no mask is a corrected one of the run's photos, ConfigError if `run` is no run, and what `distill`
    raises.
    """
    folder, student, console = RunFolder(Path(run)), RunFolder(Path(out)), console or Console(stderr=True)
    if not folder.exists:
        raise ConfigError(f"{run} holds no run: name one, or the folder of `redoseg auto`")
    own = dict(_options_of(folder), run=folder.path, out=student.path, data=tuple(data)) | options
    if masks:
        photos, failed, _ = list_photos(data or folder.find_data(folder.config().data))
        if failed:
            raise DataError(f"{failed[0][0]}: {failed[0][1]} (--data says where the photos are now)")
        if not student.exists:  # something else may be there
            student.check_compatible(DistillConfig(**own))
        own["corrected"] = _gather(
            [expanded(one) for one in masks], photos, folder, student.corrected, console
        )
    elif ticks is None:
        raise ConfigError("nothing was corrected: give --masks, --ticks or both")
    return distill(DistillConfig(**own, ticks=None if ticks is None else expanded(ticks)), console=console)


def _options_of(folder: RunFolder) -> dict[str, Any]:
    """The options of the student that `folder` holds, or `OPTIONS`."""
    original = folder.original_config()
    if not isinstance(original, DistillConfig):
        return OPTIONS | {"batch": min(OPTIONS["batch"], max(2, folder.images() // 2))}
    return {name: value for name, value in vars(original).items() if name not in _NOT_TAKEN}


_NOT_TAKEN = {
    "run", "out", "data", "corrected", "ticks", "images", "checkpoint", "weights", "minutes", "compile",
    "targets", "synthetic",
}  # fmt: skip


def _gather(
    masks: Sequence[Path], photos: Sequence[ImageRef], run: RunFolder, out: Path, console: Console
) -> Path:
    """The folder in which the corrected photos and their masks are, whole or not at all; a later mask of a
    photo goes before an earlier one. ConfigError if there already are others."""
    n = run.config().n
    found: dict[ImageRef, Correction] = {}
    for source in masks:
        corrections = find_corrections(source, photos, n)
        for line in said(corrections):
            say(console, f"{source}: {line}")
        changed = [one for one in corrections.found if one.file is None or not is_own(one.file)]
        if len(changed) < len(corrections.found):
            same = len(corrections.found) - len(changed)
            say(console, f"{source}: {same} masks are as redoseg wrote them, and count as not corrected")
        found |= {one.photo: one for one in changed}
    if not found:
        named = ", ".join(map(str, masks))
        raise DataError(
            f"{named}: no corrected mask of a photo of {run.path}: masks have their photos' names"
        )
    wanted = dict(_files(found.values(), n))
    if out.is_dir():
        there = {file.relative_to(out).as_posix(): file.read_bytes() for file in out.rglob("*.*")}
        if there != wanted:
            raise ConfigError(f"{out.parent} was begun with other corrected masks: use another --out")
        return out
    write_folder_aside(out, partial(_write, wanted))
    return out


def _files(corrections: Iterable[Correction], n: int) -> Iterator[tuple[str, bytes]]:
    """Path and content of each file of the folder. DataError for a mask that can't be read, or is of another
    shape than its photo."""
    for number, one in enumerate(corrections):
        shown = name_of(one.photo)
        try:
            labels = one.read()
            with one.photo.open() as file:
                content = file.read()
            with decoding_sized(BytesIO(content), at_least=1) as (_, (width, height)):
                pass
        except (DataError, OSError) as error:
            raise DataError(f"{shown} or its corrected mask: {error}") from error
        if labels.shape not in ((height, width), (width, height)):
            size = f"{labels.shape[1]} x {labels.shape[0]}"
            raise DataError(f"{shown}: its corrected mask is {size}, the photo {width} x {height}")
        if n > 2 and labels[labels != UNLABELLED].max(initial=0) >= n:
            raise DataError(f"{shown}: its corrected mask has labels beyond {n - 1}")
        mask = BytesIO()
        numbers = np.where(labels == UNLABELLED, UNLABELLED, np.minimum(labels, 1)) if n == 2 else labels
        Image.fromarray(numbers.astype(np.uint8)).save(mask, "PNG")
        name = Path(one.photo.entry.path).name
        yield f"images/{number:05}-{name}", content
        yield f"masks/{number:05}-{name}.png", mask.getvalue()


def _write(files: dict[str, bytes], folder: Path) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
