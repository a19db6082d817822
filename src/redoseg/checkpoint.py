"""Models on disk: a run's checkpoints, a folder that `from_pretrained` takes, a hub's id."""

import io
import logging
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from safetensors import SafetensorError
from torch import Tensor, nn

from redoseg.config import TrainConfig
from redoseg.errors import ModelError
from redoseg.files import load_tensors
from redoseg.networks.build import build_generators, build_mask_network
from redoseg.networks.layers import normalise_spectrum
from redoseg.networks.mask import MaskNetwork
from redoseg.runfolder import RunFolder

SHIPPED: dict[str, Path] = {}
"""Models inside the package, by name."""


@dataclass(frozen=True)
class Model:
    """A mask network on its device, in eval mode, and where it comes from.

    `generators[c]` draws channel c of f; region r is channel `f.order[r]`. `config` is the run's, None for a
    model without one. `rule` is how the checkpoint was chosen: 'last', 'best', 'step' or 'as shipped'; `ema`
    is None where nobody knows.
    """

    f: MaskNetwork
    generators: nn.ModuleList | None
    config: TrainConfig | None
    rule: str
    step: int | None
    ema: bool | None

    @property
    def checkpoint(self) -> dict[str, Any]:
        """What tables say about the checkpoint."""
        return {"rule": self.rule, "step": self.step, "ema": self.ema}


def load_model(
    model: str | Path,
    *,
    checkpoint: str = "last",
    weights: str | None = None,
    device: torch.device | str = "cpu",
) -> Model:
    """MODEL: a run's folder, a folder that `from_pretrained` takes, a shipped name, or a hub id with a '/'.

    In a run, `checkpoint` is 'last', 'best' or a step, `weights` 'ema' or 'raw' (None: EMA if one is kept).
    Raises ModelError, one line, for anything that can't be found or read.
    """
    path = Path(model).expanduser()
    if (path / "run.json").is_file():
        return _from_run(RunFolder(path), checkpoint, weights, device)
    if checkpoint != "last" or weights is not None:
        raise ModelError(f"{model} is not a run: --checkpoint and --weights choose within a run")
    if (path / "config.json").is_file():
        return _from_folder(path, device)
    if path.exists():
        raise ModelError(f"{model} is neither a run (run.json) nor a model's folder (config.json)")
    if str(model) in SHIPPED:
        return _from_folder(SHIPPED[str(model)], device)
    if str(model).count("/") == 1 and not str(model).startswith((".", "/", "~")):
        if path.parent.is_dir():  # a slip of the pen is none of the hub's business
            raise ModelError(f"no model '{model}': there is no {path.name} in {path.parent}")
        return _from_hub(str(model), device)
    raise ModelError(
        f"no model '{model}': give a run's folder, a model's folder, or a hub id such as NAME/MODEL"
    )


def _from_run(run: RunFolder, checkpoint: str, weights: str | None, device: torch.device | str) -> Model:
    file = _checkpoint_file(run, checkpoint)
    config = run.config()
    keeps_ema = config.ema_half_life > 0
    if weights == "ema" and not keeps_ema:
        raise ModelError(f"{run.path} keeps no moving average (--ema-half-life 0): use --weights raw")
    letter = "f_ema" if keeps_ema and weights != "raw" else "f"
    tensors, info = load_tensors(file, (f"{letter}.", "G."))
    f = build_mask_network(config)
    load_network(f, tensors, letter, file)
    generators = None
    if any(name.startswith("G.") for name in tensors):
        generators = build_generators(config)
        normalise_spectrum(generators)
        load_network(generators, tensors, "G", file)
        generators = generators.to(device).eval()
    rule = checkpoint if checkpoint in ("last", "best") else "step"
    return Model(f.to(device).eval(), generators, config, rule, info.get("step"), letter == "f_ema")


def _checkpoint_file(run: RunFolder, checkpoint: str) -> Path:
    if checkpoint in ("last", "best"):
        file = run.last if checkpoint == "last" else run.best
    elif checkpoint.isdecimal():
        file = run.step(int(checkpoint))
    else:
        raise ModelError(f"--checkpoint {checkpoint}: use last, best or a step")
    if not file.is_file():
        steps = ", ".join(map(str, run.kept_steps())) or "none yet"
        raise ModelError(f"{run.path} has no checkpoint '{checkpoint}' (steps kept: {steps})")
    return file


def load_network(network: nn.Module, tensors: dict[str, Tensor], letter: str, file: Path) -> None:
    """Fill a network from the tensors called `letter.*`. ModelError if they don't fit."""
    state = {
        name.removeprefix(f"{letter}."): t for name, t in tensors.items() if name.startswith(f"{letter}.")
    }
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise ModelError(f"{file} doesn't fit the network {letter} that its run describes") from error


def _from_folder(path: Path, device: torch.device | str) -> Model:
    return _as_saved(path, device, f"{path} holds no model of redoseg, or it is damaged")


def _from_hub(name: str, device: torch.device | str) -> Model:
    return _as_saved(name, device, f"'{name}' is no folder here, and the hub gave no model")


def _as_saved(source: str | Path, device: torch.device | str, trouble: str) -> Model:
    try:
        f = _pretrained(source)
    except _UNREADABLE as error:
        raise ModelError(f"{trouble} ({_first_line(error)})") from error
    return Model(f.to(device).eval(), None, None, "as shipped", None, None)


# What the library raises for folders and repositories that aren't there, or not of a mask network.
_UNREADABLE = (
    *(OSError, ValueError, TypeError, AttributeError, RuntimeError),
    *(HfHubHTTPError, HFValidationError, SafetensorError),
)


def _pretrained(model: str | Path) -> MaskNetwork:
    """Strict: by default the library leaves weights random that the file doesn't have."""
    library = logging.getLogger("huggingface_hub")
    level = library.level
    library.setLevel(logging.ERROR)  # each retry is a line; what becomes of them all is in the error
    try:
        with redirect_stdout(io.StringIO()):  # where it says what it loads, amid our --json
            return MaskNetwork.from_pretrained(model, strict=True)
    finally:
        library.setLevel(level)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
