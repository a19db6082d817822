"""From MODEL, as people name it, to the place where it lies. Imports torch only to load a network.

`find_model` searches once. It returns a `ModelSource`, which loads the network and gives its ONNX file, its
card and the digest of its weights.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Union

from redoseg.config import TrainConfig
from redoseg.errors import ConfigError, ModelError
from redoseg.files import expanded, read_json
from redoseg.models import hub
from redoseg.models.card import CARD, CONFIG, ONNX, REFINING, WEIGHTS, Card, read_card
from redoseg.models.run_folder import RunFolder
from redoseg.models.shipped import replaced_by, shipped_folder
from redoseg.models.tensor_file import weights_digest

if TYPE_CHECKING:
    import torch

    from redoseg.models.model import Model

RULES = ("last", "label-free", "best")
"""The rules by which a run's checkpoint can be chosen; 'best' needs masks."""


@dataclass(frozen=True)
class RunCheckpoint:
    """A run's checkpoint: `file` holds its tensors, those of the chosen f named `letter`.*. `rule`, by which
    the checkpoint was chosen, is one of RULES or 'step'."""

    run: RunFolder
    config: TrainConfig
    rule: str
    file: Path
    letter: str

    def __str__(self) -> str:
        return str(self.run.path)

    def load(self, device: "torch.device | str" = "cpu") -> "Model":
        """Load the networks to a device. ModelError for a file that doesn't fit its run."""
        from redoseg.models.model import read_checkpoint

        return read_checkpoint(self.file, self.letter, self.config, self.rule, device)

    def onnx_file(self) -> Path | None:
        """The ONNX file of the run's model; its weights may differ from the checkpoint's."""
        return _if_there(self.run.model / ONNX)

    @cached_property
    def digest(self) -> str | None:
        """SHA-256 of the chosen f's weights; empty for a damaged file."""
        return weights_digest(self.file, f"{self.letter}.") or ""

    def starts(self) -> tuple[float, ...] | None:
        """The starts for refining masks that were chosen at the run's end; None before it."""
        return _read_starts(self.run.model / REFINING)

    def card(self) -> Card | None:
        """None: a run has no card until it is exported."""
        return None


@dataclass(frozen=True)
class ModelFolder:
    """A model's folder: config.json, model.safetensors and, if present, an ONNX file, generators, a card."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    def load(self, device: "torch.device | str" = "cpu") -> "Model":
        """Load the networks to a device, with the card's facts. ModelError for a damaged folder."""
        from redoseg.models.model import read_folder

        return read_folder(self.path, self.card, device)

    def onnx_file(self) -> Path | None:
        """The folder's ONNX file; None without one."""
        return _if_there(self.path / ONNX)

    @cached_property
    def digest(self) -> str | None:
        """SHA-256 of f's weights; None without model.safetensors, empty for a damaged file."""
        return (weights_digest(self.path / WEIGHTS) or "") if (self.path / WEIGHTS).is_file() else None

    def starts(self) -> tuple[float, ...] | None:
        """The starts for refining masks; None if the model states none."""
        return _read_starts(self.path / REFINING)

    def card(self) -> Card | None:
        """The folder's card; None without one. ModelError if it can't be read."""
        return read_card(self.path)


@dataclass(frozen=True)
class OnnxFile:
    """A mask network exported for ONNX Runtime, which can only segment."""

    path: Path
    digest: ClassVar[None] = None  # there are no other weights to compare with

    def __str__(self) -> str:
        return str(self.path)

    def load(self, device: "torch.device | str" = "cpu") -> "Model":
        """Raises ModelError: an ONNX file holds no network for PyTorch."""
        raise ModelError(
            f"{self.path} holds masks alone, for `redoseg segment`: name the run it was made from"
        )

    def onnx_file(self) -> Path:
        """The file itself."""
        return self.path

    def starts(self) -> None:
        """They are in the file, which the backend reads."""

    def card(self) -> None:
        """There is none."""


@dataclass(frozen=True)
class HubModel:
    """A repository on the hub, or its files that were downloaded before."""

    repository: hub.Repository
    digest: ClassVar[None] = None  # to compare them, the weights would have to be downloaded

    def __str__(self) -> str:
        return str(self.repository.name)

    def load(self, device: "torch.device | str" = "cpu") -> "Model":
        """Load the networks to a device. ModelError for a repository without a mask network."""
        from redoseg.models.model import read_hub

        return read_hub(self.repository, device)

    def onnx_file(self) -> Path | None:
        """The ONNX file, downloaded; None if the repository has none, or no model."""
        return self.repository.file(ONNX) if self.repository.file(CONFIG) else None

    def starts(self) -> tuple[float, ...] | None:
        """The starts for refining masks, downloaded; None if the repository states none."""
        file = self.repository.file(REFINING)
        return None if file is None else _read_starts(file)

    def card(self) -> Card | None:
        """The card, downloaded; None if the repository has none. ModelError if it can't be read."""
        file = self.repository.file(CARD)
        return None if file is None else read_card(file.parent)


ModelSource = Union[RunCheckpoint, ModelFolder, OnnxFile, HubModel]  # noqa: UP007 - isinstance takes it


def find_model(
    model: str | Path | ModelSource, *, checkpoint: str = "last", weights: str | None = None
) -> ModelSource:
    """Find MODEL: a run's folder, a model's folder, an ONNX file, a shipped model's name or a hub id.

    A model in the working folder goes before a shipped one of the same name. Only a string can be a name:
    "./faces" and Path("faces") are always paths. In a run, `checkpoint` is one of RULES or a step, `weights`
    'ema' or 'raw' (None: the moving average, if the run has one). A `ModelSource` is returned as it is.
    Raises ModelError, in one line, if there is no such model.
    """
    if not isinstance(model, str | Path):
        return model
    path = expanded(model)
    if (path / "run.json").is_file():
        return _find_checkpoint(RunFolder(path), checkpoint, weights)
    if checkpoint != "last" or weights is not None:
        raise ModelError(f"{model} is not a run: --checkpoint and --weights choose within a run")
    if _is_onnx(path):
        return OnnxFile(path)
    if (path / CONFIG).is_file():
        return ModelFolder(path)
    shipped = shipped_folder(model) if isinstance(model, str) else None
    if shipped is not None:
        return ModelFolder(shipped)
    if path.is_dir() and RunFolder(path).automatic.is_file():
        raise ModelError(f"`redoseg auto` has not finished {model}: the same command goes on with it")
    if path.exists():
        raise ModelError(f"{model} is neither a run (run.json) nor a model's folder (config.json)")
    if str(model).count("/") == 1 and not str(model).startswith((".", "/", "~")):
        if path.parent.is_dir():  # a mistyped path: the hub should not be asked for it
            raise ModelError(f"no model '{model}': there is no {path.name} in {path.parent}")
        return HubModel(hub.find_repository(str(model)))
    instead = replaced_by(str(model))
    if instead is not None:
        raise ModelError(f"no model '{model}' comes with this version: {instead} has taken its place")
    raise ModelError(
        f"no model '{model}': give a run's folder, a model's folder, a hub id such as NAME/MODEL, or a name "
        "from `redoseg models`"
    )


def check_teacher(run: Path) -> None:
    """Raise ConfigError if `run` holds no run and is no model: nothing that a student could learn from."""
    if not (RunFolder(run).exists or (run / CONFIG).is_file() or shipped_folder(str(run))):
        instead = replaced_by(str(run))
        if instead is not None:
            raise ConfigError(f"no model '{run}' comes with this version: {instead} has taken its place")
        raise ConfigError(f"{run} holds no run to learn from: `redoseg train DATA --out {run}` begins one")


def absolute(model: str | Path) -> str | Path:
    """MODEL as an absolute path, if it is a path, so that it is valid from any folder; else as it is."""
    path = expanded(model)
    here = (path / "run.json").is_file() or (path / CONFIG).is_file() or _is_onnx(path)
    return path.absolute() if here else model


def _is_onnx(path: Path) -> bool:
    return path.suffix == ".onnx" and path.is_file()


def _read_starts(file: Path) -> tuple[float, ...] | None:
    """None without such a file. ModelError for a damaged one."""
    if not file.is_file():
        return None
    try:
        starts = tuple(float(threshold) for threshold in read_json(file)["starts"])
        if not starts or not all(0 < threshold < 1 for threshold in starts):
            raise ValueError("thresholds lie between 0 and 1")
        return starts
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{file} doesn't say where refining starts, or is damaged ({error})") from error


def _if_there(file: Path) -> Path | None:
    return file if file.is_file() else None


def _find_checkpoint(run: RunFolder, checkpoint: str, weights: str | None) -> RunCheckpoint:
    file = _checkpoint_file(run, checkpoint)
    config = run.config()
    keeps_ema = config.ema_half_life > 0
    if weights == "ema" and not keeps_ema:
        raise ModelError(f"{run.path} keeps no moving average (--ema-half-life 0): use --weights raw")
    rule = checkpoint if checkpoint in RULES else "step"
    return RunCheckpoint(run, config, rule, file, "f_ema" if keeps_ema and weights != "raw" else "f")


def _checkpoint_file(run: RunFolder, checkpoint: str) -> Path:
    if checkpoint in RULES:
        file = {"last": run.last, "label-free": run.label_free, "best": run.best}[checkpoint]
    elif checkpoint.isdecimal():
        file = run.step(int(checkpoint))
    else:
        raise ModelError(f"--checkpoint {checkpoint}: use {', '.join(RULES)} or a step")
    if not file.is_file():
        if checkpoint == "label-free" and run.kept_steps():
            raise ModelError(
                f"{run.path} has no checkpoint chosen without masks, it was made without that rule: use "
                "--checkpoint last"
            )
        steps = ", ".join(map(str, run.kept_steps())) or "none yet"
        raise ModelError(f"{run.path} has no checkpoint '{checkpoint}' (steps kept: {steps})")
    return file
