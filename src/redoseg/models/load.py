"""Models on disk or on the hub: MODEL to networks."""

import io
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from safetensors import SafetensorError
from torch import nn

from redoseg.config import TrainConfig
from redoseg.errors import ModelError, first_line
from redoseg.models.card import GENERATORS, Card, read_card, supervision_text
from redoseg.models.source import HubModel, RunCheckpoint, find_model, no_hub_model, quiet_hub
from redoseg.models.weights import load_generators, load_network, load_tensors
from redoseg.networks.build import build_generators, build_mask_network
from redoseg.networks.layers import normalise_spectrum
from redoseg.networks.mask import MaskNetwork


@dataclass(frozen=True)
class Model:
    """A mask network on its device, in eval mode, and where it comes from.

    `generators[c]` draws channel c of f; region r is channel `f.order[r]`. `config` is the run's, or what a
    card has kept of it; None for a model without either. `rule` is how the checkpoint was chosen: one of
    `models.RULES`, 'step', or 'as shipped' where nobody knows, as then are `step` and `ema`; `score` is what
    'label-free' chose it by. `supervision`: what masks were read in training (`Labelled.supervision`); None:
    none, as far as is known.
    """

    f: MaskNetwork
    generators: nn.ModuleList | None
    config: TrainConfig | None
    rule: str
    step: int | None
    ema: bool | None
    score: float | None = None
    supervision: dict[str, Any] | None = None

    @property
    def checkpoint(self) -> dict[str, Any]:
        """What tables say about the checkpoint."""
        score = {} if self.score is None else {"score": self.score}
        masks = supervision_text(self.supervision)
        read = {} if masks is None else {"supervision": masks}
        return {"rule": self.rule, "step": self.step, "ema": self.ema} | score | read


def load_model(
    model: str | Path,
    *,
    checkpoint: str = "last",
    weights: str | None = None,
    device: torch.device | str = "cpu",
) -> Model:
    """MODEL as `models.find_model` finds it. Raises ModelError, one line, for anything that can't be read."""
    place = find_model(model, checkpoint=checkpoint, weights=weights)
    if isinstance(place, RunCheckpoint):
        return _from_run(place, device)
    if isinstance(place, HubModel):
        return _from_hub(place, device)
    if place.suffix == ".onnx" and place.is_file():
        raise ModelError(f"{place} holds masks alone, for `redoseg segment`: name the run it was made from")
    return _from_folder(place, device)


def _from_run(found: RunCheckpoint, device: torch.device | str) -> Model:
    tensors, info = load_tensors(found.file, (f"{found.letter}.", "G."))
    f = build_mask_network(found.config)
    load_network(f, tensors, found.letter, found.file)
    generators = None
    if any(name.startswith("G.") for name in tensors):
        generators = build_generators(found.config)
        normalise_spectrum(generators)
        load_network(generators, tensors, "G", found.file)
        generators = generators.to(device).eval()
    ema = found.letter == "f_ema"
    score = info["label_free"]["score"] if found.rule == "label-free" else None
    return Model(
        f.to(device).eval(), generators, found.config, found.rule, info.get("step"), ema, score,
        info.get("supervision"),
    )  # fmt: skip


# What the library raises for folders and repositories that aren't there, or not of a mask network.
_UNREADABLE = (
    *(OSError, ValueError, TypeError, AttributeError, RuntimeError),
    *(HfHubHTTPError, HFValidationError, SafetensorError),
)


def _from_folder(path: Path, device: torch.device | str) -> Model:
    try:
        model = _as_shipped(_pretrained(path), device)
    except _UNREADABLE as error:
        trouble = f"{path} holds no model of redoseg, or it is damaged ({first_line(error)})"
        raise ModelError(trouble) from error
    card = read_card(path)
    return model if card is None else _as_its_card_says(model, card, path)


def _as_its_card_says(model: Model, card: Card, path: Path) -> Model:
    """With generators, if there are some."""
    config, generators = card.config(), None
    if (path / GENERATORS).is_file():
        generators = load_generators(config, path / GENERATORS).to(model.f.order.device)
    return Model(model.f, generators, config, card.rule, card.steps, card.ema, supervision=card.supervision)


def _from_hub(found: HubModel, device: torch.device | str) -> Model:
    try:
        return _as_shipped(_pretrained(found.name, local_files_only=found.offline), device)
    except _UNREADABLE as error:
        raise no_hub_model(found.name, error) from error


def _pretrained(model: str | Path, **options: Any) -> MaskNetwork:
    """Strict: by default the library leaves weights random that the file doesn't have."""
    with quiet_hub(), redirect_stdout(io.StringIO()):  # where it says what it loads, amid our --json
        return MaskNetwork.from_pretrained(model, strict=True, **options)


def _as_shipped(f: MaskNetwork, device: torch.device | str) -> Model:
    return Model(f.to(device).eval(), None, None, "as shipped", None, None)
