"""The training loop of every learner: steps, checks for collapse, restarts, files, resuming."""

import dataclasses
import time
from typing import Any

import numpy as np
import torch
from rich.console import Console

from redoseg.config import TrainConfig
from redoseg.data.dataset import Dataset
from redoseg.data.sampler import evenly_spaced
from redoseg.errors import CollapseError, ConfigError, DataError
from redoseg.label_free.statistics import MaskStatistics, measure_masks
from redoseg.method.algorithm import divergence
from redoseg.models.run_folder import RunFolder
from redoseg.models.weights import load_flat
from redoseg.tensors import synchronize, to_tensor
from redoseg.training.checkpoints import RunWriter, State
from redoseg.training.distributed import SingleProcess
from redoseg.training.interrupts import Interrupts
from redoseg.training.labelled import check_same_labelled
from redoseg.training.learner import Learner
from redoseg.training.log import MeanMetrics, ProgressBar, resumed_text, say

SETTLED = 250  # steps from which --collapse-border counts: what f begins with is chance
OBSERVED = 256  # images on which masks are checked for collapse
_EVENTS = ("collapse", "eval", "sample", "save")


class Trainer:
    """Trains a learner. Its whole state is that of the networks and optimizers, and the numbers in `state`.
    Every process of a group takes every step. Only the main one measures masks, scores, and writes files."""

    def __init__(
        self,
        config: TrainConfig,
        dataset: Dataset,
        learner: Learner,
        console: Console,
        group: SingleProcess | None = None,
    ) -> None:
        """`config` holds the options that run.json states, and how often checks and files are due."""
        self.config, self.dataset, self.learner, self.console = config, dataset, learner, console
        self.group = group or SingleProcess()
        self.device = self.group.device(config.device)
        self.step = self.attempt = 0
        self.seconds = 0.0
        self.restarts: list[dict[str, Any]] = []
        self.metrics = MeanMetrics()
        self.measured: tuple[tuple[int, int], MaskStatistics] | None = None  # of (attempt, step)
        self.warned = False
        self.interrupts = Interrupts()
        self.writer: RunWriter | None = None
        if self.group.is_main_process:
            self.writer = RunWriter(config, dataset, self.device, learner.supervision)
            images = dataset.split("train")
            self.fixed_images = to_tensor(images.images(evenly_spaced(len(images), OBSERVED)), self.device)
        self._resume()
        minutes_left = None if config.minutes is None else config.minutes - self.seconds / 60
        self.bar = ProgressBar(console, config.steps, self.step, config.batch, minutes_left)

    @property
    def state(self) -> State:
        """The run's numbers, as checkpoints hold them."""
        return {
            "step": self.step,
            "attempt": self.attempt,
            "images": self.step * self.config.batch,
            "seconds": self.seconds,
            "restarts": self.restarts,
        } | self.learner.state

    # --- the loop

    def run(self) -> None:
        """Train to the last step or minute, then write the model, a picture and, with masks, the scores."""
        with self.bar, self.interrupts:
            while not self._finished():
                began = time.monotonic()
                self.metrics.add(self.learner.step(self.step))
                self.step += 1
                due = {name for name in _EVENTS if self.step % getattr(self.config, f"{name}_every") == 0}
                if due:
                    synchronize(self.device)
                self.seconds += time.monotonic() - began
                self._run_due_events(due)
                self._stop_if_asked()
        with self.interrupts, self.console.status("writing the model"):
            self._finish()
        if self.group.any(self.interrupts.asked):  # `interrupts` has only noted it
            raise KeyboardInterrupt

    def _finished(self) -> bool:
        if self.step >= self.config.steps or self.config.minutes is None:
            return self.step >= self.config.steps
        return self.group.any(self.group.is_main_process and self.seconds >= 60 * self.config.minutes)

    def _run_due_events(self, due: set[str]) -> None:
        """Do what is due: check for collapse, score, log, write a picture and a checkpoint to resume from."""
        line = None
        if due:
            statistics = self._measure_masks()
            trouble = self._trouble(statistics) if "collapse" in due else None
            if trouble and self.learner.can_restart:
                self._restart(trouble, statistics)
                return
            if trouble and not self.warned:
                say(self.console, f"warning: step {self.step}: {trouble}")
                self.warned = True
            if "save" in due:
                self._broadcast_state()
            self.metrics.average_over(self.group)
            line = self._write(due, statistics)
            self.group.barrier()
        self.bar.update(self.step, line, "" if self.writer is None else self.writer.best.text)

    def _write(self, due: set[str], statistics: MaskStatistics) -> dict[str, Any] | None:
        """Write the files that are due, and return the log's line, if any. Only the main process writes."""
        logged = due & {"collapse", "eval"}
        entry = self.learner.log_entry(self.metrics.means()) if logged else {}
        if logged:
            self.metrics.reset()
        if self.writer is None:
            return None
        line = None
        if "eval" in due:
            self.writer.save_checkpoint(self.learner, self.state, self.fixed_images)
        if logged:
            restarts = len(self.restarts) if self.learner.can_restart else None
            line = self.writer.log_metrics(self.state, entry, statistics, restarts=restarts)
        if "sample" in due:
            self.writer.save_sample(self.learner, self.state)
        if "save" in due:
            self._save(self.writer)
        return line

    def _stop_if_asked(self) -> None:
        """KeyboardInterrupt in every process, once the state is saved, if any of them was asked to stop."""
        if self.group.any(self.interrupts.asked):
            self._measure_masks()
            self._broadcast_state()
            self.metrics.average_over(self.group)
            if self.writer is not None:
                self._save(self.writer)
            self.group.barrier()
            raise KeyboardInterrupt

    def _finish(self) -> None:
        if trouble := self._trouble(self._measure_masks()):
            text = f"warning: {trouble}: the model has collapsed; go on with more --steps, or anew"
            say(self.console, text)
        if self.step < self.config.steps:
            text = f"the {self.config.minutes:g} --minutes are over; more go on"
            say(self.console, f"stopped at step {self.step}: {text}")
        self.metrics.average_over(self.group)
        if self.writer is not None:
            if not self.writer.has_saved(self.state):
                self._save(self.writer)
            self.writer.save_model(self.learner, self.state, self.fixed_images)

    def _save(self, writer: RunWriter) -> None:
        """Write checkpoints/last: all that a resumed run needs to end like an unbroken one."""
        writer.save_state(self.learner, self.state | {"since_logged": self.metrics.state})

    # --- collapse

    def _measure_masks(self) -> MaskStatistics:
        """Measure f's masks, once for a step, and set the order of regions, 0 the background, by them.
        To be done before anything is written: the order in a file must be that of the weights beside it.
        Raises DivergenceError if a loss wasn't finite, in any process."""
        now, learner = (self.attempt, self.step), self.learner
        if self.measured is None or self.measured[0] != now:
            learner.check_finite(self.step)
            self.group.barrier()  # if check_finite raised in one process, the others fail here: nobody writes
            measured = self.group.broadcast(lambda: measure_masks(learner.monitored, self.fixed_images))
            self.measured = now, dataclasses.replace(measured, named=learner.channels_named)
            if not np.isfinite(measured.sizes).all():
                raise divergence(f"f's masks are not finite at step {self.step}", learner.cure)
        order = torch.tensor(self.measured[1].order, device=self.device)
        for f in (learner.networks["f"], learner.f):
            f.get_buffer("order").copy_(order)
        return self.measured[1]

    def _trouble(self, statistics: MaskStatistics) -> str | None:
        """Why f counts as collapsed, in words; None if it doesn't."""
        config = self.config
        most_border = config.collapse_border if self.step >= SETTLED else 1.0
        return statistics.collapse(config.collapse_below, config.collapse_variation, most_border)

    def _restart(self, trouble: str, statistics: MaskStatistics) -> None:
        """Start again after a collapse. Of the collapsed attempt only its entry in `restarts` is kept."""
        event = {"attempt": self.attempt, "step": self.step, "reason": trouble}
        self.restarts.append(event)
        if self.writer is not None:
            sizes = list(statistics.sizes)
            self.writer.log.write(event="collapse", **event, seconds=self.seconds, region_sizes=sizes)
        if len(self.restarts) > self.config.max_restarts:
            raise CollapseError(
                f"training collapsed in every attempt, {len(self.restarts)} in all (last: {trouble} at step "
                f"{self.step}): try another --seed, a smaller --lr-f, or --f-jitter .5"
            )
        say(self.console, f"step {self.step}: {trouble}. Starting again (restart {len(self.restarts)})")
        self.attempt += 1
        self.step = 0
        self.learner.restart(self.attempt)
        self.learner.start()
        self.metrics.reset()
        self._broadcast_state()
        if self.writer is not None:
            self.writer.best.reset()
            self.writer.label_free.reset()
            self._save(self.writer)
            self.writer.remove_newer_than(self.step)
        self.group.barrier()
        self.bar.restart()

    # --- resuming

    def _resume(self) -> None:
        """Load the last checkpoint, if the main process has one."""
        loaded = self.group.broadcast(lambda: self.writer.load_state() if self.writer is not None else None)
        tensors, saved = loaded or ({}, None)  # all need Adam's names to be given its values below
        if saved is not None:
            self._check_compatible(saved)
            self.step, self.attempt = saved["step"], saved.get("attempt", 0)
            self.seconds, self.restarts = saved["seconds"], saved.get("restarts", [])
            self.metrics.load_state(saved.get("since_logged"))
            if self.attempt:  # the learner begins with attempt 0
                self.learner.restart(self.attempt)
            last = RunFolder(self.config.out).last
            load_flat(self.learner.networks, self.learner.optimizers, tensors, last)
        self.learner.begin(saved)
        if saved is not None:
            say(self.console, resumed_text(self.config.out, self.step, self.config.steps))
        self._broadcast_state()
        if self.writer is not None:
            self.writer.open(saved, self.learner.describe())

    def _check_compatible(self, saved: State) -> None:
        """Raise DataError if the data isn't the checkpoint's, ConfigError if --steps is below its step."""
        out = self.config.out
        if not self.dataset.is_the_one(saved["data"]):
            raise DataError(
                f"the data of {out} has changed since it was trained on: bring back the "
                "same files, or train anew with another --out"
            )
        check_same_labelled(saved.get("supervision"), self.learner.supervision, out)
        if saved["step"] > self.config.steps:
            raise ConfigError(f"{out} is at step {saved['step']} already: --steps can only grow")

    def _broadcast_state(self) -> None:
        """Give all processes the main one's state: else rounding on other devices would drive them apart."""
        self.group.broadcast_(self.learner.tensors().values())
