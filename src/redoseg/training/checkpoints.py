"""What a run leaves in its folder and takes up again: log, checkpoints, scores, pictures, the model."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from redoseg.config import TrainConfig
from redoseg.data.dataset import Dataset, Split
from redoseg.data.held_out import unseen
from redoseg.evaluation.evaluate import score, scoring_split
from redoseg.exporting.onnx import save_model
from redoseg.files import write_folder_aside, write_json
from redoseg.label_free.signals import Signals, code_recovery, measure
from redoseg.label_free.statistics import MaskStatistics
from redoseg.method.algorithm import Game
from redoseg.models.card import supervision_text
from redoseg.models.load import load_model
from redoseg.models.run_folder import RunFolder
from redoseg.models.weights import load_tensors, save_tensors
from redoseg.redrawing.samples import SamplePicture
from redoseg.training.log import MetricsLog, description
from redoseg.training.selection import LabelFreeChoice, Scorekeeper

State = dict[str, Any]
"""A run's numbers: step, attempt, images, seconds, restarts."""

Moment = tuple[int, int]
"""Attempt and step."""

_NO_CHECKPOINT = {"val": None, "signals": None, "label_free": None}


class Learner(Protocol):
    """What is trained: a game, or a student."""

    def state_dict(self) -> dict[str, Tensor]:
        """All that a run needs to go on with it."""


class RunRecords:
    """What every run's files have in common, whether a game is played or a student taught."""

    def __init__(
        self,
        config: TrainConfig,
        dataset: Dataset,
        device: torch.device,
        scored: tuple[str, Split] | None,
        supervision: dict[str, Any] | None = None,
    ) -> None:
        """`scored`: name and images of the split that checkpoints are scored on, but for those that were
        trained on with their masks: `supervision` (`Labelled.supervision`) names them."""
        self.config, self.dataset, self.device = config, dataset, device
        self.supervision, scored = supervision, unseen(scored, supervision)
        self.folder = RunFolder(config.out)
        self.scores = Scorekeeper(scored, config.best_by)
        self.picture = SamplePicture(config, None if scored is None else scored[1], dataset.split("train"))
        self._saved: Moment | None = None  # that of checkpoints/last

    def last(self) -> tuple[dict[str, Tensor], State] | None:
        """checkpoints/last, if there is one: tensors, and all that `save` wrote beside them."""
        return load_tensors(self.folder.last) if self.folder.last.is_file() else None

    def begin(self, saved: State | None, **more: Any) -> None:
        """Go on where a checkpoint stood, or begin: what came after it is dropped. `more` is for run.json."""
        if saved is not None:
            self.scores.best, self.scores.last = saved["best"], saved["last_score"]
        described = description(self.config, self.dataset.describe(), self.device)
        described["supervision"] = self.supervision or {"kind": "none"}
        write_json(self.folder.description, described | more)
        self._drop_later(saved["step"] if saved else 0)
        self.log = MetricsLog(self.folder.metrics, int(saved["log_offset"]) if saved else 0)

    def _drop_later(self, step: int) -> None:
        """Remove what the state knows nothing of: files of a dead attempt, and of steps that come again."""
        self.folder.drop_later(step, *self._unchosen())

    def _unchosen(self) -> list[Path]:
        """The files of choices that have not been made yet."""
        return [self.folder.best] if self.scores.best is None else []

    def save(self, learner: Learner, state: State) -> None:
        """checkpoints/last: the whole state."""
        info = self._info(state) | {"log_offset": self.log.offset}
        save_tensors(self.folder.last, learner.state_dict(), info)
        self._saved = _moment(state)

    def _save_once(self, learner: Learner, state: State) -> None:
        """The same, unless it has been done."""
        if self._saved != _moment(state):
            self.save(learner, state)

    def _leave_model(self, write: Callable[[Path], None]) -> None:
        """The model, as `write` puts it into a folder, and its scores."""
        write_folder_aside(self.folder.model, write)
        if self.scores.split is not None:
            model = load_model(self.folder.path, device=self.device)  # as saved
            write_json(self.folder.evaluation, score(model, self.scores.split).as_dict())

    @property
    def _masks(self) -> str | None:
        """What masks were learned from, in words."""
        return supervision_text(self.supervision)

    def _chosen(self) -> State:
        return {"best": self.scores.best, "last_score": self.scores.last}

    def _info(self, state: State) -> State:
        """What checkpoints say beside their tensors."""
        masks = {} if self.supervision is None else {"supervision": self.supervision}
        return state | self._chosen() | {"data": self.dataset.fingerprint} | masks


class Records(RunRecords):
    """The files of one game's run. Of several processes the first has them."""

    def __init__(
        self,
        config: TrainConfig,
        dataset: Dataset,
        device: torch.device,
        supervision: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(config, dataset, device, scoring_split(dataset), supervision)
        self.label_free = LabelFreeChoice(config)
        self._sampled: Moment | None = None

    # --- taking up

    def begin(self, saved: State | None, **more: Any) -> None:
        """As every run's."""
        if saved is not None:
            self.label_free.best = saved.get("label_free")  # not in runs from before there was a rule
        super().begin(saved, **more)

    def restart(self, game: Game, state: State) -> None:
        """A new attempt: nothing of the dead one is kept but the log."""
        self.scores.forget()
        self.label_free.forget()
        self.save(game, state)
        self._drop_later(state["step"])

    def _unchosen(self) -> list[Path]:
        own = [self.folder.label_free] if self.label_free.best is None else []
        return super()._unchosen() + own

    # --- writing

    def keep(self, game: Game, state: State, fixed_images: Tensor) -> None:
        """Scores, a checkpoint of f for later choice, the best one, and the one chosen without masks.

        `fixed_images` (N, 3, S, S): what the choice without masks looks at.
        """
        step = state["step"]
        signals = self._signals(game, fixed_images)
        best, chosen = self.scores.update(game.f, step), self.label_free.update(signals, step)
        info = self._info(state) | {"signals": signals.as_dict()}
        for file, due in ((self.folder.best, best), (self.folder.label_free, chosen)):
            if due:
                save_tensors(file, game.state_dict(("f", "f_ema", "G"), optimisers=False), info)
        save_tensors(self.folder.step(step), game.state_dict(("f", "f_ema"), optimisers=False), info)

    def _signals(self, game: Game, images: Tensor) -> Signals:
        config, net = self.config, game.networks
        generated = config.delta_input == "generated" or config.redraw == "all"
        codes = code_recovery(game.f, net.G, net.delta, images, config.code_size, generated=generated)
        return dataclasses.replace(measure(game.f, images), recovered=codes)

    def sample(self, game: Game, state: State) -> None:
        """The picture of this step."""
        self.picture.write(self.folder.sample(state["step"]), game.f, game.networks.G)
        self._sampled = _moment(state)

    def note(self, state: State, losses: dict[str, float], statistics: MaskStatistics) -> dict[str, Any]:
        """The log's line for this step, which it returns."""
        line = {
            "step": state["step"],
            "images": state["images"],
            "seconds": round(state["seconds"], 3),
            "losses": losses,
            "region_sizes": [statistics.sizes[channel] for channel in statistics.order],
            "variation": statistics.variation,
            "restarts": len(state["restarts"]),
            **(self._of_checkpoint() if state["step"] % self.config.eval_every == 0 else _NO_CHECKPOINT),
        }
        self.log.write(**line)
        return line

    def _of_checkpoint(self) -> dict[str, Any]:
        """What the log says where a checkpoint has just been kept."""
        signals = self.label_free.signals
        return {
            "val": self.scores.last,
            "signals": None if signals is None else signals.as_dict(),
            "label_free": self.label_free.score,
        }

    def finish(self, game: Game, state: State) -> None:
        """The model and its scores; the checkpoint and the picture where this step has none yet."""
        self._save_once(game, state)
        if self._sampled != _moment(state):
            self.sample(game, state)
        self._leave_model(lambda aside: save_model(game.f, aside, self._masks))

    def _chosen(self) -> State:
        return super()._chosen() | {"label_free": self.label_free.best}


def _moment(state: State) -> Moment:
    return state.get("attempt", 0), state["step"]  # a student has one attempt
