"""What goes wrong through no fault of the program: each error is one line that says what to do."""


def first_line(error: BaseException) -> str:
    """What a library's error says, cut to its first line; the error's kind where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


class RedosegError(Exception):
    """A mistake that the user can mend. The command prints its text on one line and exits with 1."""


class ConfigError(RedosegError):
    """An option that doesn't exist, is out of range or contradicts another."""


class DataError(RedosegError):
    """A data set that can't be opened or used."""


class ModelError(RedosegError):
    """A model, run or checkpoint that can't be found, read or used for what was asked."""


class CollapseError(RedosegError):
    """Training collapsed more often than it was allowed to."""


class DivergenceError(RedosegError):
    """A loss is not finite."""


class ProcessError(RedosegError):
    """Of several processes that train one run, another has ended or doesn't answer."""


class ElsewhereError(RedosegError):
    """Another process of the run has failed, and said why: the command prints nothing more."""


_EXTRAS = {
    "torch": ("PyTorch", "train"),
    "safetensors": ("safetensors", "train"),
    "scipy": ("SciPy", "train"),
    "sklearn": ("scikit-learn", "train"),
    "threadpoolctl": ("scikit-learn", "train"),
    "onnx": ("onnx", "train"),
    "onnxscript": ("onnxscript", "train"),
    "matplotlib": ("Matplotlib", "reproduce"),
    "pandas": ("pandas", "reproduce"),
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
