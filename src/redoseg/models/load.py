"""From MODEL to its networks in one call."""

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
    """Find MODEL as `find_model` does, and load its networks to `device`. ModelError if either fails."""
    return find_model(model, checkpoint=checkpoint, weights=weights).load(device)
