"""The verb fix: masks that a person corrected, and the rest of a run's own, teach a better student."""

import hashlib
import os
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console

from redoseg.config import DistillConfig
from redoseg.data.corrections import Correction, find_corrections, said
from redoseg.data.image_ref import ImageRef, read_contents
from redoseg.data.images import decoding
from redoseg.data.labels import UNLABELLED
from redoseg.data.mask_files import Kind, read_mask
from redoseg.distillation.corrected import read_ticks
from redoseg.distillation.distill import distill
from redoseg.errors import ConfigError, DataError, named_reason
from redoseg.files import aside_of, expanded, remove
from redoseg.models.run_folder import RunFolder
from redoseg.segmentation.plan import list_photos, name_of
from redoseg.segmentation.refining import overlap
from redoseg.segmentation.segmenter import Segmenter
from redoseg.training.log import say

Labels = NDArray[np.uint8]
_ALIKE = 0.97  # intersection over union from which an outline is that of the run's own mask
OPTIONS: dict[str, Any] = {
    "f_width": 8, "f_blocks": 4, "batch": 32, "lr": 2e-3, "ema_half_life": 3_000.0, "precision": "float32",
    "steps": 600,
}  # fmt: skip
"""Of a student whose teacher is no student itself: those of `auto`."""


def fix(
    run: str | Path,
    masks: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    ticks: str | Path | None = None,
    data: str | Sequence[str] = (),
    console: Console | None = None,
    **options: Any,
) -> Path:
    """Train a student of `run` that has learned corrected `masks`, too; SEMI-SUPERVISED. Returns its folder.

    `masks` are folders or archives of mask files, COCO files or folders of labelme's (`find_corrections`). A
    mask that is as the run has it counts as not corrected, so all of them may be given. `ticks` is a list
    that the page of `report` has saved: masks ticked as wrong that aren't corrected are left out, those
    ticked as right are kept.
    `data`: where the photos lie now. What isn't given among `options` of `DistillConfig` is as in `run`, if
    that is a student, else as `auto` has it. Called again after it was stopped, it goes on. Raises DataError
    if no mask is a corrected one of the run's photos, ConfigError if `run` is no run, and what `distill`
    raises.
    """
    masks = [masks] if isinstance(masks, str | Path) else masks
    data = (data,) if isinstance(data, str) else data
    folder, student, console = RunFolder(Path(run)), RunFolder(Path(out)), console or Console(stderr=True)
    if not folder.exists and folder.automatic.is_file():
        raise ConfigError(f"`redoseg auto` has not finished {run}: the same command goes on with it")
    if not folder.exists:
        raise ConfigError(f"{run} holds no run: name one, or the folder of `redoseg auto`")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError("fix works in one process; several can `redoseg distill RUN --corrected FOLDER`")
    if not masks and ticks is None:
        raise ConfigError("nothing was corrected: give --masks, --ticks or both")
    if folder.path.resolve() == student.path.resolve():
        raise ConfigError(f"--out is {run} itself: the student needs a folder of its own")
    own = dict(options_like(folder), run=folder.path, out=student.path, data=tuple(data)) | options
    if ticks is not None:
        own["ticks"] = expanded(ticks)
        read_ticks(own["ticks"], ())
    if masks:
        photos, failed, _ = list_photos(data or folder.find_data(folder.config().data))
        if failed:
            raise DataError(f"{named_reason(*failed[0])} (--data says where the photos are now)")
        if not student.exists:  # something else may be there
            student.check_compatible(DistillConfig(**own))
        elif not student.distilled:
            raise ConfigError(f"{student.path} is another run: choose another --out")
        try:
            found = _find([expanded(one) for one in masks], photos, folder, console)
            say(console, f"comparing the corrected masks with those that {folder.path} makes")
            segmenter = Segmenter.from_pretrained(folder.path, device=str(own.get("device", "auto")))
            with student.locked():
                _gather(found, segmenter, student, console)
        except DataError as error:
            raise DataError(f"{error}{_if_trimmed(folder)}") from error
        own["corrected"] = student.corrected
    return distill(DistillConfig(**own), console=console)


def _if_trimmed(run: RunFolder) -> str:
    """What may be wrong with corrected masks of a run that learned photos without their frames."""
    if not run.learned_trimmed:
        return ""
    return (
        f"; {run.path} has learned {run.trimmed} (--trim), so correct masks of those: `redoseg segment "
        f"{run.path} {run.trimmed} --out MASKS` makes them"
    )


def options_like(folder: RunFolder) -> dict[str, Any]:
    """The options of a further student of the one that `folder` holds; of another run `OPTIONS`."""
    original = folder.original_config()
    if not isinstance(original, DistillConfig):
        return OPTIONS | {"batch": min(OPTIONS["batch"], max(2, folder.images() // 2))}
    return {name: value for name, value in vars(original).items() if name not in _NOT_TAKEN}


_NOT_TAKEN = {
    "run", "out", "data", "corrected", "ticks", "images", "checkpoint", "weights", "minutes", "compile",
    "targets", "synthetic",
}  # fmt: skip


def _find(
    masks: Sequence[Path], photos: Sequence[ImageRef], run: RunFolder, console: Console
) -> dict[ImageRef, Correction]:
    """The mask of each photo in the order of their paths; of several masks of one photo the last."""
    found: dict[ImageRef, Correction] = {}
    several = 0
    for source in masks:
        corrections = find_corrections(source, photos, run.config().n)
        for line in said(corrections):
            say(console, f"{source}: {line}")
        for one in corrections.found:
            several += one.photo in found
            found[one.photo] = one
    if several:
        say(console, f"{several} masks are of a photo that a later mask is of, too: the last one counts")
    if not found:
        named = ", ".join(map(str, masks))
        raise DataError(
            f"{named}: no corrected mask of a photo of {run.path}: masks have their photos' names"
        )
    return dict(sorted(found.items(), key=lambda item: (item[0].entry.source, item[0].entry.path)))


def _gather(
    found: dict[ImageRef, Correction], segmenter: Segmenter, student: RunFolder, console: Console
) -> None:
    """Put the photos and their masks into the student's folder, whole or not at all. ConfigError if it has
    learned others, DataError if all masks are as the run has them."""
    aside = aside_of(student.corrected)
    try:
        same = _write(found, segmenter, aside)
        if same:
            say(console, f"{same} masks are as the run has them, and count as not corrected")
        if same == len(found):
            raise DataError("no mask is a corrected one: all are as the run has them")
        if student.last.is_file() and _digests(aside) != _digests(student.corrected):
            raise ConfigError(f"{student.path} was begun with other corrected masks: use another --out")
        remove([student.corrected] if student.corrected.exists() else [])
        os.replace(aside, student.corrected)
    finally:
        remove([aside] if aside.exists() else [])


def _write(found: dict[ImageRef, Correction], segmenter: Segmenter, folder: Path) -> int:
    """Write the corrected photos and their masks, one after another; how many are not corrected."""
    refs, same = list(found), 0
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for index, content in read_contents(refs):
        photo, one = refs[index], found[refs[index]]
        try:
            content = _content(photo) if content is None else content
            with decoding(BytesIO(content)) as image:
                own = segmenter(image).labels
        except (DataError, OSError) as error:
            raise DataError(f"{name_of(photo)}: {error}") from error
        try:
            labels = _fit(one.read(), own.shape, segmenter.n)
            mask = _png_of(labels, segmenter.n)
        except (DataError, OSError) as error:
            raise DataError(f"the corrected mask of {name_of(photo)}: {error}") from error
        if _is_same(labels, own, one.outlined):
            same += 1
            continue
        name = f"{index:05}-{Path(photo.entry.path).name}"
        (folder / "images" / name).write_bytes(content)
        (folder / "masks" / f"{name}.png").write_bytes(mask)
    return same


def _content(photo: ImageRef) -> bytes:
    with photo.open() as file:
        return file.read()


def _fit(labels: Labels, shape: tuple[int, ...], n: int) -> Labels:
    """The labels of n regions. DataError for another shape than the photo's, upright or lying, and for labels
    beyond n."""
    if labels.shape not in (shape, shape[::-1]):
        sizes = f"{labels.shape[1]} x {labels.shape[0]}, the photo {shape[1]} x {shape[0]}"
        raise DataError(f"it is {sizes}")
    known = labels != UNLABELLED
    if n == 2:
        return np.where(known, np.minimum(labels, 1), UNLABELLED).astype(np.uint8)
    if labels[known].max(initial=0) >= n:
        raise DataError(f"it has labels beyond {n - 1}")
    return labels


def _is_same(labels: Labels, own: Labels, outlined: bool) -> bool:
    """Whether a mask is what the run finds by itself; an outline is simpler than the mask that it is of."""
    if labels.shape != own.shape or not outlined:
        return np.array_equal(labels, own)
    return all(overlap(labels == region, own == region) >= _ALIKE for region in np.union1d(labels, own))


def _png_of(labels: Labels, n: int) -> bytes:
    """A file that is read as these labels, whatever it is that they show."""
    ways = [labels]
    if n == 2:
        ways = [np.array([0, 255], np.uint8)[np.minimum(labels, 1)], labels]
        if (labels == UNLABELLED).any():
            ways = [np.select([labels == 1, labels == 0], [255, 0], 127).astype(np.uint8), labels]
    for values in ways:
        file = BytesIO()
        Image.fromarray(values).save(file, "PNG")
        read, kind = read_mask(BytesIO(file.getvalue()))
        if np.array_equal(read, labels) and kind != Kind.WHITE:  # white all over could mean unlabelled
            return file.getvalue()
    raise DataError("its unlabelled areas are too thin to be told from soft edges: leave them out")


def _digests(folder: Path) -> dict[str, str]:
    """What there is of each photo and mask."""
    files = (file for kind in ("images", "masks") for file in (folder / kind).glob("*") if file.is_file())
    return {
        f"{file.parent.name}/{file.name}": hashlib.blake2b(file.read_bytes()).hexdigest()
        for file in files
        if not file.name.startswith(".")
    }
