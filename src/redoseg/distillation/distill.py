"""Distilling: a student trained on the masks that a run's f gives its training images. No label is read."""

import dataclasses
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from redoseg.config import DistillConfig, TrainConfig
from redoseg.data.dataset import Dataset, Split
from redoseg.data.sampler import IndexStream, seed_of, spread
from redoseg.distillation.teacher import Teacher, counted
from redoseg.errors import ConfigError, DataError, DivergenceError, ModelError
from redoseg.label_free.statistics import MaskStatistics, measure_masks
from redoseg.method.augmentation import SHIFT_NUMBERS, VIEW_NUMBERS, shifted, view
from redoseg.models.run_folder import RunFolder
from redoseg.tensors import pick_device, synchronize, to_device, to_tensor
from redoseg.training.batches import Batches, source
from redoseg.training.interrupts import Interrupts
from redoseg.training.log import ProgressBar, resumed
from redoseg.training.mask_learner import Student
from redoseg.training.run import SURVEYED
from redoseg.training.student_records import State, StudentRecords
from redoseg.training.train import opened

CALIBRATED = 1024  # images to whose edges the object's outline is fitted


def distill(config: DistillConfig, *, console: Console | None = None) -> Path:
    """Train a student of `config.run`, or go on with the one in `config.out`. Returns the student's folder.

    Raises ConfigError (no run there, options that can't be or differ from the student's, another teacher),
    ModelError, DataError, DivergenceError, KeyboardInterrupt once a checkpoint is written.
    """
    console = console or Console(stderr=True)
    if config.run.resolve() == config.out.resolve():
        raise ConfigError(f"--out is {config.run} itself: the student needs a folder of its own")
    device = pick_device(config.device)
    teacher = Teacher(
        config.run,
        checkpoint=config.checkpoint,
        weights=config.weights,
        device=device,
        mirrored=config.mirrored,
    )
    if config.synthetic is None and teacher.generators is None:
        _say(console, f"{config.run} has no generators there: no image is redrawn (--synthetic 0)")
    config = config.resolved(teacher.config, generators=teacher.generators is not None)
    described = config.described_as(teacher.config)
    RunFolder(config.out).reconcile(config)
    dataset = _data(config.run, described, console)
    with RunFolder(config.out).locked():
        Distillation(config, described, teacher, dataset, console, device).go()
    return config.out


def resume(path: Path, *, console: Console | None = None, **changed: Any) -> Path:
    """Go on with a student in its folder, some options `changed`. As `distill`; ConfigError if it's none."""
    begun = RunFolder(path).begun_with()
    if not isinstance(begun, DistillConfig):
        raise ConfigError(f"{path} wasn't made by `redoseg distill`: `redoseg resume {path}` goes on with it")
    return distill(dataclasses.replace(begun, out=path, **changed), console=console)


def _data(run: Path, described: TrainConfig, console: Console) -> Dataset:
    """What the run was trained on, seen by the data's fingerprint."""
    try:
        dataset = opened(described, console)
    except DataError as error:
        raise DataError(f"{error} ({run} was trained on it: --data says where it is now)") from error
    if dataset.fingerprint != RunFolder(run).fingerprint():
        where = " ".join(described.data)
        raise DataError(
            f"{where} isn't what {run} was trained on, or has changed since: bring back the same files, or "
            "say with --data where they are"
        )
    return dataset


class Distillation:
    """All its state is the student's and a few numbers (`state`).

    What is random at step t depends on (seed, t) only, so the state needs no random generators.
    """

    def __init__(
        self,
        config: DistillConfig,
        described: TrainConfig,
        teacher: Teacher,
        dataset: Dataset,
        console: Console,
        device: torch.device,
    ) -> None:
        """`config` is resolved, `described` what it says of the run (`DistillConfig.described_as`)."""
        if config.threads:
            torch.set_num_threads(config.threads)
        self.config, self.teacher, self.console, self.device = config, teacher, console, device
        images, seed = dataset.split("train"), seed_of(config.seed)
        stream = IndexStream(len(images), config.batch, seed)
        self.batches = Batches(source(images, device), stream, flip=config.flip)
        self.fixed_images = to_tensor(images.images(spread(len(images), SURVEYED)), device)
        self.student = Student(described, seed, device)
        self.records = StudentRecords(
            described, dataset, device, teacher.identity["weights"], teacher.supervision
        )
        self.step, self.seconds = 0, 0.0
        self.interrupted = Interrupts()
        found = self.records.last()
        self._calibrate(found, images)
        self._check_teacher()
        self._resume(found)
        self.bar = ProgressBar(console, config.steps, self.step, config.batch, None)

    @property
    def state(self) -> State:
        """The run's numbers, as checkpoints keep them."""
        return {
            "step": self.step,
            "images": self.step * self.config.batch,
            "seconds": self.seconds,
            "threshold": self.teacher.threshold,
        }

    # --- the loop

    def go(self) -> None:
        """Train to the last step, then leave the model, a picture and, with masks, the scores."""
        with self.bar, self.interrupted:
            while self.step < self.config.steps:
                began = time.monotonic()
                found = self._one_step()
                self.step += 1
                due = {name for name in ("log", "eval", "save") if self._is_due(name)}
                if due:
                    synchronize(self.device)
                self.seconds += time.monotonic() - began
                self._milestones(due, found)
                if self.interrupted.asked:
                    self._save()
                    raise KeyboardInterrupt
        self.student.check_finite(self.step)
        self.records.finish(self.student, self.state)

    def _is_due(self, name: str) -> bool:
        return self.step % getattr(self.config, f"{name}_every") == 0

    def _one_step(self) -> dict[str, Tensor]:
        """An update: its loss, the batch's share of pixels that counted, of images that were left out."""
        config, t = self.config, self.step
        random = torch.Generator().manual_seed(seed_of(config.seed, t))
        images = self.batches.at(t, random)
        with self.student.precision():
            images, masks = self._lesson(images, random)
        which, pixels = counted(masks, confident=config.confident, object_share=config.object_share)
        losses = self.student.update(*self._seen(images, masks, pixels.float(), random), t)
        return losses | {"counted": pixels.float().mean(), "left_out": 1 - which.float().mean()}

    def _lesson(self, images: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
        """Images, the first ones redrawn, and the teacher's masks: (B, 3, S, S), (B, n, S, S)."""
        count = round((self.config.synthetic or 0) * len(images))
        pairs = []
        if count:
            pairs.append(self.teacher.redrawn(images[:count], random))
        if count < len(images):
            pairs.append((images[count:], self.teacher.masks(images[count:])))
        taught, masks = zip(*pairs, strict=True)
        return torch.cat(taught), torch.cat(masks)

    def _seen(
        self, images: Tensor, masks: Tensor, pixels: Tensor, random: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """All three moved alike, so that what comes in at the border doesn't count; then the images' colours
        changed."""
        config, batch = self.config, len(images)
        u = to_device(torch.rand(batch, SHIFT_NUMBERS + VIEW_NUMBERS, generator=random), self.device)
        if config.shift:
            together = torch.cat((images, masks, pixels), 1)
            moved = shifted(together, config.shift * (2 * u[:, :SHIFT_NUMBERS] - 1))
            images, masks, pixels = torch.split(moved, [3, masks.shape[1], 1], 1)
        if config.jitter:
            images = view(images, u[:, SHIFT_NUMBERS:], torch.full_like(u[:, 0], config.jitter))
        return images, masks, pixels

    def _milestones(self, due: set[str], found: dict[str, Tensor]) -> None:
        """Scores, log, a save: in the order that lets a checkpoint know of the line before it."""
        line = None
        if due:
            self.student.check_finite(self.step)
        if "eval" in due:
            self.records.keep(self.student, self.state)
        if due & {"log", "eval"}:
            values = {name: value.item() for name, value in found.items()}
            losses = {"cross_entropy": values.pop("cross_entropy")}
            looked = self._survey()
            sizes = {"region_sizes": list(looked.sizes), "variation": looked.variation}
            line = self.records.note(self.state, losses=losses, **values, **sizes)
        if "save" in due:
            self._save()
        self.bar.update(self.step, line, self.records.scores.text)

    def _save(self) -> None:
        self.student.check_finite(self.step)
        self.records.save(self.student, self.state)

    def _survey(self) -> MaskStatistics:
        """What the student does now. DivergenceError if its masks aren't finite."""
        looked = measure_masks(self.student.f, self.fixed_images)
        if not np.isfinite(looked.sizes).all():
            raise DivergenceError(f"the masks are not finite at step {self.step}: try a smaller --lr")
        return looked

    # --- what came before

    def _calibrate(self, found: tuple[dict[str, Tensor], State] | None, images: Split) -> None:
        """Found once: rounding elsewhere mustn't change what a student that goes on is taught."""
        if found is not None:
            self.teacher.threshold = found[1]["threshold"]
        elif self.config.calibrate:
            chosen = spread(len(images), CALIBRATED)
            self.teacher.calibrate(to_tensor(images.images(chosen), self.device))

    def _check_teacher(self) -> None:
        """ModelError if there is nothing to learn from its masks."""
        config, run = self.config, self.config.run
        masks = torch.cat([self.teacher.masks(part) for part in torch.split(self.fixed_images, 64)])
        which, pixels = counted(masks, confident=config.confident, object_share=config.object_share)
        if not pixels.any():
            least, most = config.object_share
            raise ModelError(
                f"{run} has nothing to teach: in none of {len(masks)} images does its object cover {least:g} "
                f"to {most:g} of it (--object-share) with masks of {config.confident:g} or more (--confident)"
            )
        left_out, sure = 1 - which.float().mean().item(), pixels[which].float().mean().item()
        _say(
            self.console,
            f"learning from {run} at step {self.teacher.identity['step']}, where its mask is above "
            f"{self.teacher.threshold:g}: {left_out:.0%} of the images are left out, {sure:.0%} of the "
            "others' pixels count",
        )

    def _resume(self, found: tuple[dict[str, Tensor], State] | None) -> None:
        """Take up the last checkpoint, if there is one."""
        if found is not None:
            tensors, info = found
            self._check_resumed(info)
            self.step, self.seconds = info["step"], info["seconds"]
            self.student.load_state_dict(tensors, self.records.folder.last)
            _say(self.console, resumed(self.config.out, self.step, self.config.steps))
        self.records.begin(
            found[1] if found is not None else None,
            distill=self.config.as_json(),
            teacher=self.teacher.identity | {"threshold": self.teacher.threshold},
        )

    def _check_resumed(self, info: State) -> None:
        """That the data is the teacher's was seen before; that it is the student's, follows."""
        out, run = self.config.out, self.config.run
        if info["teacher"] != self.teacher.identity["weights"]:
            raise ConfigError(
                f"{run} at --checkpoint {self.config.checkpoint} isn't what taught {out}: it was trained "
                "further, or is another run; begin anew with another --out"
            )
        if info["step"] > self.config.steps:
            raise ConfigError(f"{out} is at step {info['step']} already: --steps can only grow")


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
