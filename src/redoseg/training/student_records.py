"""What a student's run leaves in its folder and takes up again: as `records.py` for a game."""

from typing import Any

import torch

from redoseg.config import TrainConfig
from redoseg.data.dataset import Dataset
from redoseg.evaluation.evaluate import scoring_split
from redoseg.exporting.onnx import save_model
from redoseg.models.weights import save_tensors
from redoseg.training.checkpoints import RunRecords
from redoseg.training.mask_learner import Student

State = dict[str, Any]
"""A student's numbers: step, images, seconds."""


class StudentRecords(RunRecords):
    """The files of one student's run."""

    def __init__(
        self,
        config: TrainConfig,
        dataset: Dataset,
        device: torch.device,
        teacher: str,
        supervision: dict[str, Any] | None = None,
    ) -> None:
        """`config` describes the run; `teacher` is the digest of the weights that teach, `supervision` what
        masks they learned from."""
        super().__init__(config, dataset, device, scoring_split(dataset), supervision)
        self.teacher = teacher

    def keep(self, student: Student, state: State) -> None:
        """Scores, a picture, a checkpoint for later choice, and the best one."""
        networks = student.state_dict(optimiser=False)
        if self.scores.update(student.f, state["step"]):
            save_tensors(self.folder.best, networks, self._info(state))
        save_tensors(self.folder.step(state["step"]), networks, self._info(state))
        self._draw(student, state)

    def note(self, state: State, **found: Any) -> dict[str, Any]:
        """The log's line for this step, which it returns."""
        scored = state["step"] % self.config.eval_every == 0
        line = state | {"seconds": round(state["seconds"], 3)} | found
        line |= {"val": self.scores.last if scored else None}
        self.log.write(**line)
        return line

    def finish(self, student: Student, state: State) -> None:
        """The model and its scores; the checkpoint and the picture where this step has none yet."""
        self._save_once(student, state)
        if state["step"] % self.config.eval_every:
            self._draw(student, state)
        self._leave_model(lambda aside: save_model(student.f, aside, self._masks))

    def _draw(self, student: Student, state: State) -> None:
        self.picture.write(self.folder.sample(state["step"]), student.f, None)

    def _info(self, state: State) -> State:
        return super()._info(state) | {"teacher": self.teacher}
