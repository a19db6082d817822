"""Actions on a trained model: evaluate, segment, redraw, export."""

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from redoseg.commands.terminal import errors, print_scores
from redoseg.errors import ConfigError, DataError

if TYPE_CHECKING:
    from redoseg.cards import Card
    from redoseg.segmenting import SegmentReport

Weights = Literal["ema", "raw"]
Backend = Literal["auto", "torch", "onnx"]
Edges = Literal["none", "guided"]


def evaluate(
    model: tyro.conf.Positional[str],
    data: tyro.conf.Positional[tuple[str, ...]],
    /,
    split: str = "val",
    json_: Annotated[bool, tyro.conf.arg(name="json")] = False,
    checkpoint: str = "last",
    weights: Weights | None = None,
    device: str = "auto",
    cache: Path | None = None,
    mnist: Path | None = None,
) -> int:
    """Score a model's masks against the masks of a data set, beside the trivial answers.

    Args:
        model: A run's folder, a model's folder, a hub id, or a name from `redoseg models`.
        data: Folders or archives with masks/, flowers:DIR, lfw:DIR, cub:DIR, or 'digits' or 'digit'.
        split: Which images.
        json_: Print one JSON object instead of a table.
        checkpoint: In a run: last, label-free (chosen without masks), best (chosen with masks) or a step.
        weights: In a run: the moving average or the raw weights. None: the average if one is kept.
        device: auto, cpu, cuda, cuda:1, mps ...
        cache: Folder of the resized images. None: the user's cache folder.
        mnist: Folder with MNIST's IDX files, from which to draw 'digits' and 'digit'.
    """
    from redoseg.evaluation import evaluate as run

    if not data:
        raise ConfigError("no data to score on: name a folder, an archive, 'digits' or 'digit'")
    with errors.status("scoring") as status:
        evaluation = run(
            model, data, split=split, checkpoint=checkpoint, weights=weights, device=device,
            cache=cache, mnist=mnist,
            progress=lambda done, files: status.update(f"bringing photos to size: {done} of {files}"),
        )  # fmt: skip
    if json_:
        print(json.dumps(evaluation.as_dict(), indent=2))
    else:
        print_scores(evaluation)
    return 0


def segment(
    model: tyro.conf.Positional[str],
    inputs: tyro.conf.Positional[tuple[str, ...]],
    /,
    out: Path,
    checkpoint: str = "last",
    weights: Weights | None = None,
    device: str = "auto",
    backend: Backend = "auto",
    edges: Edges = "none",
    ray: str | None = None,
) -> int:
    """Write a mask for every photo, at the photo's own size.

    Args:
        model: A run's folder, a model's folder, an ONNX file, a hub id, or a name from `redoseg models`.
        inputs: Photos, folders of photos, archives, data sets (flowers:DIR, lfw:DIR, cub:DIR).
        out: Folder for the masks: PNG, 255 on the object (more than two regions: the region's number).
        checkpoint: In a run: last, label-free (chosen without masks), best (chosen with masks) or a step.
        weights: In a run: the moving average or the raw weights. None: the average if one is kept.
        device: auto, cpu, cuda, cuda:1, mps ...
        backend: What computes: PyTorch, or ONNX Runtime, which needs the model's mask.onnx. auto: the faster.
        edges: guided: move the masks' borders to the edges in photos larger than what the network sees, by a
            guided filter.
        ray: Share the work among the machines of a Ray cluster, by its address; auto: the one that this
            machine is part of; local: processes of this machine. All must see the same files.
    """
    from rich.progress import Progress

    options: dict[str, Any] = {
        "checkpoint": checkpoint,
        "weights": weights,
        "device": device,
        "backend": backend,
        "edges": edges,
    }
    run = _on_ray(ray, model, options) if ray else _here(model, options)
    with Progress(console=errors, transient=True, disable=not errors.is_terminal) as bar:
        task = bar.add_task("segmenting", total=None)
        report = run(inputs, out, progress=lambda done, total: bar.update(task, completed=done, total=total))
    for name, reason in report.failed:
        errors.print(f"redoseg: {name}: {reason}", markup=False, highlight=False, soft_wrap=True)
    failed = f"; {len(report.failed)} could not be done, they are named above" if report.failed else ""
    print(f"{report.written} masks in {out}{failed}")
    return 1 if report.failed else 0


def _here(model: str, options: dict[str, Any]) -> Callable[..., "SegmentReport"]:
    from redoseg.segmenter import Segmenter
    from redoseg.segmenting import segment_files

    return partial(segment_files, Segmenter.from_pretrained(model, **options))


def _on_ray(address: str, model: str, options: dict[str, Any]) -> Callable[..., "SegmentReport"]:
    from redoseg.ray_segmenting import segment_on_ray

    return partial(segment_on_ray, model, address=address, **options)


def redraw(
    model: tyro.conf.Positional[str],
    image: tyro.conf.Positional[Path],
    /,
    out: Path,
    region: int = 1,
    count: int = 8,
    seed: int = 0,
    checkpoint: str = "last",
    weights: Weights | None = None,
    device: str = "auto",
) -> int:
    """Redraw one region of a photo with several codes: the paper's Figure 2 for a photo of one's own.

    Args:
        model: A run's folder, or a model with generators from `redoseg models`.
        image: The photo; its central square is used.
        out: PNG to write.
        region: 0 is the background, 1 the object.
        count: How many codes.
        seed: Decides the codes.
        checkpoint: last, label-free (chosen without masks) or best (chosen with masks).
        weights: The moving average or the raw weights. None: the average if one is kept.
        device: auto, cpu, cuda, cuda:1, mps ...
    """
    from redoseg.checkpoint import load_model
    from redoseg.data.images import decode_image
    from redoseg.files import write_aside
    from redoseg.redrawing import redraw_photo
    from redoseg.tensors import pick_device

    loaded = load_model(model, checkpoint=checkpoint, weights=weights, device=pick_device(device))
    try:
        photo = decode_image(image)
    except DataError as error:
        raise DataError(f"{image}: {error}") from error
    blur = loaded.config.blur if loaded.config else None
    picture = redraw_photo(loaded, photo, region=region, count=count, seed=seed, blur=blur)
    write_aside(out, lambda aside: picture.save(aside, "PNG"))
    print(out)
    return 0


def export(
    model: tyro.conf.Positional[str],
    /,
    onnx: Path | None = None,
    hub_folder: Path | None = None,
    subject: str | None = None,
    data_text: str | None = None,
    data_licence: str | None = None,
    checkpoint: str = "last",
    weights: Weights | None = None,
) -> int:
    """Write a model as an ONNX file, which segments without PyTorch, or as a folder for a hub.

    Args:
        model: A run's folder, a model's folder, a hub id, or a name from `redoseg models`.
        onnx: File to write: images (B, 3, H, W) in [-1, 1] to masks (B, n, H, W), background first.
        hub_folder: Folder to write for a hub: the model, and a card with what the run knows of it. MODEL must
            be a run or have a card already.
        subject: For the card: what is on the photos, in the plural (faces). None: as the data's name says.
        data_text: For the card: what the training data is, and where it comes from. None: its name.
        data_licence: For the card: under which terms the data may be used. None: nobody says.
        checkpoint: In a run: last, label-free (chosen without masks), best (chosen with masks) or a step.
        weights: In a run: the moving average or the raw weights. None: the average if one is kept.
    """
    if onnx is None and hub_folder is None:
        raise ConfigError("nothing to write: give --onnx FILE, --hub-folder DIR, or both")
    from redoseg.checkpoint import load_model
    from redoseg.exporting import export_onnx
    from redoseg.packing import write_hub_folder

    if hub_folder is not None:
        with errors.status("exporting"):
            card = write_hub_folder(
                model, hub_folder, checkpoint=checkpoint, weights=weights,
                subject=subject, data_text=data_text, data_licence=data_licence,
            )  # fmt: skip
        _say_what_is_missing(card, hub_folder)
        print(f"{hub_folder}: ready for a hub, README.md is its card")
    if onnx is not None:
        f = load_model(model, checkpoint=checkpoint, weights=weights).f
        with errors.status("exporting"):
            difference = export_onnx(f, onnx)
        print(f"{onnx}: its masks differ from the network's own by {difference:.1e} at most")
    return 0


def _say_what_is_missing(card: "Card", folder: Path) -> None:
    missing = []
    if card.scores is None:
        missing.append("figures (this checkpoint has not been scored)")
    if card.data["licence"] is None:
        missing.append("terms of the training data (--data-licence)")
    if missing:
        print(f"redoseg: {folder / 'README.md'} has no {', and no '.join(missing)}", file=sys.stderr)
