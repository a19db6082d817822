"""Action baseline: other ways to find the object, scored as a model is."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from redoseg.cli.early import check_data
from redoseg.cli.terminal import Cache, Json, counted, output, print_failed, progress_of
from redoseg.errors import ConfigError, missing_extra

if TYPE_CHECKING:
    from redoseg.baselines.score import BaselineReport

Name = Literal["fixed-mask", "disc", "grabcut", "kmeans", "saliency", "iem"]
_SMALLEST = 16  # pixels: a smaller image has no inner part for a method to start from


def baseline(
    name: tyro.conf.Positional[Name],
    data: tyro.conf.Positional[tuple[str, ...]],
    /,
    split: str | None = None,
    json_: Json = False,
    size: int = 128,
    most: int | None = None,
    seed: int = 0,
    cache: Cache = None,
    out: Path | None = None,
    overwrite: bool = False,
) -> int:
    """Score a method that trains no network, as `evaluate` scores a model, or write its masks (--out).

    Args:
        name: fixed-mask and disc are one answer for all images, CHOSEN WITH LABELS; grabcut, kmeans (colour
            and position), saliency (against what the border is joined with) and iem (inpainting error) see
            one image at a time and no label.
        data: Folders or archives with masks/, flowers:DIR, lfw:DIR, cub:DIR, or 'digit'; with --out any
            photos, without masks.
        split: Which images. None: val, or train where that is all there is.
        size: Bring images to so many pixels a side.
        most: Score at most so many images, evenly spread. None: all that have a mask.
        seed: Decides what is drawn at random.
        out: Do not score: write a mask for every photo into this folder, as `segment` does.
        overwrite: With --out, replace masks that redoseg did not write, or that were changed since.
    """
    if not data:
        raise ConfigError(
            "no data to score on: name a folder or an archive with masks/, or with --out one of any photos"
        )
    if out is None and overwrite:
        raise ConfigError("--overwrite is for masks, which are written with --out MASKS")
    if size < _SMALLEST or (most is not None and most < 1) or not 0 <= seed < 1 << 31:
        raise ConfigError(
            f"--size is {size}, --most {most}, --seed {seed}: the size must be at least {_SMALLEST}, "
            "--most at least 1, the seed from 0 to 2147483647"
        )
    if "digits" in data:
        raise ConfigError(
            "`digits` has 3 regions, and baselines know two, object and background: give `digit`"
        )
    if out is None:  # else as `segment` takes them: patterns, too, and what is missing is named
        check_data(data)
    with _extra_named():
        if out is not None:
            _check_writing(name, size, split=split, most=most, json=json_)
            return _write(name, data, out, size, seed, overwrite)
        where, report = _open_and_score(name, data, split, size, most, seed, cache)
    if json_:
        print(json.dumps({"name": name} | where | {"size": size} | report.as_dict(), indent=2))
    else:
        from redoseg.baselines.score import baseline_table

        output.print(baseline_table(report))
    return 0


@contextmanager
def _extra_named() -> Iterator[None]:
    """In this context, which extra brings a package that is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        missing = missing_extra("redoseg baseline", error, "baselines")
        if missing is None:
            raise
        raise missing from error


def _check_writing(name: Name, size: int, **scoring: object) -> None:
    """ConfigError for what can't go with --out."""
    if name in ("fixed-mask", "disc"):
        raise ConfigError(
            f"--out: {name} is chosen with labels and sees no photo; grabcut, kmeans, saliency or iem do"
        )
    if size < 32 or size % 4:
        raise ConfigError(f"--size is {size}: with --out it must be a multiple of 4, at least 32")
    given = [f"--{option}" for option, value in scoring.items() if value]
    if given:
        raise ConfigError(f"{given[0]} is for scores, and --out writes masks of all photos: leave one out")


def _write(name: Name, data: tuple[str, ...], out: Path, size: int, seed: int, overwrite: bool) -> int:
    """Write the masks; the exit code."""
    from redoseg.baselines.write import write_masks

    with progress_of(name) as show:
        report = write_masks(name, data, out, size=size, seed=seed, overwrite=overwrite, progress=show)
    print_failed(report.failed)
    if said := counted(report, "masks", out):
        print(said)
    return 1 if report.failed else 0


def _open_and_score(
    name: Name,
    data: tuple[str, ...],
    split: str | None,
    size: int,
    most: int | None,
    seed: int,
    cache: Path | None,
) -> tuple[dict[str, str], "BaselineReport"]:
    """The names of the data and of the split, and the scores."""
    from redoseg.baselines.score import score_baseline
    from redoseg.data.dataset import open_dataset

    with progress_of("bringing photos to size") as show:
        dataset = open_dataset(data, size=size, cache=cache, progress=show)
        scored, images = dataset.split_to_score(split)
    with progress_of(name) as show:
        report = score_baseline(name, images, most=most, seed=seed, progress=show)
    return {"data": dataset.name, "split": scored}, report
