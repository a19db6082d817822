"""Learn to segment the object in a collection of images without a single annotated mask.

    seg = redoseg.Segmenter.from_pretrained("runs/faces")
    masks = seg("photo.jpg")  # (n, H, W) float32, background first

Names are imported when they are first used: `import redoseg` alone is instant and doesn't import torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from redoseg.errors import missing_extra
from redoseg.version import __version__

if TYPE_CHECKING:
    from redoseg.config import TrainConfig
    from redoseg.data.dataset import open_dataset
    from redoseg.errors import RedosegError
    from redoseg.evaluation.evaluate import Evaluation, evaluate
    from redoseg.networks.mask import MaskNetwork
    from redoseg.segmentation.segment import segment_files
    from redoseg.segmentation.segmenter import Segmenter
    from redoseg.training.train import train
    from redoseg.training.tries import train_tries

_HOMES = {
    "Evaluation": "redoseg.evaluation.evaluate",
    "MaskNetwork": "redoseg.networks.mask",
    "RedosegError": "redoseg.errors",
    "Segmenter": "redoseg.segmentation.segmenter",
    "TrainConfig": "redoseg.config",
    "evaluate": "redoseg.evaluation.evaluate",
    "open_dataset": "redoseg.data.dataset",
    "segment_files": "redoseg.segmentation.segment",
    "train": "redoseg.training.train",
    "train_tries": "redoseg.training.tries",
}

__all__ = [
    "Evaluation",
    "MaskNetwork",
    "RedosegError",
    "Segmenter",
    "TrainConfig",
    "__version__",
    "evaluate",
    "open_dataset",
    "segment_files",
    "train",
    "train_tries",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'redoseg' has no attribute '{name}'")
    try:
        return getattr(import_module(_HOMES[name]), name)
    except ModuleNotFoundError as error:
        missing = missing_extra(f"redoseg.{name}", error)
        if missing is None:
            raise
        raise missing from error


def __dir__() -> list[str]:
    return __all__
