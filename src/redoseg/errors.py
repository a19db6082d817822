"""The errors that a user can mend. Each is one line that says what to do.

    RedosegError
    |-- ConfigError        an option is wrong, or contradicts another one or the run in the folder
    |-- DataError          photos, masks or a data set can't be opened or used
    |-- ModelError         a model, run or checkpoint can't be found, read or used for what was asked
    |-- CollapseError      training lost a region more often than --max-restarts allows
    |-- DivergenceError    a loss or a mask is no longer finite
    |-- ProcessError       another process of the same run, or a Ray cluster, has ended or doesn't answer
    |-- ElsewhereError     another process of the same run has failed, and has said why
    `-- MissingExtraError  a package that isn't installed is needed (also an ImportError)

The command prints the text of any of them on one line of stderr and exits with 1; of an ElsewhereError it
prints nothing, since the other process has. All can be imported from `redoseg`.
"""


class RedosegError(Exception):
    """What a user can mend: the base of all others. Catch it to catch them all."""


class ConfigError(RedosegError):
    """An option that doesn't exist, is out of range, or contradicts another one or the run in the folder.
    Raised by `TrainConfig`, `DistillConfig`, and every function that takes options."""


class DataError(RedosegError):
    """A photo, a mask or a data set that can't be opened or used. Raised by `open_dataset`, `train`,
    `evaluate`, `segment_files`, `redraw`, and `Segmenter` for a photo."""


class ModelError(RedosegError):
    """A model, run or checkpoint that can't be found, read or used for what was asked. Raised by whatever
    takes a MODEL: `Segmenter.from_pretrained`, `evaluate`, `redraw`, `export`, `distill`."""


class CollapseError(RedosegError):
    """Training lost a region more often than it may start again (--max-restarts). Raised by `train`."""


class DivergenceError(RedosegError):
    """A loss or a mask is no longer finite. Raised by `train` and `distill`; nothing broken is saved."""


class ProcessError(RedosegError):
    """Another process has ended or doesn't answer: of those that train one run, or a Ray cluster's."""


class ElsewhereError(RedosegError):
    """Another process of the run has failed, and has said why. The command prints nothing more."""


class MissingExtraError(RedosegError, ImportError):
    """What was asked for needs packages that aren't installed. The text says which extra brings them."""


def first_line(error: BaseException) -> str:
    """What a library's error says, cut to its first line; the error's kind where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def named_reason(name: str, reason: str) -> str:
    """A reason after the name of what it is about, unless it begins with that."""
    return reason if reason.startswith(f"{name} ") else f"{name}: {reason}"


def reason_of(error: Exception) -> str:
    """What an error says behind a file's name: of the system's errors the reason alone."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


# Module -> the package's name for people, and the extra that brings it.
_EXTRAS = {
    "torch": ("PyTorch", "train"),
    "safetensors": ("safetensors", "train"),
    "scipy": ("SciPy", "train"),
    "sklearn": ("scikit-learn", "train"),
    "threadpoolctl": ("threadpoolctl", "baselines"),
    "onnx": ("onnx", "train"),
    "matplotlib": ("Matplotlib", "reproduce"),
    "pandas": ("pandas", "reproduce"),
    "ray": ("Ray", "ray"),
    "tensorboard": ("TensorBoard", "tensorboard"),
    "starlette": ("Starlette", "web"),
    "uvicorn": ("uvicorn", "web"),
    "pooch": ("pooch", "data"),
    "requests": ("pooch", "data"),
    "urllib3": ("pooch", "data"),
}
TRAIN = "pip install 'redoseg[train]'"


def missing_extra(
    what: str, error: ModuleNotFoundError, extra: str | None = None
) -> MissingExtraError | None:
    """The error to raise when `what` could not be imported; None if the missing module belongs to no extra.

    `extra`: the one that brings all that `what` needs, if it isn't the module's own.
    """
    found = _EXTRAS.get((error.name or "").partition(".")[0])
    if found is None:
        return None
    name, own = found
    return MissingExtraError(
        f"{what} needs {name}, which isn't installed: pip install 'redoseg[{extra or own}]'"
    )
