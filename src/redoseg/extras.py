"""What the plain installation lacks, and what brings it."""

from redoseg.errors import RedosegError

_EXTRAS = {
    "torch": ("PyTorch", "train"),
    "safetensors": ("safetensors", "train"),
    "scipy": ("SciPy", "train"),
    "sklearn": ("scikit-learn", "train"),
    "threadpoolctl": ("scikit-learn", "train"),
    "onnx": ("onnx", "train"),
    "onnxscript": ("onnxscript", "train"),
    "matplotlib": ("Matplotlib", "reproduce"),
    "ray": ("Ray", "ray"),
    "cv2": ("OpenCV", "edges"),
    "pooch": ("pooch", "data"),
    "requests": ("pooch", "data"),
}
TRAIN = "pip install 'redoseg[train]'"
EDGES = "pip install 'redoseg[edges]'"


class MissingExtraError(RedosegError, ImportError):
    """What was asked for needs packages that aren't installed."""


def missing_extra(
    what: str, error: ModuleNotFoundError, extra: str | None = None
) -> MissingExtraError | None:
    """The line for `what` could not be had; None where it isn't for an extra that a module is missing.

    `extra` is the one that brings all that `what` needs, where that isn't the module's own.
    """
    found = _EXTRAS.get((error.name or "").partition(".")[0])
    if found is None:
        return None
    name, own = found
    return MissingExtraError(
        f"{what} needs {name}, which isn't installed: pip install 'redoseg[{extra or own}]'"
    )
