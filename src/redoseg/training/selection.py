"""Which of a run's checkpoints is the best: by its scores against masks, and by signals without masks."""

import dataclasses
from typing import Any

from torch import Tensor, nn

from redoseg.config import TrainConfig
from redoseg.data.dataset import Split
from redoseg.evaluation.evaluate import count_pixels
from redoseg.evaluation.metrics import per_dataset, per_image
from redoseg.label_free.signals import Signals, code_recovery, label_free_score, measure
from redoseg.networks.mask import MaskNetwork
from redoseg.training.learner import Learner

SCORED = 2_000  # labelled images, at most, that a checkpoint is scored on


class BestCheckpoint:
    """The best checkpoint by its IoU. `last`: the last scores, by matching; `best`: step and IoU of the best
    one so far. Both are None if the data has no masks."""

    def __init__(self, scored: tuple[str, Split] | None, best_by: str) -> None:
        """`scored`: name and images of the split that is scored; `best_by`: the matching whose IoU counts."""
        self.name = "" if scored is None else scored[0]
        self.split = None if scored is None else scored[1]
        self.best_by = best_by
        self.reset()

    def reset(self) -> None:
        """Drop the scores, because a collapsed attempt's don't count."""
        self.best: dict[str, Any] | None = None
        self.last: dict[str, Any] | None = None

    def update(self, f: MaskNetwork, step: int) -> bool:
        """Score f as it is after `step` updates, and return whether it is the best so far."""
        if self.split is None:
            return False
        counts = count_pixels(f, self.split, SCORED)
        rows = {"per_dataset": per_dataset(counts), "per_image": per_image(counts)}
        scores = {name: {"accuracy": row.accuracy, "iou": row.iou} for name, row in rows.items()}
        self.last = {"split": self.name, **scores}
        iou = scores[self.best_by]["iou"]
        if self.best is not None and iou <= self.best["iou"]:
            return False
        self.best = {"step": step, "iou": iou, "by": self.best_by}
        return True

    @property
    def text(self) -> str:
        """The last IoU, for the progress bar."""
        if self.last is None:
            return ""
        return f"{self.last['split']} IoU {self.last['per_dataset']['iou']:.3f}"


class LabelFreeSelection:
    """The best checkpoint by its label-free score. `signals` and `score` are those of the last checkpoint,
    `best` holds step and score of the best one so far."""

    def __init__(self, config: TrainConfig) -> None:
        self.smallest, self.least_variation = config.collapse_below, config.collapse_variation
        self.reset()

    def reset(self) -> None:
        """Drop the scores, because a collapsed attempt's don't count."""
        self.best: dict[str, Any] | None = None
        self.signals: Signals | None = None
        self.score: float | None = None

    def update(self, signals: Signals, step: int) -> bool:
        """Whether the checkpoint of `step` is the best so far; of equally good ones the last is."""
        self.signals = signals
        self.score = label_free_score(signals, self.smallest, self.least_variation)
        if self.best is not None and self.score < self.best["score"]:
            return False
        self.best = {"step": step, "score": self.score}
        return True


def checkpoint_signals(config: TrainConfig, learner: Learner, images: Tensor) -> Signals:
    """The learner's signals on images (N, 3, S, S); with G and delta also how well delta reads codes."""
    signals = measure(learner.f, images)
    G, delta = learner.networks.get("G"), learner.networks.get("delta")
    if not isinstance(G, nn.ModuleList) or delta is None:
        return signals
    generated = config.delta_input == "generated" or config.redraw == "all"
    codes = code_recovery(learner.f, G, delta, images, config.code_size, generated=generated)
    return dataclasses.replace(signals, recovered=codes)
