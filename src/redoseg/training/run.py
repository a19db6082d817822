"""One run: Algorithm 1 step by step, with everything that makes it safe to leave alone."""

import dataclasses
import time
from typing import Any

import numpy as np
import torch
from rich.console import Console

from redoseg.config import TrainConfig
from redoseg.data.dataset import Dataset
from redoseg.data.sampler import IndexStream, seed_of, spread
from redoseg.errors import CollapseError, ConfigError, DataError
from redoseg.label_free.statistics import MaskStatistics, measure_masks
from redoseg.method.algorithm import Game, Losses, divergence
from redoseg.method.drawing import Codes
from redoseg.method.losses import Lesson
from redoseg.models.run_folder import RunFolder
from redoseg.tensors import synchronize, to_tensor
from redoseg.training.batches import Batches, source
from redoseg.training.checkpoints import Records, State
from redoseg.training.distributed import Group
from redoseg.training.interrupts import Interrupts
from redoseg.training.labelled import check_same, open_labelled
from redoseg.training.log import ProgressBar, resumed

SURVEYED = 256  # images on which collapse is judged
_MILESTONES = ("collapse", "eval", "sample", "save")


class Run:
    """All its state is the networks', the optimisers' and a few numbers (`state`).

    What is random at step t depends on (seed, attempt, t) only, so the state needs no random generators.
    Every process of a group takes every step, on its part of the batch. The first one alone surveys, scores,
    and has the run's files.
    """

    def __init__(
        self, config: TrainConfig, dataset: Dataset, console: Console, group: Group | None = None
    ) -> None:
        if config.threads:
            torch.set_num_threads(config.threads)
        self.config, self.dataset, self.console, self.group = config, dataset, console, group or Group()
        self.device = self.group.device(config.device)
        self.images, self.labelled = dataset.split("train"), open_labelled(config, dataset)
        self.supervision = None if self.labelled is None else self.labelled.supervision
        self.source = source(self.images, self.device)
        self.step = self.attempt = 0
        self.seconds = 0.0
        self.restarts: list[dict[str, Any]] = []
        self.surveyed: tuple[tuple[int, int], MaskStatistics] | None = None  # with its attempt and step
        self.interrupted = Interrupts()
        self.records: Records | None = None
        if self.group.first:
            self.records = Records(config, dataset, self.device, self.supervision)
            chosen = spread(len(self.images), SURVEYED)
            self.fixed_images = to_tensor(self.images.images(chosen), self.device)
        self._begin_attempt()
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
        }

    # --- the loop

    def go(self) -> None:
        """Train to the last step or minute, then leave the model, a picture and, with masks, the scores."""
        with self.bar, self.interrupted:
            while not self._finished():
                began = time.monotonic()
                losses = self._one_step()
                self.step += 1
                due = self._due()
                if due:
                    synchronize(self.device)
                self.seconds += time.monotonic() - began
                self._milestones(due, losses)
                self._stop_if_asked()
        self._finish()

    def _finished(self) -> bool:
        if self.step >= self.config.steps or self.config.minutes is None:
            return self.step >= self.config.steps
        return self.group.any(self.group.first and self.seconds >= 60 * self.config.minutes)

    def _one_step(self) -> Losses:
        """Algorithm 1: the generators' update, then the discriminator's, on fresh images."""
        config, game, t = self.config, self.game, self.step
        random = torch.Generator().manual_seed(seed_of(config.seed, self.attempt, t))
        batches = (1 + (config.fakes == "new")) * config.d_updates + 1  # that a step consumes
        fresh = iter(range(t * batches, (t + 1) * batches))

        I, drawn = self.batches.at(next(fresh), random), self._codes(random)
        losses = game.generator_update(I, drawn, t, self._lesson())
        for _ in range(config.d_updates):
            I_real = self.batches.at(next(fresh), random)
            if config.fakes == "new":
                I, drawn = self.batches.at(next(fresh), random), self._codes(random)
            losses |= game.discriminator_update(I_real, I, drawn, t)
        return losses

    def _lesson(self) -> Lesson | None:
        """With --labelled: the same in every process."""
        if self.labelled is None:
            return None
        return self.labelled.lesson(self.config, self.attempt, self.step, self.device)

    def _codes(self, random: torch.Generator) -> Codes:
        """Those of this process's images: a part of what is drawn for the whole batch."""
        return Codes.sample(self.config, random, self.step).part(self.group.rank, self.group.world)

    def _due(self) -> set[str]:
        """The milestones that `self.step` updates have reached."""
        return {name for name in _MILESTONES if self.step % getattr(self.config, f"{name}_every") == 0}

    def _milestones(self, due: set[str], losses: Losses) -> None:
        """Check for collapse, scores, log, pictures, a save."""
        line = None
        if due:
            statistics = self._survey()
            trouble = statistics.collapse(self.config.collapse_below, self.config.collapse_variation)
            if trouble and "collapse" in due:
                self._restart(trouble, statistics)
                return
            if "save" in due:
                self._share()
            means = self._means(losses)
            if self.records is not None:
                line = self._record(self.records, due, means, statistics)
            self.group.wait()
        self.bar.update(self.step, line, "" if self.records is None else self.records.scores.text)

    def _record(
        self, records: Records, due: set[str], losses: dict[str, float], statistics: MaskStatistics
    ) -> dict[str, Any] | None:
        """The first process's part of the milestones. Returns the log's line, if one was due."""
        line = None
        if "eval" in due:
            records.keep(self.game, self.state, self.fixed_images)
        if due & {"collapse", "eval"}:
            line = records.note(self.state, losses, statistics)
        if "sample" in due:
            records.sample(self.game, self.state)
        if "save" in due:
            records.save(self.game, self.state)
        return line

    def _stop_if_asked(self) -> None:
        """KeyboardInterrupt in every process, once the state is saved, if any of them was asked to stop."""
        if self.group.any(self.interrupted.asked):
            self._survey()
            if self.records is not None:
                self.records.save(self.game, self.state)
            self.group.wait()
            raise KeyboardInterrupt

    def _finish(self) -> None:
        statistics, config = self._survey(), self.config
        trouble = statistics.collapse(config.collapse_below, config.collapse_variation)
        if trouble:
            self._say(f"warning: {trouble}: the model has collapsed; go on with more --steps, or anew")
        if self.step < config.steps:
            self._say(f"stopped at step {self.step}: the {config.minutes:g} --minutes are over; more go on")
        if self.records is not None:
            self.records.finish(self.game, self.state)

    # --- attempts

    def _begin_attempt(self) -> None:
        """Everything that is learned, from scratch; its seed depends on the run's and on the attempt."""
        config, group = self.config, self.group
        seed = seed_of(config.seed, self.attempt)
        self.game = Game(config, seed, self.device, group)
        stream = IndexStream(len(self.images), config.batch, seed)
        self.batches = Batches(self.source, stream, flip=config.flip, rank=group.rank, world=group.world)

    def _restart(self, trouble: str, statistics: MaskStatistics) -> None:
        """After a collapse: nothing of the dead attempt is kept but the record of it."""
        event = {"attempt": self.attempt, "step": self.step, "reason": trouble}
        self.restarts.append(event)
        if self.records is not None:
            sizes = list(statistics.sizes)
            self.records.log.write(event="collapse", **event, seconds=self.seconds, region_sizes=sizes)
        if len(self.restarts) > self.config.max_restarts:
            raise CollapseError(
                f"training collapsed in every attempt, {len(self.restarts)} in all (last: {trouble} at step "
                f"{self.step}): try another --seed, a smaller --lr-f, or --f-jitter .5"
            )
        self.bar.note(f"step {self.step}: {trouble}. Starting again (restart {len(self.restarts)})")
        self.attempt += 1
        self.step = 0
        self._begin_attempt()
        self._share()
        if self.records is not None:
            self.records.restart(self.game, self.state)
        self.group.wait()
        self.bar.restart()

    # --- the state

    def _resume(self) -> None:
        """Take up the last checkpoint, if the first process has one."""
        found = self.group.broadcast(lambda: self.records.last() if self.records is not None else None)
        if found is not None:
            tensors, info = found
            self._check_resumed(info)
            self.step, self.attempt = info["step"], info["attempt"]
            self.seconds, self.restarts = info["seconds"], info["restarts"]
            if self.attempt:  # attempt 0 has just begun
                self._begin_attempt()
            self.game.load_state_dict(tensors, RunFolder(self.config.out).last)
            self._say(resumed(self.config.out, self.step, self.config.steps))
        self._share()
        if self.records is not None:
            self.records.begin(found[1] if found is not None else None)

    def _check_resumed(self, info: State) -> None:
        out = self.config.out
        if info["data"] != self.dataset.fingerprint:
            raise DataError(
                f"the data of {out} has changed since it was trained on: bring back the "
                "same files, or train anew with another --out"
            )
        check_same(info.get("supervision"), self.supervision, out)
        if info["step"] > self.config.steps:
            raise ConfigError(f"{out} is at step {info['step']} already: --steps can only grow")

    def _share(self) -> None:
        """The first process's state for all, lest rounding on different devices drives them apart."""
        self.group.share_(self.game.state_dict().values())

    def _means(self, losses: Losses) -> dict[str, float]:
        """Over the images of all processes."""
        values = torch.stack([*losses.values()])
        self.group.mean_([values])
        return dict(zip(losses, values.tolist(), strict=True))

    def _survey(self) -> MaskStatistics:
        """What f does now, found once for a step. Sets the regions' order, 0 the background, to the survey's.
        Done before anything is written: the order in a file is that of the weights beside it.
        DivergenceError if a loss wasn't finite, in any process.
        """
        now, net = (self.attempt, self.step), self.game.networks
        if self.surveyed is None or self.surveyed[0] != now:
            self.game.check_finite(self.step)
            self.group.wait()  # for a process that fails here the others wait in vain, and write nothing
            found = self.group.broadcast(lambda: measure_masks(net.f, self.fixed_images))
            self.surveyed = now, dataclasses.replace(found, named=self.labelled is not None)
            if not np.isfinite(self.surveyed[1].sizes).all():
                raise divergence(f"f's masks are not finite at step {self.step}")
        order = torch.tensor(self.surveyed[1].order, device=self.device)
        for f in (net.f, net.f_ema):
            if f is not None:
                f.order.copy_(order)
        return self.surveyed[1]

    def _say(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)
