"""Writes a run's folder and reads it again: log, checkpoints, scores, pictures, the model.

checkpoints/last is where a run goes on: what the log or the folder has beyond it is dropped, and made again.
"""

from typing import Any

import torch
from torch import Tensor

from redoseg.config import TrainConfig
from redoseg.data.dataset import Dataset
from redoseg.data.held_out import hold_out
from redoseg.evaluation.evaluate import score, scoring_split
from redoseg.exporting.onnx import save_model
from redoseg.files import write_folder_aside, write_json
from redoseg.label_free.calibration import choose_starts
from redoseg.label_free.statistics import MaskStatistics
from redoseg.models.card import supervision_text
from redoseg.models.load import load_model
from redoseg.models.run_folder import RunFolder
from redoseg.models.weights import flat_weights, load_tensors, save_tensors
from redoseg.redrawing.samples import SamplePicture
from redoseg.training.learner import Learner
from redoseg.training.log import MetricsLog, description
from redoseg.training.selection import BestCheckpoint, LabelFreeSelection, checkpoint_signals
from redoseg.training.verdict import judge

State = dict[str, Any]
"""A run's numbers: step, attempt, images, seconds, restarts, and the learner's own."""


class RunWriter:
    """The files of one run, of any learner. Of several processes only the main one has a writer."""

    def __init__(
        self,
        config: TrainConfig,
        dataset: Dataset,
        device: torch.device,
        supervision: dict[str, Any] | None = None,
    ) -> None:
        """`supervision` (`Labelled.supervision`) names the images that are trained on with their masks.
        They count as unlabelled when the run is scored: scoring them would inflate the score."""
        self.config, self.dataset, self.device = config, dataset, device
        self.supervision, scored = supervision, hold_out(scoring_split(dataset), supervision)
        self.folder = RunFolder(config.out)
        self.best = BestCheckpoint(scored, config.best_by)
        self.label_free = LabelFreeSelection(config)
        self.picture = SamplePicture(config, None if scored is None else scored[1], dataset.split("train"))
        self._saved: tuple[int, int] | None = None  # attempt and step of checkpoints/last
        self._sampled: tuple[int, int] | None = None  # attempt and step of the last picture

    # --- resuming

    def load_state(self) -> tuple[dict[str, Tensor], State] | None:
        """The tensors of checkpoints/last, and the numbers beside them; None without that file."""
        return load_tensors(self.folder.last) if self.folder.last.is_file() else None

    def open(self, saved: State | None, extra: dict[str, Any]) -> None:
        """Open the files where the checkpoint `saved` left them, or begin new ones (None).
        Files and lines of the log that are newer than the checkpoint are removed. `extra` goes to
        run.json."""
        if saved is not None:
            self.best.best, self.best.last = saved["best"], saved["last_score"]
            self.label_free.best = saved.get("label_free")  # not in runs from before there was a rule
        described = description(self.config, self.dataset.describe(), self.device)
        described["supervision"] = self.supervision or {"kind": "none"}
        write_json(self.folder.description, described | extra)
        self.remove_newer_than(saved["step"] if saved else 0)
        self.log = MetricsLog(self.folder.metrics, int(saved["log_offset"]) if saved else 0)

    def remove_newer_than(self, step: int) -> None:
        """Remove the files of a collapsed attempt, and those of steps that will be done again."""
        files = {self.folder.best: self.best.best, self.folder.label_free: self.label_free.best}
        self.folder.remove_newer_than(step, *(file for file, chosen in files.items() if chosen is None))

    # --- writing, in this order

    def save_checkpoint(self, learner: Learner, state: State, fixed_images: Tensor) -> None:
        """Score f, and save it as this step's checkpoint and, where it is the best so far, as the best one.
        There is a best one by masks, and one by label-free signals on `fixed_images` (N, 3, S, S)."""
        step = state["step"]
        signals = checkpoint_signals(self.config, learner, fixed_images)
        best, chosen = self.best.update(learner.f, step), self.label_free.update(signals, step)
        info = self._info(state) | {"signals": signals.as_dict()}
        for file, due in ((self.folder.best, best), (self.folder.label_free, chosen)):
            if due:
                save_tensors(file, _weights(learner, "f", "f_ema", "G"), info)
        save_tensors(self.folder.step(step), _weights(learner, "f", "f_ema"), info)

    def log_metrics(
        self, state: State, entry: dict[str, Any], statistics: MaskStatistics, *, restarts: int | None
    ) -> dict[str, Any]:
        """Write the log's line for this step, and return it. `restarts` is None for what can't restart."""
        scored = state["step"] % self.config.eval_every == 0
        signals = self.label_free.signals if scored else None
        line = {
            "step": state["step"],
            "images": state["images"],
            "seconds": round(state["seconds"], 3),
            **entry,
            "region_sizes": [statistics.sizes[channel] for channel in statistics.order],
            "variation": statistics.variation,
            **({} if restarts is None else {"restarts": restarts}),
            "val": self.best.last if scored else None,
            "signals": None if signals is None else signals.as_dict(),
            "label_free": self.label_free.score if scored else None,
        }
        self.log.write(**line)
        return line

    def save_sample(self, learner: Learner, state: State) -> None:
        """Write the picture of this step."""
        self.picture.write(self.folder.sample(state["step"]), learner.f, learner.networks.get("G"))
        self._sampled = _moment(state)

    def save_state(self, learner: Learner, state: State) -> None:
        """Write checkpoints/last: all that a resumed run needs."""
        save_tensors(self.folder.last, learner.tensors(), self._info(state) | {"log_offset": self.log.offset})
        self._saved = _moment(state)

    def has_saved(self, state: State) -> bool:
        """Whether checkpoints/last is of this attempt and step."""
        return self._saved == _moment(state)

    def save_model(self, learner: Learner, state: State, images: Tensor) -> None:
        """At the run's end, write its model, the model's scores, and a picture if this step has none yet.
        On `images` (N, 3, S, S) it is chosen, without masks, where refining starts, and judged whether an
        object was found."""
        if self._sampled != _moment(state):
            self.save_sample(learner, state)
        masks = supervision_text(self.supervision)
        starts = choose_starts(learner.f, images)
        write_folder_aside(self.folder.model, lambda aside: save_model(learner.f, aside, masks, starts))
        if self.best.split is not None:
            model = load_model(self.folder.path, device=self.device)  # scored as it was saved
            write_json(self.folder.evaluation, score(model, self.best.split).as_dict())
        write_json(self.folder.verdict, judge(learner.f, images, starts, self.config).as_json())

    def _info(self, state: State) -> State:
        """The JSON in a checkpoint, beside its tensors."""
        chosen = {"best": self.best.best, "last_score": self.best.last, "label_free": self.label_free.best}
        masks = {} if self.supervision is None else {"supervision": self.supervision}
        return state | chosen | {"data": self.dataset.fingerprint} | masks


def _weights(learner: Learner, *letters: str) -> dict[str, Tensor]:
    return flat_weights({name: net for name, net in learner.networks.items() if name in letters})


def _moment(state: State) -> tuple[int, int]:
    return state["attempt"], state["step"]
