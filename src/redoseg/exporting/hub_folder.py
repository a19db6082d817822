"""Writes a model's folder for others: its files, its card, and a README.md as a hub reads it."""

import dataclasses
import shutil
import tempfile
from functools import partial
from pathlib import Path

import torch
from torch import nn

from redoseg.errors import ConfigError, ModelError
from redoseg.exporting.onnx import Starts, export_onnx
from redoseg.exporting.provenance import card_of_run
from redoseg.exporting.readme import model_card
from redoseg.exporting.sharing import share_weights, write_whole
from redoseg.files import write_aside, write_json
from redoseg.models.backends.onnx import is_shared
from redoseg.models.card import CARD, CONFIG, GENERATORS, ONNX, REFINING, WEIGHTS, Card, sha256_of
from redoseg.models.model import Model
from redoseg.models.source import ModelFolder, ModelSource, RunCheckpoint, find_model
from redoseg.models.weights import load_generators, save_generators, save_network
from redoseg.networks.generator import RegionGenerator

README = "README.md"
GREY_LEVELS = 4.0  # of 255, by which a generator's pixel may differ in half precision


def pack(
    model: Model,
    card: Card,
    folder: Path,
    *,
    starts: Starts = None,
    generators: bool = False,
    shared: bool = False,
) -> Card:
    """Write the model's files, if asked also its `generators`, and its card, which is returned. `starts`:
    where refining its masks starts; None if that is not known. `shared`: mask.onnx reads its weights from
    model.safetensors (`sharing`); else it can be copied away by itself.
    ModelError if the model has no generators, or if they draw other pixels in half precision."""
    save_network(model.f, folder)
    (folder / README).unlink(missing_ok=True)  # huggingface_hub's, which states nothing about this model
    export_onnx(model.f, folder / ONNX, starts)
    if shared:
        share_weights(model.f, folder)
    files = [CONFIG, WEIGHTS, ONNX]
    if starts is not None:
        write_json(folder / REFINING, {"starts": list(starts)})
        files.append(REFINING)
    if generators:
        _pack_generators(model, folder / GENERATORS)
        files.append(GENERATORS)
    sums = {file: sha256_of(folder / file) for file in files}
    card = dataclasses.replace(
        card, sha256=sums, refining=None if starts is None else {"starts": list(starts)}
    )
    card.write(folder)
    return card


def _pack_generators(model: Model, file: Path) -> None:
    if model.generators is None or model.config is None:
        raise ModelError("this checkpoint holds no generators: use --checkpoint last, label-free or best")
    save_generators(model.generators, file)
    written = load_generators(model.config, file)
    levels = grey_level_difference(model.generators, written, model.config.size)
    if levels > GREY_LEVELS:
        raise ModelError(f"generators in half precision draw pixels that differ by {levels:.1f} grey levels")


@torch.no_grad()
def grey_level_difference(ones: nn.ModuleList, others: nn.ModuleList, size: int) -> float:
    """The largest difference, in grey levels of 255, between the pixels that two sets of generators draw."""
    random, largest = torch.Generator().manual_seed(0), 0.0
    for G, H in zip(ones, others, strict=True):
        coarse = torch.rand(16, 1, 4, 4, generator=random)
        masks = nn.functional.interpolate(coarse, size=(size, size), mode="bilinear").round()
        assert isinstance(G, RegionGenerator)
        z = torch.randn(16, G.first.in_features, generator=random)
        largest = max(largest, (G(masks, z) - H(masks, z)).abs().max().item())
    return 127.5 * largest


def write_hub_folder(
    model: str | Path | ModelSource,
    folder: Path,
    *,
    checkpoint: str = "last",
    weights: str | None = None,
    subject: str | None = None,
    data_text: str | None = None,
    data_licence: str | None = None,
) -> Card:
    """Write MODEL, a run or a folder with a card, and README.md to `folder`, and return its card.
    Other files in the folder stay. Raises ModelError for a MODEL without run or card, ConfigError for a
    folder that holds files but no card."""
    source = find_model(model, checkpoint=checkpoint, weights=weights)
    _check_free(folder)
    with tempfile.TemporaryDirectory() as temporary:
        new = Path(temporary)
        if isinstance(source, RunCheckpoint):
            loaded = source.load()
            card = card_of_run(source.run, loaded, folder.absolute().name)
            card = pack(loaded, card, new, starts=source.starts())
        else:
            card = _copy_folder(source, new)
        card = card.with_details(subject=subject, text=data_text, licence=data_licence)
        card.write(new)
        (new / README).write_text(model_card(card), encoding="utf-8")
        for file in (*card.sha256, README, CARD):
            write_aside(folder / file, partial(shutil.copyfile, new / file))
    return card


def _copy_folder(source: ModelSource, folder: Path) -> Card:
    """Copy a model's folder without its generators, and return its card."""
    card = source.card()
    if card is None or not isinstance(source, ModelFolder):
        raise ModelError(
            f"{source} doesn't say how it was made: name the run that it comes from, or a model from "
            "`redoseg models`"
        )
    sums = {}
    for file in (CONFIG, WEIGHTS, ONNX, REFINING):
        if file != REFINING or (source.path / file).is_file():  # older models state nothing
            shutil.copyfile(source.path / file, folder / file)
            sums[file] = sha256_of(folder / file)
            if sums[file] != card.sha256.get(file, sums[file]):
                raise ModelError(f"{source.path / file} isn't what {CARD} beside it says: it is damaged")
    if is_shared(folder / ONNX):  # a hub hands it out without the others
        write_whole(folder, folder / ONNX)
        sums[ONNX] = sha256_of(folder / ONNX)
    return dataclasses.replace(card, sha256=sums)


def _check_free(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"--hub-folder {folder} is a file: choose another name")
    files = folder.is_dir() and [path for path in folder.iterdir() if not path.name.startswith(".")]
    if files and not (folder / CARD).is_file():
        raise ConfigError(f"--hub-folder {folder} holds other files: choose an empty one, or a new name")
