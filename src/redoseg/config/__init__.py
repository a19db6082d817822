"""Every option of a run, declared once; recipes and settings as tables of options. Torch-free."""

from redoseg.config.distill import DistillConfig
from redoseg.config.segment import SegmentConfig
from redoseg.config.train import Box, Recipe, Settings, TrainConfig

__all__ = ["Box", "DistillConfig", "Recipe", "SegmentConfig", "Settings", "TrainConfig"]
