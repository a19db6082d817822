"""A training run: Algorithm 1 step by step, with everything that makes it safe to leave alone."""

import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from redoseg.algorithm import Codes, Game, Losses
from redoseg.checkpoint import load_model
from redoseg.collapse import Survey, survey
from redoseg.config import TrainConfig
from redoseg.data.dataset import Dataset, open_dataset
from redoseg.data.stream import IndexStream
from redoseg.errors import CollapseError, ConfigError, DataError
from redoseg.evaluation import Evaluation, count, score, scoring_split
from redoseg.figures import sample_grid
from redoseg.files import leftovers, load_tensors, save_tensors, write_aside, write_folder_aside, write_json
from redoseg.interrupts import Interrupts
from redoseg.metrics import per_dataset, per_image
from redoseg.redrawing import redraw_grid, sample_codes
from redoseg.runfolder import RunFolder
from redoseg.runlog import MetricsLog, ProgressBar, description
from redoseg.tensors import pick_device, to_tensor

SURVEYED = 256  # images on which collapse is judged
SCORED = 2_000  # labelled images, at most, that a checkpoint is scored on while training goes on
SAMPLE_ROWS, SAMPLE_CODES = 8, 4


def train(config: TrainConfig, *, console: Console | None = None) -> Path:
    """Train, or go on with the run in `config.out` if it holds one. Returns the run's folder.

    Raises ConfigError (options that can't be, or differ from the run's), DataError, CollapseError after too
    many restarts, DivergenceError, KeyboardInterrupt once a checkpoint is written.
    """
    console = console or Console(stderr=True)
    config = config.resolved()
    folder = RunFolder(config.out)
    folder.reconcile(config)
    dataset = open_data(config, console)
    with folder.locked():
        Run(config, dataset, console).go()
    return config.out


def check(config: TrainConfig, console: Console) -> tuple[TrainConfig, dict[str, object]]:
    """What `train` would do, without doing it: the resolved options, and what was found in the data."""
    config = config.resolved()
    RunFolder(config.out).reconcile(config)
    pick_device(config.device)
    dataset = open_data(config, console)
    IndexStream(len(dataset.split("train")), config.batch, config.seed)
    return config, dataset.describe()


def open_data(config: TrainConfig, console: Console) -> Dataset:
    """The data set that a run names, with progress while photos are brought to size."""
    with console.status("opening the data") as status:
        return open_dataset(
            config.data,
            size=config.size,
            n=config.n,
            cache=config.cache,
            mnist=config.mnist,
            resize=config.resize,
            progress=lambda done, files: status.update(f"bringing photos to size: {done} of {files}"),
        )


class Run:
    """One run in its folder. All its state is the networks', the optimisers' and a few numbers (`state`).

    What is random at step t depends on (seed, attempt, t) only, so the state needs no random generators.
    """

    def __init__(self, config: TrainConfig, dataset: Dataset, console: Console) -> None:
        if config.threads:
            torch.set_num_threads(config.threads)
        self.config, self.dataset, self.console = config, dataset, console
        self.device = pick_device(config.device)
        self.folder = RunFolder(config.out)
        self.images = dataset.split("train")
        self.scored = scoring_split(dataset)
        self.step = self.attempt = 0
        self.seconds = 0.0
        self.restarts: list[dict[str, Any]] = []
        self.best: dict[str, Any] | None = None
        self.last_score: dict[str, Any] | None = None
        self.interrupted = Interrupts()
        self._begin_attempt()
        log_offset = self._resume()
        write_json(self.folder.description, description(config, dataset.describe(), self.device))
        self._drop_later()
        self.fixed_images = to_tensor(self.images.images(_spread(len(self.images), SURVEYED)), self.device)
        self.log = MetricsLog(self.folder.metrics, log_offset)

    # --- the loop

    def go(self) -> None:
        """Train to the last step or minute, then leave the model, a picture and, with masks, the scores."""
        minutes_left = None if self.config.minutes is None else self.config.minutes - self.seconds / 60
        bar = ProgressBar(self.console, self.config.steps, self.step, self.config.batch, minutes_left)
        with bar, self.interrupted:
            while not self._finished():
                began = time.monotonic()
                losses = self._one_step()
                self.step += 1
                self.seconds += time.monotonic() - began
                self._milestones(losses, bar)
                if self.interrupted.asked:
                    self._survey()
                    self.save()
                    raise KeyboardInterrupt
        self._finish()

    def _finished(self) -> bool:
        out_of_time = self.config.minutes is not None and self.seconds >= 60 * self.config.minutes
        return self.step >= self.config.steps or out_of_time

    def _one_step(self) -> Losses:
        """Algorithm 1: the generators' update, then the discriminator's, on fresh images."""
        config, game, t = self.config, self.game, self.step
        random = torch.Generator().manual_seed(_seed(config.seed, self.attempt, t))
        batches = (1 + (config.fakes == "new")) * config.d_updates + 1  # that a step consumes
        fresh = iter(range(t * batches, (t + 1) * batches))

        I, drawn = self._batch(next(fresh), random), Codes.sample(config, random, t)
        losses = game.generator_update(I, drawn, t)
        for _ in range(config.d_updates):
            I_real = self._batch(next(fresh), random)
            if config.fakes == "new":
                I, drawn = self._batch(next(fresh), random), Codes.sample(config, random, t)
            losses |= game.discriminator_update(I_real, I, drawn, t)
        return losses

    def _batch(self, k: int, random: torch.Generator) -> Tensor:
        """Batch k of the endless stream: (B, 3, S, S) in [-1, 1], mirrored at random with --flip."""
        images = to_tensor(self.images.images(self.stream.batch_at(k)), self.device)
        if self.config.flip:
            mirrored = torch.rand(len(images), 1, 1, 1, generator=random).to(self.device) < 0.5
            images = torch.where(mirrored, images.flip(3), images)
        return images

    def _milestones(self, losses: Losses, bar: ProgressBar) -> None:
        """What is due after `self.step` updates: check for collapse, scores, log, pictures, a save."""
        config, line = self.config, None
        due = {name: self.step % getattr(config, name) == 0 for name in _EVERY}
        if any(due.values()):
            surveyed = self._survey()
        if due["collapse_every"]:
            trouble = surveyed.collapse(config.collapse_below, config.collapse_variation)
            if trouble:
                self._restart(trouble, surveyed, bar)
                return
        if due["eval_every"]:
            self._keep()
        if due["collapse_every"] or due["eval_every"]:
            line = self._log(losses, surveyed)
        if due["sample_every"]:
            self._sample()
        if due["save_every"]:
            self.save()
        bar.update(self.step, line, self._score_text())

    def _finish(self) -> None:
        surveyed, config = self._survey(), self.config
        trouble = surveyed.collapse(config.collapse_below, config.collapse_variation)
        if trouble:
            self._say(f"warning: {trouble}: the model has collapsed; go on with more --steps, or anew")
        if self.step < config.steps:
            self._say(f"stopped at step {self.step}: the {config.minutes:g} --minutes are over; more go on")
        self.save()
        self._sample()
        write_folder_aside(self.folder.model, self.game.f.save_pretrained)
        evaluation = self.evaluate()
        if evaluation is not None:
            write_json(self.folder.evaluation, evaluation.as_dict())

    def evaluate(self) -> Evaluation | None:
        """Scores of the last checkpoint, as saved; None without masks."""
        if self.scored is None:
            return None
        return score(load_model(self.folder.path, device=self.device), self.scored[1])

    # --- attempts

    def _begin_attempt(self) -> None:
        """Everything that is learned, from scratch; its seed depends on the run's and on the attempt."""
        seed = _seed(self.config.seed, self.attempt)
        self.game = Game(self.config, seed, self.device)
        self.stream = IndexStream(len(self.images), self.config.batch, seed)

    def _restart(self, trouble: str, surveyed: Survey, bar: ProgressBar) -> None:
        """After a collapse: nothing of the dead attempt is kept but the record of it."""
        event = {"attempt": self.attempt, "step": self.step, "reason": trouble}
        self.restarts.append(event)
        self.log.write(event="collapse", **event, seconds=self.seconds, region_sizes=list(surveyed.sizes))
        if len(self.restarts) > self.config.max_restarts:
            raise CollapseError(
                f"training collapsed in every attempt, {len(self.restarts)} in all (last: {trouble} at step "
                f"{self.step}): try another --seed, a smaller --lr-f, or a --min-region of .05"
            )
        bar.note(f"step {self.step}: {trouble}. Starting again (restart {len(self.restarts)})")
        self.attempt += 1
        self.step, self.best, self.last_score = 0, None, None
        self._begin_attempt()
        self.save()
        self._drop_later()
        bar.restart()

    def _drop_later(self) -> None:
        """Remove what the state knows nothing of: files of a dead attempt, and of steps that come again."""
        for file in self.folder.later_than(self.step):
            file.unlink(missing_ok=True)
        if self.best is None:
            self.folder.best.unlink(missing_ok=True)
        if not self.step:
            self.folder.evaluation.unlink(missing_ok=True)
            shutil.rmtree(self.folder.model, ignore_errors=True)
        for folder in (self.folder.path, self.folder.checkpoints, self.folder.samples):
            for left in leftovers(folder):
                shutil.rmtree(left) if left.is_dir() else left.unlink(missing_ok=True)

    # --- checkpoints

    def save(self) -> None:
        """checkpoints/last: the whole state."""
        save_tensors(self.folder.last, self.game.state_dict(), self._info() | {"log_offset": self.log.offset})

    def _info(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "attempt": self.attempt,
            "images": self.step * self.config.batch,
            "seconds": self.seconds,
            "restarts": self.restarts,
            "best": self.best,
            "last_score": self.last_score,
            "data": self.dataset.fingerprint,
        }

    def _resume(self) -> int:
        """Take up the last checkpoint, if there is one. Returns where the log goes on."""
        if not self.folder.last.is_file():
            return 0
        tensors, info = load_tensors(self.folder.last)
        if info["data"] != self.dataset.fingerprint:
            raise DataError(
                f"the data of {self.folder.path} has changed since it was trained on: bring back the "
                "same files, or train anew with another --out"
            )
        if info["step"] > self.config.steps:
            raise ConfigError(f"{self.folder.path} is at step {info['step']} already: --steps can only grow")
        self.step, self.attempt, self.seconds = info["step"], info["attempt"], info["seconds"]
        self.restarts, self.best, self.last_score = info["restarts"], info["best"], info["last_score"]
        if self.attempt:  # attempt 0 has just begun
            self._begin_attempt()
        self.game.load_state_dict(tensors, self.folder.last)
        self._say(f"going on with {self.folder.path} at step {self.step}")
        return int(info["log_offset"])

    def _keep(self) -> None:
        """A checkpoint of f for later choice, its score on the masks if there are any, and the best one."""
        f_only = self.game.state_dict(("f", "f_ema"), optimisers=False)
        if self.scored is not None:
            counts = count(self.game.f, self.scored[1], SCORED)
            rows = {"per_dataset": per_dataset(counts), "per_image": per_image(counts)}
            scores = {name: {"accuracy": row.accuracy, "iou": row.iou} for name, row in rows.items()}
            self.last_score = {"split": self.scored[0], **scores}
            iou = scores[self.config.best_by]["iou"]
            if self.best is None or iou > self.best["iou"]:
                self.best = {"step": self.step, "iou": iou, "by": self.config.best_by}
                drawing = self.game.state_dict(("f", "f_ema", "G"), optimisers=False)
                save_tensors(self.folder.best, drawing, self._info())
        save_tensors(self.folder.step(self.step), f_only, self._info())

    def _log(self, losses: Losses, surveyed: Survey) -> dict[str, Any]:
        line = {
            "step": self.step,
            "images": self.step * self.config.batch,
            "seconds": round(self.seconds, 3),
            "losses": {name: value.item() for name, value in losses.items()},
            "region_sizes": [surveyed.sizes[channel] for channel in surveyed.order],
            "variation": surveyed.variation,
            "restarts": len(self.restarts),
            "val": self.last_score if self.step % self.config.eval_every == 0 else None,
        }
        self.log.write(**line)
        return line

    def _survey(self) -> Survey:
        """What f does now. Sets the regions' order, 0 the background: the channel that covers most of the
        images' border. Done before anything is written: the order in a file is that of the weights beside it.
        """
        surveyed = survey(self.game.networks.f, self.fixed_images)
        order = torch.tensor(surveyed.order, device=self.device)
        for f in (self.game.networks.f, self.game.networks.f_ema):
            if f is not None:
                f.order.copy_(order)
        return surveyed

    def _sample(self) -> None:
        """samples/: the paper's Figure 2 on labelled images where there are some."""
        labelled = self.scored is not None
        split = self.scored[1] if self.scored is not None else self.images
        of = split.labelled if labelled else np.arange(len(split))
        chosen = of[_spread(len(of), SAMPLE_ROWS)]
        truth = torch.from_numpy(split.labels(chosen)) if labelled else None
        codes = sample_codes(self.config.n, SAMPLE_CODES, self.config.code_size, seed=0)
        images = to_tensor(split.images(chosen), self.device)
        content = redraw_grid(self.game.f, self.game.networks.G, images, codes, truth)
        picture = sample_grid(content, blur=self.config.blur)
        file = self.folder.samples / f"step-{self.step:07d}.png"
        write_aside(file, lambda aside: picture.save(aside, "PNG"))

    def _say(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _score_text(self) -> str:
        if self.last_score is None:
            return ""
        return f"{self.last_score['split']} IoU {self.last_score['per_dataset']['iou']:.3f}"


_EVERY = ("collapse_every", "eval_every", "sample_every", "save_every")


def _seed(*numbers: int) -> int:
    """One number from several, such that neighbouring steps and attempts have nothing in common."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


def _spread(length: int, wanted: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """At most `wanted` indices, evenly spread over `length`."""
    return np.unique(np.linspace(0, length - 1, min(wanted, length)).round().astype(np.int64))
