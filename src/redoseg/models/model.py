"""A trained model in memory, read from a run's checkpoint, a model's folder or a hub's repository."""

import io
from collections.abc import Callable
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
from redoseg.models.card import GENERATORS, Card, supervision_text
from redoseg.models.hub import Repository, no_model, quiet
from redoseg.models.weights import load_generators, load_network, load_tensors
from redoseg.networks.build import build_generators, build_mask_network
from redoseg.networks.layers import normalise_spectrum
from redoseg.networks.mask import MaskNetwork


@dataclass(frozen=True)
class Model:
    """A mask network on its device, in eval mode, and where it comes from.

    `generators[c]` draws channel c of f; region r is channel `f.order[r]`. `config` is the run's, or what a
    card has kept of it; None for a model without either. `rule` is how the checkpoint was chosen: one of
    `source.RULES`, 'step', or 'as shipped' where nobody knows, as then are `step` and `ema`; `score` is what
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


def read_checkpoint(
    file: Path, letter: str, config: TrainConfig, rule: str, device: torch.device | str
) -> Model:
    """A run's checkpoint: the f called `letter`.*, and the generators where it holds them."""
    tensors, info = load_tensors(file, (f"{letter}.", "G."))
    f = build_mask_network(config)
    load_network(f, tensors, letter, file)
    generators = None
    if any(name.startswith("G.") for name in tensors):
        generators = build_generators(config)
        normalise_spectrum(generators)
        load_network(generators, tensors, "G", file)
        generators = generators.to(device).eval()
    score = info["label_free"]["score"] if rule == "label-free" else None
    step, supervision = info.get("step"), info.get("supervision")
    return Model(f.to(device).eval(), generators, config, rule, step, letter == "f_ema", score, supervision)


# What the library raises for folders and repositories that aren't there, or not of a mask network.
_UNREADABLE = (
    *(OSError, ValueError, TypeError, AttributeError, RuntimeError),
    *(HfHubHTTPError, HFValidationError, SafetensorError),
)


def read_folder(path: Path, read_card: Callable[[], Card | None], device: torch.device | str) -> Model:
    """A model's folder, with what its card, if it has one, says of it. ModelError for a damaged one."""
    try:
        model = _as_shipped(_pretrained(path), device)
    except _UNREADABLE as error:
        trouble = f"{path} holds no model of redoseg, or it is damaged ({first_line(error)})"
        raise ModelError(trouble) from error
    card = read_card()
    return model if card is None else _as_its_card_says(model, card, path)


def _as_its_card_says(model: Model, card: Card, path: Path) -> Model:
    """With generators, if there are some."""
    config, generators = card.config(), None
    if (path / GENERATORS).is_file():
        generators = load_generators(config, path / GENERATORS).to(model.f.order.device)
    return Model(model.f, generators, config, card.rule, card.steps, card.ema, supervision=card.supervision)


def read_hub(found: Repository, device: torch.device | str) -> Model:
    """A hub's model. ModelError if the repository holds no mask network."""
    try:
        f = _pretrained(found.name, revision=found.revision, local_files_only=found.offline)
        return _as_shipped(f, device)
    except _UNREADABLE as error:
        raise no_model(found.name, error) from error


def _pretrained(model: str | Path, **options: Any) -> MaskNetwork:
    """Strict: by default the library leaves weights random that the file doesn't have."""
    with quiet(), redirect_stdout(io.StringIO()):  # where it says what it loads, amid our --json
        return MaskNetwork.from_pretrained(model, strict=True, **options)


def _as_shipped(f: MaskNetwork, device: torch.device | str) -> Model:
    return Model(f.to(device).eval(), None, None, "as shipped", None, None)
