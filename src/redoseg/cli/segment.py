"""The action segment: a mask for every photo."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from redoseg.cli.terminal import Device, Weights, errors

if TYPE_CHECKING:
    from redoseg.segmentation.segment import SegmentReport

Backend = Literal["auto", "torch", "onnx"]
Edges = Literal["none", "guided"]


def segment(
    model: tyro.conf.Positional[str],
    inputs: tyro.conf.Positional[tuple[str, ...]],
    /,
    out: Path,
    checkpoint: str = "last",
    weights: Weights | None = None,
    device: Device = "auto",
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
        backend: What computes: PyTorch, or ONNX Runtime, which needs the model's mask.onnx. auto: the faster.
        edges: guided: move the masks' borders to the edges in photos larger than what the network sees, by a
            guided filter.
        ray: Share the work among the machines of a Ray cluster, by its address; auto: the one that this
            machine is part of; local: processes of this machine. All must see the same files.
    """
    from rich.progress import Progress

    options: dict[str, Any] = {
        "checkpoint": checkpoint, "weights": weights, "device": device, "backend": backend, "edges": edges,
    }  # fmt: skip
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
    from redoseg.segmentation.segment import segment_files
    from redoseg.segmentation.segmenter import Segmenter

    return partial(segment_files, Segmenter.from_pretrained(model, **options))


def _on_ray(address: str, model: str, options: dict[str, Any]) -> Callable[..., "SegmentReport"]:
    from redoseg.segmentation.on_ray import segment_on_ray

    return partial(segment_on_ray, model, address=address, **options)
