"""MODEL to networks in one call."""

from pathlib import Path

import torch

from redoseg.models.model import Model
from redoseg.models.source import ModelSource, find_model


def load_model(
    model: str | Path | ModelSource,
    *,
    checkpoint: str = "last",
    weights: str | None = None,
    device: torch.device | str = "cpu",
) -> Model:
    """MODEL as `find_model` finds it, loaded. ModelError, one line, for anything that can't be read."""
    return find_model(model, checkpoint=checkpoint, weights=weights).load(device)
