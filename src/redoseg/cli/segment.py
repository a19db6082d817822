"""The action segment: a mask for every photo."""

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from redoseg.cli.options import by_group
from redoseg.cli.streams import through_files
from redoseg.cli.terminal import Device, Weights, counted, errors, note_frames, print_failed, progress_of
from redoseg.config.segment import SegmentConfig
from redoseg.errors import ConfigError
from redoseg.files import expanded, same_file

if TYPE_CHECKING:
    from redoseg.segmentation.written import SegmentReport, WrittenMask

Backend = Literal["auto", "torch", "onnx"]
Edges = Literal["none", "guided"]
Refine = Literal["auto", "off"]
MADE = {
    "mask": "masks", "soft": "soft masks", "rgba": "photos with alpha", "cutout": "cut-outs",
    "overlay": "overlays",
}  # fmt: skip
JSON_HELP = (
    "Print a line of JSON for each mask: photo, mask, doubt (0 sure, 1 not), area as a share, box; for a "
    "photo that failed: photo, error."
)


def segment(
    model: tyro.conf.Positional[str],
    inputs: tyro.conf.Positional[tuple[str, ...]],
    /,
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])],
    config: Annotated[SegmentConfig, by_group(SegmentConfig)],
    checkpoint: str = "last",
    weights: Weights | None = None,
    device: Device = "auto",
    backend: Backend = "auto",
    refine: Refine = "auto",
    refine_size: int | None = None,
    edges: Edges = "none",
    json: Annotated[bool, tyro.conf.arg(help=JSON_HELP)] = False,
    csv: Path | None = None,
    overwrite: bool = False,
    ray: str | None = None,
    quiet: bool = False,
) -> int:
    """Write masks of photos, cut-outs or overlays, at the photos' own size.

    Args:
        model: A run's folder, a model's folder, an ONNX file, a hub id, or a name from `redoseg models`.
        inputs: Photos, folders, archives, patterns ('photos/*.jpg'), data sets (flowers:DIR, lfw:DIR ...).
            -: one photo from standard input.
        out: Folder for the masks: PNG, 255 on the object (more than two regions: the region's number). -: the
            one picture of one photo goes to standard output, and nothing else does.
        checkpoint: In a run: last, label-free (chosen without masks), best (chosen with masks) or a step.
        weights: In a run: the moving average or the raw weights. None: the average if one is kept.
        backend: What computes: PyTorch, or ONNX Runtime, which needs the model's mask.onnx. auto: the faster.
        refine: auto: find the photo's own outlines, from what the network sees. off: its masks, enlarged.
        refine_size: Short side, in pixels (None: 256), up to which a photo is refined; beyond, by its edges.
        edges: guided: do not refine, but move the borders of the network's masks to the photo's edges, by a
            guided filter.
        config: What is written, and what the object is.
        csv: File for a table of the masks: photo, mask, doubt, area, left, top, right, bottom, error.
        overwrite: Replace masks in OUT that redoseg did not write, or that were changed since. Without it
            only unchanged ones of its own are; what is no mask never is.
        ray: Share the work among the machines of a Ray cluster, by its address; auto: the one that this
            machine is part of; local: processes of this machine. All must see the same files.
        quiet: Say nothing but what went wrong.
    """
    options: dict[str, Any] = {"checkpoint": checkpoint, "weights": weights, "device": device}
    options |= {"backend": backend, "edges": edges, "refine": refine, "refine_size": refine_size}
    _check_together(model, inputs, out, config, json, csv)
    if quiet:
        logging.getLogger("redoseg").setLevel(logging.WARNING)  # `lines_on_stderr` puts it back
    if not (config.trim or quiet):
        note_frames(model, inputs, "give --trim")
    with through_files(inputs, out, one_type=len(config.type) == 1, shared=ray is not None) as streams:
        begin = _on_ray(ray, model, options) if ray else _here(model, options)
        run = partial(begin, streams.inputs, streams.out, config=config, overwrite=overwrite)
        with _listing(json, csv) as (each, end):
            report = streams.named(_run(partial(run, each=streams.naming(each)), quiet))
            end(report)
    print_failed(report.failed)
    said = counted(report, _made(config), "standard output" if streams.writes else out)
    if said and not quiet:
        print(said, file=sys.stderr if json or streams.writes else sys.stdout)
    return 1 if report.failed else 0


def _made(config: SegmentConfig) -> str:
    """What there is of each photo, in words."""
    return ", ".join([*(MADE[type] for type in config.types), *config.annotations])


def _check_together(
    model: str, inputs: tuple[str, ...], out: Path, config: SegmentConfig, json: bool, csv: Path | None
) -> None:
    """ConfigError for options that exclude one another, or say nothing without another one."""
    if expanded(model).is_dir() and same_file(model, out):
        raise ConfigError(f"--out {out} is the model itself: name another folder for its masks")
    if config.category != SegmentConfig.category and not config.annotations:
        raise ConfigError("--category is what annotations call the object: give --annotations, too")
    if "-" in inputs and (config.annotations or config.measurements is not None):
        raise ConfigError("--annotations and --measurements name their photos: give a file instead of -")
    if csv is not None and config.measurements is not None and same_file(csv, config.measurements):
        raise ConfigError(f"--csv and --measurements are both {csv}: give each a file of its own")
    if str(out) == "-" and config.max_doubt is not None:
        raise ConfigError(
            "--max-doubt leaves photos out, and --out - is for the picture of one: leave it out"
        )
    if str(out) == "-" and (json or csv is not None or config.annotations):
        raise ConfigError("--out - writes the picture alone: leave out --json, --csv and --annotations")


def _run(run: Callable[..., "SegmentReport"], quiet: bool) -> "SegmentReport":
    """What `run` reports, its progress shown; after Ctrl-C a line says how far it came."""
    photos = 0
    with progress_of("segmenting", quiet=quiet) as show:

        def progress(done: int, total: int) -> None:
            nonlocal photos
            photos = done
            show(done, total)

        try:
            return run(progress=progress)
        except KeyboardInterrupt:
            errors.print(f"redoseg: stopped: {photos} photos are done, the same command begins anew")
            raise


@contextmanager
def _listing(
    as_json: bool, table: Path | None
) -> Iterator[tuple[Callable[["WrittenMask"], None], Callable[["SegmentReport"], None]]]:
    """In this context, what to do with each mask, and in the end with the photos that got none: print them,
    put them into a table, or neither. A table that is there already is replaced once there is a mask to put
    into a new one, or some were too doubtful."""
    from redoseg.segmentation.table import MaskTable, check_table

    if table is not None:
        check_table("--csv", table)
    rows = None if table is None else MaskTable(table)

    def each(mask: "WrittenMask") -> None:
        if as_json:
            print(dumps(mask.as_dict(), ensure_ascii=False), flush=True)
        if rows is not None:
            rows.write(mask)

    def end(report: "SegmentReport") -> None:
        for photo, error in report.failed:
            if as_json:
                print(dumps({"photo": photo, "error": error}, ensure_ascii=False), flush=True)
            if rows is not None:
                rows.write_failure(photo, error)
        if rows is not None and report.doubtful:
            rows.begin()

    try:
        yield each, end
    finally:  # after Ctrl-C the table holds the masks that were written
        if rows is not None:
            rows.close()


def _here(model: str, options: dict[str, Any]) -> Callable[..., "SegmentReport"]:
    from redoseg.segmentation.segment import segment_files
    from redoseg.segmentation.segmenter import Segmenter

    return partial(segment_files, Segmenter.from_pretrained(model, **options))


def _on_ray(address: str, model: str, options: dict[str, Any]) -> Callable[..., "SegmentReport"]:
    from redoseg.segmentation.on_ray import segment_on_ray

    return partial(segment_on_ray, model, address=address, **options)
