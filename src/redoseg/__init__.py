"""Learn to segment the object in a collection of images without a single annotated mask.

    seg = redoseg.Segmenter.from_pretrained("runs/faces")
    masks = seg("photo.jpg")  # (n, H, W) float32, background first

Names are imported when they are first used: `import redoseg` alone is instant and doesn't import torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from redoseg.errors import (
    CollapseError,
    ConfigError,
    DataError,
    DivergenceError,
    ElsewhereError,
    MissingExtraError,
    ModelError,
    ProcessError,
    RedosegError,
    missing_extra,
)
from redoseg.version import __version__

if TYPE_CHECKING:
    from redoseg import datasets as datasets
    from redoseg.automation.auto import auto
    from redoseg.config import DistillConfig, SegmentConfig, TrainConfig
    from redoseg.config.auto import AutoConfig
    from redoseg.data.dataset import open_dataset
    from redoseg.distillation.distill import distill
    from redoseg.distillation.fix import fix
    from redoseg.distillation.resume import resume
    from redoseg.evaluation.evaluate import Evaluation, evaluate
    from redoseg.exporting.export import export
    from redoseg.networks.mask import MaskNetwork
    from redoseg.redrawing.redraw import redraw
    from redoseg.reporting.report import report
    from redoseg.segmentation.segment import segment_files
    from redoseg.segmentation.segmenter import Segmenter
    from redoseg.serving.serve import serve
    from redoseg.training import supervised as supervised
    from redoseg.training.train import train
    from redoseg.training.tries import train_tries

_HOMES = {
    "AutoConfig": "redoseg.config.auto",
    "DistillConfig": "redoseg.config",
    "Evaluation": "redoseg.evaluation.evaluate",
    "MaskNetwork": "redoseg.networks.mask",
    "SegmentConfig": "redoseg.config",
    "Segmenter": "redoseg.segmentation.segmenter",
    "TrainConfig": "redoseg.config",
    "auto": "redoseg.automation.auto",
    "distill": "redoseg.distillation.distill",
    "evaluate": "redoseg.evaluation.evaluate",
    "export": "redoseg.exporting.export",
    "fix": "redoseg.distillation.fix",
    "open_dataset": "redoseg.data.dataset",
    "redraw": "redoseg.redrawing.redraw",
    "report": "redoseg.reporting.report",
    "resume": "redoseg.distillation.resume",
    "segment_files": "redoseg.segmentation.segment",
    "serve": "redoseg.serving.serve",
    "train": "redoseg.training.train",
    "train_tries": "redoseg.training.tries",
}
_MODULES = {
    "datasets": "redoseg.datasets",
    "supervised": "redoseg.training.supervised",
}  # redoseg.supervised.fit

__all__ = [
    "AutoConfig", "CollapseError", "ConfigError", "DataError", "DistillConfig", "DivergenceError",
    "ElsewhereError", "Evaluation", "MaskNetwork", "MissingExtraError", "ModelError", "ProcessError",
    "RedosegError", "SegmentConfig", "Segmenter", "TrainConfig", "__version__", "auto", "distill", "evaluate",
    "export", "fix", "open_dataset", "redraw", "report", "resume", "segment_files", "serve", "train",
    "train_tries",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOMES | _MODULES:
        raise AttributeError(f"module 'redoseg' has no attribute '{name}'")
    try:
        if name in _MODULES:
            return import_module(_MODULES[name])
        return getattr(import_module(_HOMES[name]), name)
    except ModuleNotFoundError as error:
        missing = missing_extra(f"redoseg.{name}", error)
        if missing is None:
            raise
        raise missing from error


def __dir__() -> list[str]:
    return __all__
