"""The one loop of every training: steps, checks, restarts, files, resuming."""

import dataclasses
import time
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from redoseg.config import TrainConfig
from redoseg.data.dataset import Dataset
from redoseg.data.sampler import evenly_spaced
from redoseg.errors import CollapseError, ConfigError, DataError
from redoseg.label_free.statistics import MaskStatistics, measure_masks
from redoseg.models.run_folder import RunFolder
from redoseg.models.weights import flat_moments, flat_weights, load_flat
from redoseg.tensors import synchronize, to_tensor
from redoseg.training.checkpoints import RunWriter, State
from redoseg.training.distributed import SingleProcess
from redoseg.training.interrupts import Interrupts
from redoseg.training.labelled import check_same
from redoseg.training.learner import Learner
from redoseg.training.log import MeanMetrics, ProgressBar, resumed_text, say

OBSERVED = 256  # images on which collapse is judged
_EVENTS = ("collapse", "eval", "sample", "save")


class Trainer:
    """All its state is the networks', the optimizers' and a few numbers (`state`).

    Every process of a group takes every step. The main one alone measures masks, scores, and has the files.
    """

    def __init__(
        self,
        config: TrainConfig,
        dataset: Dataset,
        learner: Learner,
        console: Console,
        group: SingleProcess | None = None,
    ) -> None:
        """`config` describes the run to its readers, and says when something is due."""
        self.config, self.dataset, self.learner, self.console = config, dataset, learner, console
        self.group = group or SingleProcess()
        self.device = self.group.device(config.device)
        self.step = self.attempt = 0
        self.seconds = 0.0
        self.restarts: list[dict[str, Any]] = []
        self.metrics = MeanMetrics()
        self.measured: tuple[tuple[int, int], MaskStatistics] | None = None  # with its attempt and step
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
        """The run's numbers, as checkpoints keep them."""
        return {
            "step": self.step,
            "attempt": self.attempt,
            "images": self.step * self.config.batch,
            "seconds": self.seconds,
            "restarts": self.restarts,
        } | self.learner.state

    # --- the loop

    def run(self) -> None:
        """Train to the last step or minute, then leave the model, a picture and, with masks, the scores."""
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
        self._finish()

    def _finished(self) -> bool:
        if self.step >= self.config.steps or self.config.minutes is None:
            return self.step >= self.config.steps
        return self.group.any(self.group.is_main_process and self.seconds >= 60 * self.config.minutes)

    def _run_due_events(self, due: set[str]) -> None:
        """A check for collapse, scores, a line of the log, a picture, a checkpoint to resume from."""
        line = None
        if due:
            statistics = self._measure_masks()
            trouble = self._trouble(statistics) if "collapse" in due else None
            if trouble and self.learner.can_restart:
                self._restart(trouble, statistics)
                return
            if trouble:
                self._warn(trouble)
            if "save" in due:
                self._broadcast_state()
            self.metrics.average_over(self.group)
            line = self._write(due, statistics)
            self.group.barrier()
        self.bar.update(self.step, line, "" if self.writer is None else self.writer.best.text)

    def _write(self, due: set[str], statistics: MaskStatistics) -> dict[str, Any] | None:
        """The files that are due. Returns the log's line, if one was. The other processes write nothing."""
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
            line = self.writer.log_metrics(self.state, entry, statistics, restarts=self._restarts_to_log())
        if "sample" in due:
            self.writer.save_sample(self.learner, self.state)
        if "save" in due:
            self._save(self.writer)
        return line

    def _restarts_to_log(self) -> int | None:
        return len(self.restarts) if self.learner.can_restart else None

    def _stop_if_asked(self) -> None:
        """KeyboardInterrupt in every process, once the state is saved, if any of them was asked to stop."""
        if self.group.any(self.interrupts.asked):
            self._measure_masks()
            self.metrics.average_over(self.group)
            if self.writer is not None:
                self._save(self.writer)
            self.group.barrier()
            raise KeyboardInterrupt

    def _finish(self) -> None:
        trouble = self._trouble(self._measure_masks())
        if trouble:
            say(
                self.console, f"warning: {trouble}: the model has collapsed; go on with more --steps, or anew"
            )
        if self.step < self.config.steps:
            minutes = f"{self.config.minutes:g}"
            say(self.console, f"stopped at step {self.step}: the {minutes} --minutes are over; more go on")
        self.metrics.average_over(self.group)
        if self.writer is not None:
            if not self.writer.has_saved(self.state):
                self._save(self.writer)
            self.writer.save_model(self.learner, self.state)

    def _save(self, writer: RunWriter) -> None:
        """checkpoints/last: all that a resumed run needs to end like an unbroken one."""
        writer.save_state(self.learner, self.state | {"since_logged": self.metrics.state})

    # --- collapse

    def _measure_masks(self) -> MaskStatistics:
        """What f does now, found once for a step. Sets the regions' order, 0 the background, accordingly.
        Done before anything is written: the order in a file is that of the weights beside it.
        DivergenceError if a loss wasn't finite, in any process.
        """
        now, learner = (self.attempt, self.step), self.learner
        if self.measured is None or self.measured[0] != now:
            learner.check_finite(self.step)
            self.group.barrier()  # for a process that fails here the others wait in vain, and write nothing
            found = self.group.broadcast(lambda: measure_masks(learner.monitored, self.fixed_images))
            self.measured = now, dataclasses.replace(found, named=learner.channels_named)
            if not np.isfinite(found.sizes).all():
                raise learner.divergence(f"f's masks are not finite at step {self.step}")
        order = torch.tensor(self.measured[1].order, device=self.device)
        for f in (learner.networks["f"], learner.f):
            f.get_buffer("order").copy_(order)
        return self.measured[1]

    def _trouble(self, statistics: MaskStatistics) -> str | None:
        """What says that f has collapsed, in words."""
        return statistics.collapse(self.config.collapse_below, self.config.collapse_variation)

    def _warn(self, trouble: str) -> None:
        if not self.warned:
            self.bar.note(f"warning: step {self.step}: {trouble}")
        self.warned = True

    def _restart(self, trouble: str, statistics: MaskStatistics) -> None:
        """After a collapse: nothing of the dead attempt is kept but the record of it."""
        event = {"attempt": self.attempt, "step": self.step, "reason": trouble}
        self.restarts.append(event)
        if self.writer is not None:
            self.writer.log_collapse(event, seconds=self.seconds, region_sizes=list(statistics.sizes))
        if len(self.restarts) > self.config.max_restarts:
            raise CollapseError(
                f"training collapsed in every attempt, {len(self.restarts)} in all (last: {trouble} at step "
                f"{self.step}): try another --seed, a smaller --lr-f, or --f-jitter .5"
            )
        self.bar.note(f"step {self.step}: {trouble}. Starting again (restart {len(self.restarts)})")
        self.attempt += 1
        self.step = 0
        self.learner.restart(self.attempt)
        self.metrics.reset()
        self._broadcast_state()
        if self.writer is not None:
            self.writer.forget_attempt()
            self._save(self.writer)
            self.writer.remove_newer_than(self.step)
        self.group.barrier()
        self.bar.restart()

    # --- resuming

    def _resume(self) -> None:
        """Take up the last checkpoint, if the main process has one."""
        found = self.group.broadcast(lambda: self.writer.last() if self.writer is not None else None)
        saved = None if found is None else found[1]
        self.learner.begin(saved)
        if found is not None:
            tensors, saved = found
            self._check_compatible(saved)
            self.step, self.attempt = saved["step"], saved.get("attempt", 0)
            self.seconds, self.restarts = saved["seconds"], saved.get("restarts", [])
            self.metrics.load_state(saved.get("since_logged"))
            if self.attempt:  # attempt 0 has just begun
                self.learner.restart(self.attempt)
            file = RunFolder(self.config.out).last
            load_flat(self.learner.networks, self.learner.optimizers, tensors, file)
            say(self.console, resumed_text(self.config.out, self.step, self.config.steps))
        self._broadcast_state()
        if self.writer is not None:
            self.writer.open(saved, self.learner.describe())

    def _check_compatible(self, saved: State) -> None:
        """DataError for other data than the checkpoint's, ConfigError for fewer steps."""
        out = self.config.out
        if saved["data"] != self.dataset.fingerprint:
            raise DataError(
                f"the data of {out} has changed since it was trained on: bring back the "
                "same files, or train anew with another --out"
            )
        check_same(saved.get("supervision"), self.learner.supervision, out)
        if saved["step"] > self.config.steps:
            raise ConfigError(f"{out} is at step {saved['step']} already: --steps can only grow")

    def _broadcast_state(self) -> None:
        """The main process's state for all, lest rounding on different devices drives them apart."""
        self.group.broadcast_(state_tensors(self.learner).values())


def state_tensors(learner: Learner) -> dict[str, Tensor]:
    """All that a run needs to go on with a learner: `f.*`, ..., and moments as `adam.f.0.exp_avg`."""
    return flat_weights(learner.networks) | flat_moments(learner.optimizers)
