"""What the plain installation lacks, and what brings it."""

from redoseg.errors import RedosegError

TRAIN = "pip install 'redoseg[train]'"
_TRAIN_MODULES = {
    "torch": "PyTorch",
    "safetensors": "safetensors",
    "scipy": "SciPy",
    "sklearn": "scikit-learn",
    "onnx": "onnx",
    "onnxscript": "onnxscript",
}


class MissingExtraError(RedosegError, ImportError):
    """What was asked for needs packages that aren't installed."""


def missing_extra(what: str, error: ModuleNotFoundError) -> MissingExtraError | None:
    """The line for `what` could not be had; None where it isn't for an extra that a module is missing."""
    name = _TRAIN_MODULES.get((error.name or "").partition(".")[0])
    return None if name is None else MissingExtraError(f"{what} needs {name}, which isn't installed: {TRAIN}")
