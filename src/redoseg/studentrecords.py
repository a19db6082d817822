"""What a student's run leaves in its folder and takes up again: as `records.py` for a game."""

from typing import Any

import torch
from torch import Tensor

from redoseg.checkpoint import load_model
from redoseg.config import TrainConfig
from redoseg.data.dataset import Dataset
from redoseg.evaluation import score, scoring_split
from redoseg.exporting import save_model
from redoseg.files import write_folder_aside, write_json
from redoseg.runfolder import RunFolder
from redoseg.runlog import MetricsLog, description
from redoseg.sampling import SamplePicture
from redoseg.scorekeeping import Scorekeeper
from redoseg.student import Student
from redoseg.tensorfiles import load_tensors, save_tensors

State = dict[str, Any]
"""A student's numbers: step, images, seconds."""


class StudentRecords:
    """The files of one student's run."""

    def __init__(self, config: TrainConfig, dataset: Dataset, device: torch.device, teacher: str) -> None:
        """`config` describes the run; `teacher` is the digest of the weights that teach."""
        self.config, self.dataset, self.device, self.teacher = config, dataset, device, teacher
        self.folder = RunFolder(config.out)
        scored = scoring_split(dataset)
        self.scores = Scorekeeper(scored, config.best_by)
        self.picture = SamplePicture(config, None if scored is None else scored[1], dataset.split("train"))
        self._saved: int | None = None  # step of checkpoints/last

    def last(self) -> tuple[dict[str, Tensor], State] | None:
        """checkpoints/last, if there is one: tensors, and all that `save` wrote beside them."""
        return load_tensors(self.folder.last) if self.folder.last.is_file() else None

    def begin(self, saved: State | None, **more: Any) -> None:
        """Go on where a checkpoint stood, or begin: what came after it is dropped. `more` is for run.json."""
        if saved is not None:
            self.scores.best, self.scores.last = saved["best"], saved["last_score"]
        described = description(self.config, self.dataset.describe(), self.device)
        write_json(self.folder.description, described | more)
        no_best = () if self.scores.best is not None else (self.folder.best,)
        self.folder.drop_later(saved["step"] if saved else 0, *no_best)
        self.log = MetricsLog(self.folder.metrics, int(saved["log_offset"]) if saved else 0)

    def save(self, student: Student, state: State) -> None:
        """checkpoints/last: the whole state."""
        info = self._info(state) | {"log_offset": self.log.offset}
        save_tensors(self.folder.last, student.state_dict(), info)
        self._saved = state["step"]

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
        if self._saved != state["step"]:
            self.save(student, state)
        if state["step"] % self.config.eval_every:
            self._draw(student, state)
        write_folder_aside(self.folder.model, lambda aside: save_model(student.f, aside))
        if self.scores.split is not None:
            model = load_model(self.folder.path, device=self.device)  # as saved
            write_json(self.folder.evaluation, score(model, self.scores.split).as_dict())

    def _draw(self, student: Student, state: State) -> None:
        self.picture.write(self.folder.sample(state["step"]), student.f, None)

    def _info(self, state: State) -> State:
        scores = {"best": self.scores.best, "last_score": self.scores.last}
        return state | scores | {"data": self.dataset.fingerprint, "teacher": self.teacher}
