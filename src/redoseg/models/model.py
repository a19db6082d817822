"""A trained model in memory, loaded from a run's checkpoint, a model's folder or a hub's repository."""

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
from redoseg.models.hub import Repository, no_model, silence_loggers
from redoseg.models.weights import load_generators, load_network, load_tensors
from redoseg.networks.build import build_generators, build_mask_network
from redoseg.networks.layers import normalise_spectrum
from redoseg.networks.mask import MaskNetwork


@dataclass(frozen=True)
class Model:
    """A mask network on its device, in eval mode, and its origin.

    `generators[c]` redraws channel c of f; region r is channel `f.order[r]`. `config` holds the run's
    options, of which a card keeps most; None for a model without run and card. `rule`, by which the
    checkpoint was chosen, is one of `source.RULES`, 'step', or 'as shipped' if it is unknown; then `step` and
    `ema` (whether f is the moving average) are None. `score` is the label-free score, if 'label-free' is the
    rule. `supervision`: the masks read in training (`Labelled.supervision`), None if there are none.
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
        """The facts about the checkpoint that are printed with scores."""
        score = {} if self.score is None else {"score": self.score}
        masks = supervision_text(self.supervision)
        supervision = {} if masks is None else {"supervision": masks}
        return {"rule": self.rule, "step": self.step, "ema": self.ema} | score | supervision


def read_checkpoint(
    file: Path, letter: str, config: TrainConfig, rule: str, device: torch.device | str
) -> Model:
    """Read a run's checkpoint: the f named `letter`.* and, if they are in it, the generators."""
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


# What huggingface_hub raises for folders and repositories that are missing, or hold no mask network.
_UNREADABLE = (
    *(OSError, ValueError, TypeError, AttributeError, RuntimeError),
    *(HfHubHTTPError, HFValidationError, SafetensorError),
)


def read_folder(path: Path, read_card: Callable[[], Card | None], device: torch.device | str) -> Model:
    """Read a model's folder, with its card's facts and generators, if any. ModelError for a damaged one."""
    try:
        model = _as_shipped(_load_pretrained(path), device)
    except _UNREADABLE as error:
        trouble = f"{path} holds no model of redoseg, or it is damaged ({first_line(error)})"
        raise ModelError(trouble) from error
    card = read_card()
    if card is None:
        return model
    config, generators = card.config(), None
    if (path / GENERATORS).is_file():
        generators = load_generators(config, path / GENERATORS).to(model.f.order.device)
    return Model(model.f, generators, config, card.rule, card.steps, card.ema, supervision=card.supervision)


def read_hub(repository: Repository, device: torch.device | str) -> Model:
    """Read a model from the hub. ModelError if the repository holds no mask network."""
    try:
        f = _load_pretrained(
            repository.name, revision=repository.revision, local_files_only=repository.offline
        )
        return _as_shipped(f, device)
    except _UNREADABLE as error:
        raise no_model(repository.name, error) from error


def _load_pretrained(model: str | Path, **options: Any) -> MaskNetwork:
    """Strict, for by default weights that the file lacks would stay random."""
    # The library prints what it loads, which would get into the output of --json.
    with silence_loggers("huggingface_hub"), redirect_stdout(io.StringIO()):
        return MaskNetwork.from_pretrained(model, strict=True, **options)


def _as_shipped(f: MaskNetwork, device: torch.device | str) -> Model:
    return Model(f.to(device).eval(), None, None, "as shipped", None, None)
