"""MODEL, as people name it, to the place where it lies. Without torch until a network is loaded.

`find_model` looks once. What it returns, a `ModelSource`, can load the network, name its ONNX file, its card
and the digest of its weights, and looks nothing up again.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Union

from redoseg.config import TrainConfig
from redoseg.errors import ModelError
from redoseg.models import hub
from redoseg.models.card import CARD, CONFIG, ONNX, WEIGHTS, Card, read_card
from redoseg.models.run_folder import RunFolder
from redoseg.models.shipped import shipped_folder

if TYPE_CHECKING:
    import torch

    from redoseg.models.model import Model

RULES = ("last", "label-free", "best")
"""By what a run's checkpoint is chosen; 'best' needs masks."""


@dataclass(frozen=True)
class RunCheckpoint:
    """A run's checkpoint: `file` holds its tensors, those of the f chosen called `letter`.*.

    `rule` is how it was chosen: one of RULES, or 'step'.
    """

    run: RunFolder
    config: TrainConfig
    rule: str
    file: Path
    letter: str

    def __str__(self) -> str:
        return str(self.run.path)

    def load(self, device: "torch.device | str" = "cpu") -> "Model":
        """The networks, on a device. ModelError for a file that doesn't fit its run."""
        from redoseg.models.model import read_checkpoint

        return read_checkpoint(self.file, self.letter, self.config, self.rule, device)

    def onnx_file(self) -> Path | None:
        """That of the run's model; it may be of other weights than the checkpoint's."""
        return _if_there(self.run.model / ONNX)

    @cached_property
    def digest(self) -> str | None:
        """SHA-256 of the weights of the f chosen; empty for a damaged file."""
        return weights_digest(self.file, f"{self.letter}.") or ""

    def card(self) -> Card | None:
        """None: a run says the same in run.json, and exporting makes a card of it."""
        return None


@dataclass(frozen=True)
class ModelFolder:
    """A model's folder: config.json, model.safetensors, and perhaps an ONNX file, generators, a card."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    def load(self, device: "torch.device | str" = "cpu") -> "Model":
        """The networks, on a device, with what the card says of them. ModelError for a damaged folder."""
        from redoseg.models.model import read_folder

        return read_folder(self.path, self.card, device)

    def onnx_file(self) -> Path | None:
        """None if there is none."""
        return _if_there(self.path / ONNX)

    @cached_property
    def digest(self) -> str | None:
        """SHA-256 of f's weights; None where there are none to compare with, empty for a damaged file."""
        return (weights_digest(self.path / WEIGHTS) or "") if (self.path / WEIGHTS).is_file() else None

    def card(self) -> Card | None:
        """None if there is none. ModelError if it can't be read."""
        return read_card(self.path)


@dataclass(frozen=True)
class OnnxFile:
    """A mask network exported for ONNX Runtime: it segments, and does nothing else."""

    path: Path
    digest: ClassVar[None] = None  # there are no other weights to compare with

    def __str__(self) -> str:
        return str(self.path)

    def load(self, device: "torch.device | str" = "cpu") -> "Model":
        """ModelError: there is no network for PyTorch in it."""
        raise ModelError(
            f"{self.path} holds masks alone, for `redoseg segment`: name the run it was made from"
        )

    def onnx_file(self) -> Path:
        """The file itself."""
        return self.path

    def card(self) -> None:
        """There is none."""


@dataclass(frozen=True)
class HubModel:
    """A repository on the hub, or what was downloaded of it before. It is asked once, by `find_model`."""

    repository: hub.Repository
    digest: ClassVar[None] = None  # to compare them, the weights would have to be downloaded

    def __str__(self) -> str:
        return str(self.repository.name)

    def load(self, device: "torch.device | str" = "cpu") -> "Model":
        """The networks, on a device. ModelError for a repository without a mask network."""
        from redoseg.models.model import read_hub

        return read_hub(self.repository, device)

    def onnx_file(self) -> Path | None:
        """Downloaded if it is there, and if the repository holds a model; else None."""
        return self.repository.file(ONNX) if self.repository.file(CONFIG) else None

    def card(self) -> Card | None:
        """None if there is none. ModelError if it can't be read."""
        file = self.repository.file(CARD)
        return None if file is None else read_card(file.parent)


ModelSource = Union[RunCheckpoint, ModelFolder, OnnxFile, HubModel]  # noqa: UP007 - isinstance takes it


def find_model(
    model: str | Path | ModelSource, *, checkpoint: str = "last", weights: str | None = None
) -> ModelSource:
    """Where MODEL is; what was found before is given back as it is.

    A model here goes before a shipped one of its name, anything else here does not: photos of faces may well
    lie in faces/. Only a string is a name; "./faces" and Path("faces") are places.
    In a run, `checkpoint` is one of RULES or a step, `weights` 'ema' or 'raw' (None: EMA if one is kept).
    Raises ModelError, one line, for anything that can't be found.
    """
    if not isinstance(model, str | Path):
        return model
    path = Path(model).expanduser()
    if (path / "run.json").is_file():
        return _in_run(RunFolder(path), checkpoint, weights)
    if checkpoint != "last" or weights is not None:
        raise ModelError(f"{model} is not a run: --checkpoint and --weights choose within a run")
    if _is_onnx(path):
        return OnnxFile(path)
    if _is_model_folder(path):
        return ModelFolder(path)
    shipped = shipped_folder(model) if isinstance(model, str) else None
    if shipped is not None:
        return ModelFolder(shipped)
    if path.exists():
        raise ModelError(f"{model} is neither a run (run.json) nor a model's folder (config.json)")
    if str(model).count("/") == 1 and not str(model).startswith((".", "/", "~")):
        if path.parent.is_dir():  # a slip of the pen is none of the hub's business
            raise ModelError(f"no model '{model}': there is no {path.name} in {path.parent}")
        return HubModel(hub.find_repository(str(model)))
    raise ModelError(
        f"no model '{model}': give a run's folder, a model's folder, a hub id such as NAME/MODEL, or a name "
        "from `redoseg models`"
    )


def absolute(model: str | Path) -> str | Path:
    """MODEL in words that mean the same from any folder, and on machines that see the same files."""
    path = Path(model).expanduser()
    here = (path / "run.json").is_file() or _is_model_folder(path) or _is_onnx(path)
    return path.absolute() if here else model


def _is_model_folder(path: Path) -> bool:
    return (path / CONFIG).is_file()


def _is_onnx(path: Path) -> bool:
    return path.suffix == ".onnx" and path.is_file()


def _if_there(file: Path) -> Path | None:
    return file if file.is_file() else None


def _in_run(run: RunFolder, checkpoint: str, weights: str | None) -> RunCheckpoint:
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


# Digests of weights, read without torch


def weights_digest(file: Path, prefix: str = "") -> str | None:
    """SHA-256 of the tensors called `prefix`* in a safetensors file; None for a damaged one."""
    try:
        return tensors_digest(_tensors(file, prefix))
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


def tensors_digest(tensors: Iterable[tuple[str, bytes]]) -> str:
    """SHA-256 of tensors, each its name and the bytes of its values, in the order of their names."""
    sha = hashlib.sha256()
    for name, content in sorted(tensors):
        sha.update(f"{name}\0{len(content)}\0".encode())
        sha.update(content)
    return sha.hexdigest()


def _tensors(file: Path, prefix: str) -> Iterator[tuple[str, bytes]]:
    """As safetensors lays them out: the header's length in 8 bytes, the header, the values."""
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if length > file.stat().st_size:
            raise ValueError("no safetensors file")
        for name, entry in json.loads(stream.read(length)).items():
            if name.startswith(prefix) and name != "__metadata__":
                begin, end = entry["data_offsets"]
                stream.seek(8 + length + begin)
                yield name.removeprefix(prefix), stream.read(end - begin)
