"""A model written for use elsewhere: as one ONNX file, or as a folder for a hub."""

from dataclasses import dataclass
from pathlib import Path

from redoseg.errors import ConfigError
from redoseg.exporting import WRITTEN
from redoseg.exporting.hub_folder import write_hub_folder
from redoseg.exporting.onnx import export_onnx
from redoseg.exporting.rembg import export_rembg
from redoseg.exporting.tensorboard import export_tensorboard
from redoseg.files import expanded, same_file
from redoseg.models.card import Card
from redoseg.models.run_folder import RunFolder
from redoseg.models.source import ModelSource, find_model


@dataclass(frozen=True)
class Exported:
    """`card`: that of the hub folder. `difference`: the largest one between the masks of the ONNX file and of
    the network, `rembg_difference` that of the file for rembg; `curves`: how many there are for
    TensorBoard. Each is None if nothing of its kind was written."""

    card: Card | None
    difference: float | None
    rembg_difference: float | None = None
    curves: int | None = None


def export(
    model: str | Path | ModelSource,
    *,
    onnx: str | Path | None = None,
    hub_folder: str | Path | None = None,
    rembg: str | Path | None = None,
    tensorboard: str | Path | None = None,
    subject: str | None = None,
    data_text: str | None = None,
    data_licence: str | None = None,
    checkpoint: str = "last",
    weights: str | None = None,
) -> Exported:
    """Write a model to the file `onnx`, to the folder `hub_folder`, to the file `rembg`, or to several.

    `model`: a run, a model's folder, a hub id, or a name from `redoseg models`; for a hub folder it must be a
    run or have a card. `onnx` takes images (B, 3, H, W) in [-1, 1] and gives masks (B, n, H, W), background
    first. `rembg` is a file for rembg's model u2net_custom, `tensorboard` a folder for a
    run's log and pictures. For the card: `subject`, what is on the photos,
    in the plural; `data_text` and `data_licence`, what the training data is and its terms. In a run,
    `checkpoint` is "last", "label-free", "best" or a step, `weights` "ema" or "raw" (None: EMA if one is
    kept). ConfigError if there is nothing to write, or where the folder holds something else; ModelError for
    a model that can't be read or written exactly enough.
    """
    if onnx is hub_folder is rembg is tensorboard is None:
        raise ConfigError(f"nothing to write: give {WRITTEN}, or several")
    if onnx is not None and rembg is not None and same_file(onnx, rembg):
        raise ConfigError(f"--onnx and --rembg are both {onnx}: give each a file of its own")
    source = find_model(model, checkpoint=checkpoint, weights=weights)
    card = difference = rembg_difference = None
    if hub_folder is not None:
        card = write_hub_folder(
            source, expanded(hub_folder), subject=subject, data_text=data_text, data_licence=data_licence
        )  # fmt: skip
    if onnx is not None:
        difference = export_onnx(source.load().f, expanded(onnx), source.starts())
    if rembg is not None:
        rembg_difference = export_rembg(source.load().f, expanded(rembg))
    curves = None
    if tensorboard is not None:
        curves = export_tensorboard(RunFolder(Path(str(model))), expanded(tensorboard))
    return Exported(card, difference, rembg_difference, curves)
