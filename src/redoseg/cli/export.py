"""Action export: a model as an ONNX file, or as a folder for a hub."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from redoseg.cli.early import find_source
from redoseg.cli.terminal import Weights, errors, was_interrupted
from redoseg.errors import ConfigError
from redoseg.exporting import WRITTEN

if TYPE_CHECKING:
    from redoseg.models.card import Card


def export(
    model: tyro.conf.Positional[str],
    /,
    onnx: Path | None = None,
    hub_folder: Path | None = None,
    rembg: Path | None = None,
    tensorboard: Path | None = None,
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
        rembg: File to write for rembg's model u2net_custom: a photo as rembg prepares it to the object's soft
            mask, as the network sees it, not refined.
        tensorboard: Folder to write for TensorBoard: MODEL, a run's, curves and pictures.
        subject: For the card: what is on the photos, in the plural (faces). None: as the data's name says.
        data_text: For the card: what the training data is, and where it comes from. None: its name.
        data_licence: For the card: under which terms the data may be used. None: nobody says.
        checkpoint: In a run: last, label-free (chosen without masks), best (chosen with masks) or a step.
        weights: In a run: the moving average or the raw weights. None: the average if one is kept.
    """
    if onnx is hub_folder is rembg is tensorboard is None:
        raise ConfigError(f"nothing to write: give {WRITTEN}, or several")
    source, done = find_source(model, checkpoint, weights), None
    try:
        from redoseg.exporting.export import export as write

        with errors.status("exporting"):
            done = write(
                source, onnx=onnx, hub_folder=hub_folder, rembg=rembg, tensorboard=tensorboard,
                subject=subject, data_text=data_text, data_licence=data_licence,
            )  # fmt: skip
    finally:
        if done is None and was_interrupted():
            print("redoseg: stopped: nothing is written, the same command begins anew", file=sys.stderr)
    if hub_folder is not None and done.card is not None:
        _say_what_is_missing(done.card, hub_folder)
        print(f"{hub_folder}: ready for a hub, README.md is its card")
    if onnx is not None:
        print(f"{onnx}: its masks differ from the network's own by {done.difference:.1e} at most")
    if rembg is not None:
        print(f"{rembg}: for rembg -m u2net_custom, which looks for it in ~/.u2net (docs/segment.md)")
    if tensorboard is not None:
        print(f"{tensorboard}: {done.curves} curves, to be seen by tensorboard --logdir {tensorboard}")
    return 0


def _say_what_is_missing(card: "Card", folder: Path) -> None:
    missing = []
    if card.scores is None:
        missing.append("figures (this checkpoint has not been scored)")
    if card.data["licence"] is None:
        missing.append("terms of the training data (--data-licence)")
    if missing:
        print(f"redoseg: {folder / 'README.md'} has no {', and no '.join(missing)}", file=sys.stderr)
