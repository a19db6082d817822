"""A run's scores while it goes on, and which of its checkpoints is the best: by masks, and without any."""

from typing import Any

from redoseg.config import TrainConfig
from redoseg.data.dataset import Split
from redoseg.evaluation.evaluate import count_pixels
from redoseg.evaluation.metrics import per_dataset, per_image
from redoseg.label_free.signals import Signals, label_free_score
from redoseg.networks.mask import MaskNetwork

SCORED = 2_000  # labelled images, at most, that a checkpoint is scored on


class Scorekeeper:
    """`last`: the last scores, by matching; `best`: step and IoU of the best. None without masks."""

    def __init__(self, scored: tuple[str, Split] | None, best_by: str) -> None:
        """`scored`: name and images of the split; `best_by`: the matching that decides."""
        self.name = "" if scored is None else scored[0]
        self.split = None if scored is None else scored[1]
        self.best_by = best_by
        self.forget()

    def forget(self) -> None:
        """Scores of a dead attempt don't count."""
        self.best: dict[str, Any] | None = None
        self.last: dict[str, Any] | None = None

    def update(self, f: MaskNetwork, step: int) -> bool:
        """Score f as it is after `step` updates; whether it is the best so far."""
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
        """For the progress bar."""
        if self.last is None:
            return ""
        return f"{self.last['split']} IoU {self.last['per_dataset']['iou']:.3f}"


class LabelFreeChoice:
    """`signals`: the last ones; `score`: theirs; `best`: step and score of the checkpoint chosen by them."""

    def __init__(self, config: TrainConfig) -> None:
        self.smallest, self.least_variation = config.collapse_below, config.collapse_variation
        self.forget()

    def forget(self) -> None:
        """Those of a dead attempt don't count."""
        self.best: dict[str, Any] | None = None
        self.signals: Signals | None = None
        self.score: float | None = None

    def update(self, signals: Signals, step: int) -> bool:
        """Whether the checkpoint of `step` is the best so far by its signals; of equals the later is."""
        self.signals = signals
        self.score = label_free_score(signals, self.smallest, self.least_variation)
        if self.best is not None and self.score < self.best["score"]:
            return False
        self.best = {"step": step, "score": self.score}
        return True
