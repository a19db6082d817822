"""What a run leaves in its folder and takes up again: log, checkpoints, scores, pictures, the model."""

from typing import Any

import torch
from torch import Tensor

from redoseg.config import TrainConfig
from redoseg.data.dataset import Dataset
from redoseg.data.held_out import hold_out
from redoseg.evaluation.evaluate import score, scoring_split
from redoseg.exporting.onnx import save_model
from redoseg.files import write_folder_aside, write_json
from redoseg.label_free.statistics import MaskStatistics
from redoseg.models.card import supervision_text
from redoseg.models.load import load_model
from redoseg.models.run_folder import RunFolder
from redoseg.models.weights import flat_moments, flat_weights, load_tensors, save_tensors
from redoseg.redrawing.samples import SamplePicture
from redoseg.training.learner import Learner
from redoseg.training.log import MetricsLog, description
from redoseg.training.selection import BestCheckpoint, LabelFreeSelection, checkpoint_signals

State = dict[str, Any]
"""A run's numbers: step, attempt, images, seconds, restarts, and the learner's own."""

Moment = tuple[int, int]
"""Attempt and step."""

_TO_USE, _TO_REDRAW = ("f", "f_ema"), ("f", "f_ema", "G")  # of a checkpoint that can't be resumed from
_NO_CHECKPOINT = {"val": None, "signals": None, "label_free": None}


class RunWriter:
    """The files of one run, whatever is learned in it. Of several processes the main one has it."""

    def __init__(
        self,
        config: TrainConfig,
        dataset: Dataset,
        device: torch.device,
        supervision: dict[str, Any] | None = None,
    ) -> None:
        """Images that were trained on with their masks, which `supervision` (`Labelled.supervision`) names,
        are not scored: they'd flatter."""
        self.config, self.dataset, self.device = config, dataset, device
        self.supervision, scored = supervision, hold_out(scoring_split(dataset), supervision)
        self.folder = RunFolder(config.out)
        self.best = BestCheckpoint(scored, config.best_by)
        self.label_free = LabelFreeSelection(config)
        self.picture = SamplePicture(config, None if scored is None else scored[1], dataset.split("train"))
        self._saved: Moment | None = None  # that of checkpoints/last
        self._sampled: Moment | None = None

    # --- taking up

    def last(self) -> tuple[dict[str, Tensor], State] | None:
        """checkpoints/last, if there is one: tensors, and all that `save_state` wrote beside them."""
        return load_tensors(self.folder.last) if self.folder.last.is_file() else None

    def open(self, saved: State | None, more: dict[str, Any]) -> None:
        """Go on where a checkpoint stood, or begin: what came after it is dropped. `more` is for run.json."""
        if saved is not None:
            self.best.best, self.best.last = saved["best"], saved["last_score"]
            self.label_free.best = saved.get("label_free")  # not in runs from before there was a rule
        described = description(self.config, self.dataset.describe(), self.device)
        described["supervision"] = self.supervision or {"kind": "none"}
        write_json(self.folder.description, described | more)
        self.remove_newer_than(saved["step"] if saved else 0)
        self.log = MetricsLog(self.folder.metrics, int(saved["log_offset"]) if saved else 0)

    def forget_attempt(self) -> None:
        """Scores of a dead attempt don't count."""
        self.best.forget()
        self.label_free.forget()

    def remove_newer_than(self, step: int) -> None:
        """Remove what the state knows nothing of: files of a dead attempt, and of steps that come again."""
        files = {self.folder.best: self.best.best, self.folder.label_free: self.label_free.best}
        self.folder.remove_newer_than(step, *(file for file, chosen in files.items() if chosen is None))

    # --- writing, in the order in which it is done

    def save_checkpoint(self, learner: Learner, state: State, fixed_images: Tensor) -> None:
        """Scores, a checkpoint of f for later choice, the best one, and the one chosen without masks.

        `fixed_images` (N, 3, S, S): what the choice without masks looks at.
        """
        step = state["step"]
        signals = checkpoint_signals(self.config, learner, fixed_images)
        best, chosen = self.best.update(learner.f, step), self.label_free.update(signals, step)
        info = self._info(state) | {"signals": signals.as_dict()}
        for file, due in ((self.folder.best, best), (self.folder.label_free, chosen)):
            if due:
                save_tensors(file, _weights(learner, _TO_REDRAW), info)
        save_tensors(self.folder.step(step), _weights(learner, _TO_USE), info)

    def log_metrics(
        self, state: State, entry: dict[str, Any], statistics: MaskStatistics, *, restarts: int | None
    ) -> dict[str, Any]:
        """The log's line for this step, which it returns. `restarts` None: there can't be any."""
        scored = state["step"] % self.config.eval_every == 0
        line = {
            "step": state["step"],
            "images": state["images"],
            "seconds": round(state["seconds"], 3),
            **entry,
            "region_sizes": [statistics.sizes[channel] for channel in statistics.order],
            "variation": statistics.variation,
            **({} if restarts is None else {"restarts": restarts}),
            **(self._of_checkpoint() if scored else _NO_CHECKPOINT),
        }
        self.log.write(**line)
        return line

    def log_collapse(self, event: dict[str, Any], **found: Any) -> None:
        """A line for an attempt that ends here."""
        self.log.write(event="collapse", **event, **found)

    def save_sample(self, learner: Learner, state: State) -> None:
        """The picture of this step."""
        self.picture.write(self.folder.sample(state["step"]), learner.f, learner.networks.get("G"))
        self._sampled = _moment(state)

    def save_state(self, learner: Learner, state: State) -> None:
        """checkpoints/last: the whole state."""
        info = self._info(state) | {"log_offset": self.log.offset}
        tensors = flat_weights(learner.networks) | flat_moments(learner.optimizers)
        save_tensors(self.folder.last, tensors, info)
        self._saved = _moment(state)

    def has_saved(self, state: State) -> bool:
        """Whether checkpoints/last is of this moment."""
        return self._saved == _moment(state)

    def save_model(self, learner: Learner, state: State) -> None:
        """The run's end: its model, the model's scores, and a picture where this step has none yet."""
        if self._sampled != _moment(state):
            self.save_sample(learner, state)
        masks = supervision_text(self.supervision)
        write_folder_aside(self.folder.model, lambda aside: save_model(learner.f, aside, masks))
        if self.best.split is not None:
            model = load_model(self.folder.path, device=self.device)  # as saved
            write_json(self.folder.evaluation, score(model, self.best.split).as_dict())

    def _of_checkpoint(self) -> dict[str, Any]:
        """What the log says where a checkpoint has just been kept."""
        signals = self.label_free.signals
        return {
            "val": self.best.last,
            "signals": None if signals is None else signals.as_dict(),
            "label_free": self.label_free.score,
        }

    def _info(self, state: State) -> State:
        """What checkpoints say beside their tensors."""
        chosen = {
            "best": self.best.best,
            "last_score": self.best.last,
            "label_free": self.label_free.best,
        }
        masks = {} if self.supervision is None else {"supervision": self.supervision}
        return state | chosen | {"data": self.dataset.fingerprint} | masks


def _weights(learner: Learner, letters: tuple[str, ...]) -> dict[str, Tensor]:
    return flat_weights({name: net for name, net in learner.networks.items() if name in letters})


def _moment(state: State) -> Moment:
    return state["attempt"], state["step"]
