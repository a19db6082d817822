"""Where MODEL is: a run's checkpoint, a folder, an ONNX file, a shipped name or a hub's id. Without torch."""

import hashlib
import json
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import huggingface_hub
from huggingface_hub import errors as hub_errors

from redoseg.config import TrainConfig
from redoseg.errors import ModelError, first_line
from redoseg.models.card import ONNX, WEIGHTS
from redoseg.models.run_folder import RunFolder
from redoseg.models.shipped import shipped_folder

RULES = ("last", "label-free", "best")
"""By what a run's checkpoint is chosen; 'best' needs masks."""

_HUB_SECONDS = 5.0  # for the hub to answer at all


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


@dataclass(frozen=True)
class HubModel:
    """A repository on the hub; `offline` if there is only what was downloaded before."""

    name: str
    offline: bool


Place = RunCheckpoint | HubModel | Path


def find_model(model: str | Path, *, checkpoint: str = "last", weights: str | None = None) -> Place:
    """Where MODEL is; a Path is a model's folder, a shipped one too, or an ONNX file.

    A model here goes before a shipped one of its name, anything else here does not: photos of faces may well
    lie in faces/. Only a string is a name; "./faces" and Path("faces") are places.
    In a run, `checkpoint` is one of RULES or a step, `weights` 'ema' or 'raw' (None: EMA if one is kept).
    Raises ModelError, one line, for anything that can't be found.
    """
    path = Path(model).expanduser()
    if (path / "run.json").is_file():
        return _in_run(RunFolder(path), checkpoint, weights)
    if checkpoint != "last" or weights is not None:
        raise ModelError(f"{model} is not a run: --checkpoint and --weights choose within a run")
    if _is_model(path):
        return path
    shipped = shipped_folder(model) if isinstance(model, str) else None
    if shipped is not None:
        return shipped
    if path.exists():
        raise ModelError(f"{model} is neither a run (run.json) nor a model's folder (config.json)")
    if str(model).count("/") == 1 and not str(model).startswith((".", "/", "~")):
        if path.parent.is_dir():  # a slip of the pen is none of the hub's business
            raise ModelError(f"no model '{model}': there is no {path.name} in {path.parent}")
        return _on_hub(str(model))
    raise ModelError(
        f"no model '{model}': give a run's folder, a model's folder, a hub id such as NAME/MODEL, or a name "
        "from `redoseg models`"
    )


def absolute(model: str | Path) -> str | Path:
    """MODEL in words that mean the same from any folder, and on machines that see the same files."""
    path = Path(model).expanduser()
    return path.absolute() if (path / "run.json").is_file() or _is_model(path) else model


def _is_model(path: Path) -> bool:
    return (path / "config.json").is_file() or (path.suffix == ".onnx" and path.is_file())


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


# The hub


def _on_hub(name: str) -> HubModel:
    """Asked once: the library's downloads would try again and again for half a minute."""
    try:
        huggingface_hub.HfApi().model_info(name, timeout=_HUB_SECONDS)
    except (hub_errors.HfHubHTTPError, hub_errors.HFValidationError) as error:
        raise no_hub_model(name, error) from error
    except Exception as error:  # no answer: an error of whatever client the library uses
        if _downloaded(HubModel(name, offline=True), "config.json") is None:
            raise no_hub_model(name, error) from error
        return HubModel(name, offline=True)
    return HubModel(name, offline=False)


def no_hub_model(name: str, error: Exception) -> ModelError:
    return ModelError(f"'{name}' is no folder here, and the hub gave no model ({first_line(error)})")


def _downloaded(model: HubModel, file: str) -> Path | None:
    """A file of the repository, from the hub's cache if it is there; None if there is no such file."""
    try:
        with quiet_hub():
            return Path(huggingface_hub.hf_hub_download(model.name, file, local_files_only=model.offline))
    except hub_errors.EntryNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise no_hub_model(model.name, error) from error


@contextmanager
def quiet_hub() -> Iterator[None]:
    """Within, the hub's library doesn't log its retries: what becomes of them all is in the error."""
    library = logging.getLogger("huggingface_hub")
    level = library.level
    library.setLevel(logging.ERROR)
    try:
        yield
    finally:
        library.setLevel(level)


# The network in an ONNX file


def onnx_file(place: Place) -> Path | None:
    """The ONNX file of the model there, None if there is none. It may be of other weights: `same_weights`."""
    if isinstance(place, HubModel):
        return _downloaded(place, ONNX) if _downloaded(place, "config.json") else None
    if isinstance(place, Path) and place.suffix == ".onnx":
        return place
    file = (place.run.model if isinstance(place, RunCheckpoint) else place) / ONNX
    return file if file.is_file() else None


def same_weights(place: Place, digest: str) -> bool:
    """Whether `digest` is that of the weights there. True where there are none to compare with."""
    if isinstance(place, RunCheckpoint):
        return weights_digest(place.file, f"{place.letter}.") == digest
    if isinstance(place, Path) and (place / WEIGHTS).is_file():
        return weights_digest(place / WEIGHTS) == digest
    return True


def weights_digest(file: Path, prefix: str = "") -> str | None:
    """SHA-256 of the tensors called `prefix`* in a safetensors file; None for a damaged one."""
    try:
        return digest(_tensors(file, prefix))
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


def digest(tensors: Iterable[tuple[str, bytes]]) -> str:
    """SHA-256 of tensors, each its name and the bytes of its values."""
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
