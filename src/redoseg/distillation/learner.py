"""Trains a student: a mask network that learns the masks of a teacher, which is a run."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.status import Status

from redoseg.config import DistillConfig, TrainConfig
from redoseg.config.distill import student_options
from redoseg.data.dataset import Dataset
from redoseg.data.sampler import InfiniteSampler, derive_seed, evenly_spaced
from redoseg.data.subset import SubsetSplit
from redoseg.distillation.corrected import joined, open_corrected
from redoseg.distillation.pairs import Pairs, select, unpack
from redoseg.distillation.targets import RefinedTargets, WithTargets
from redoseg.distillation.teacher import Teacher
from redoseg.errors import ConfigError, ModelError
from redoseg.method.algorithm import Metrics
from redoseg.models.run_folder import RunFolder
from redoseg.tensors import to_tensor, working_precision
from redoseg.training.batches import Batches, Source, open_source
from redoseg.training.distributed import SingleProcess
from redoseg.training.learner import Learner
from redoseg.training.log import say
from redoseg.training.mask_learner import CURE, MaskLearner
from redoseg.training.trainer import OBSERVED

_EVERY = 10.0  # seconds between two lines of progress
CALIBRATED = 1024  # images, at most, on which the threshold of the teacher's masks is chosen


class DistillationLearner(Learner):
    """The learner of `redoseg distill`. Region r is channel r, as in the teacher's masks.
    It doesn't restart after a collapse, which another start would not mend."""

    channels_named = True
    cure = CURE

    def __init__(
        self,
        config: DistillConfig,
        described: TrainConfig,
        teacher: Teacher,
        dataset: Dataset,
        console: Console,
        group: SingleProcess,
    ) -> None:
        """`config` must be resolved; `described` is the same as a TrainConfig
        (`DistillConfig.described_as`)."""
        self.config, self.described, self.teacher = config, described, teacher
        self.console, self.group = console, group
        self.device = group.device(config.device)
        self.images, self.fingerprint = dataset.training, dataset.fingerprint
        centred = len(dataset.split("train"))
        if config.images is not None and config.images < len(self.images):
            chosen = evenly_spaced(len(self.images), config.images)
            self.images, centred = SubsetSplit(self.images, chosen), int((chosen < centred).sum())
        self.corrected = open_corrected(config, described, self.images, centred)
        self.supervision = joined(teacher.supervision, self.corrected)
        self.object_share = config.object_share
        self.source = open_source(self.images, self.device)
        self.pairs = Pairs(config, teacher, group)
        self.targets: RefinedTargets | None = None
        self.restart(0)

    def restart(self, attempt: int) -> None:
        """Build a new student. Attempt 0 is the only one."""
        config, group = self.config, self.group
        seed = derive_seed(config.seed)
        self.batches = self._batches(self.source, len(self.images))
        self.student = MaskLearner(self.described, seed, self.device, group)
        self.networks, self.optimizers = self.student.networks, self.student.optimizers

    def step(self, t: int) -> Metrics:
        """One update. Returns its loss, the share of pixels that counted, the share of images left out."""
        config, random = self.config, torch.Generator().manual_seed(derive_seed(self.config.seed, t))
        images = self.batches.at(t, random)
        if self.targets is not None:
            images, masks, weights, which = unpack(images, self.object_share)
        else:
            with working_precision(self.described.precision, self.device):
                images, masks = self.pairs.with_masks(images, random)
            which, pixels = select(masks, confident=config.confident, object_share=config.object_share)
            weights = pixels.float()
        metrics = self.student.update(*self.pairs.augment(images, masks, weights, random), t)
        return metrics | {"counted": weights.mean(), "left_out": 1 - which.float().mean()}

    def _batches(self, source: Source, length: int) -> Batches:
        config, group = self.config, self.group
        stream = InfiniteSampler(length, config.batch, derive_seed(config.seed))
        return Batches(source, stream, flip=config.flip, rank=group.rank, world=group.world)

    def log_entry(self, means: dict[str, float]) -> dict[str, Any]:
        """The threshold, the loss, and beside it the two shares, which are no losses."""
        shares = {name: means[name] for name in ("counted", "left_out")}
        losses = {"cross_entropy": means["cross_entropy"]}
        return {"threshold": self.teacher.threshold, "losses": losses, **shares}

    def check_finite(self, t: int) -> None:
        """Raise DivergenceError if a loss was not finite before step t."""
        self.student.check_finite(t)

    # --- the teacher

    @property
    def state(self) -> dict[str, Any]:
        """The threshold of the teacher's masks, or where refining them starts; its weights' digest."""
        starts = {"starts": list(self.teacher.starts)} if self.config.targets == "refined" else {}
        teacher = self.teacher.identity["weights"]
        return {"threshold": self.teacher.threshold, "teacher": teacher} | starts

    def describe(self) -> dict[str, Any]:
        """The student's own options, in both forms, and what taught it."""
        return {
            "config": student_options(self.described.as_json()),
            "distill": self.config.as_json(),
            "teacher": self.teacher.identity | {"threshold": self.teacher.threshold},
        }

    def begin(self, saved: dict[str, Any] | None) -> None:
        """Choose the threshold of the teacher's masks, or take that of the last checkpoint.
        Raises ConfigError if the teacher isn't the checkpoint's, ModelError if no mask can be learned."""
        out, run = self.config.out, self.config.run
        if saved is not None and saved["teacher"] != self.teacher.identity["weights"]:
            raise ConfigError(
                f"{run} at --checkpoint {self.config.checkpoint} isn't what taught {out}: it was trained "
                "further, or is another run; begin anew with another --out"
            )
        if self.config.targets == "refined":
            self._begin_refined(saved)
            return
        if saved is not None:
            # Chosen once: rounding on another machine must not change the masks that a student learns.
            self.teacher.threshold = saved["threshold"]
        elif self.config.calibrate:
            sample = evenly_spaced(len(self.images), CALIBRATED)
            self.teacher.threshold = self.group.broadcast(
                lambda: self.teacher.find_threshold(to_tensor(self.images.images(sample), self.device))
            )
        say(self.console, self.group.broadcast(self._describe_masks))

    def _begin_refined(self, saved: dict[str, Any] | None) -> None:
        """Make the refined targets, or take those that are there, and learn from the surest."""
        config, group, teacher = self.config, self.group, self.teacher
        sample = evenly_spaced(len(self.images), CALIBRATED)
        teacher.starts = tuple(
            saved["starts"]
            if saved is not None
            else group.broadcast(
                lambda: teacher.find_starts(to_tensor(self.images.images(sample), self.device))
            )
        )
        identity: dict[str, Any] = {
            "data": self.fingerprint, "teacher": teacher.identity["weights"],
            "size": config.size, "mirrored": config.mirrored,
        } | ({"squares": config.squares} if config.squares > 1 else {})  # fmt: skip
        self.targets = RefinedTargets(RunFolder(config.out).targets, self.images, teacher, identity)
        if group.is_main_process:
            with self.console.status("refining masks") as status:
                if not self.console.is_terminal:
                    say(self.console, f"refining the masks of {len(self.images)} images")
                self.targets.make(_progress_of(self.console, status))
        group.barrier()
        self.targets.load()
        kept = self.targets.surest(1 - config.doubtful)
        if self.corrected is not None:
            kept = self.corrected.lay_over(self.targets, kept, self.described.n, config.object_share)
            self.object_share = (0.0, 1.0)  # it has been seen to: a corrected mask may be empty, or full
            say(self.console, self.corrected.text)
        if len(kept) < config.batch:
            raise ConfigError(
                f"--doubtful {config.doubtful:g} leaves {len(kept)} of {len(self.images)} images, fewer than "
                f"a batch of {config.batch}: lower it, or --batch"
            )
        self.batches = self._batches(WithTargets(self.source, self.targets, kept), len(kept))
        say(
            self.console,
            f"learning from {config.run} at step {teacher.identity['step']}, its masks refined from "
            f"{', '.join(f'{start:g}' for start in teacher.starts)}: the {len(np.unique(kept))} surest of "
            f"{len(self.images)} images",
        )
        learned = np.unique(kept) if self.corrected is None else np.setdiff1d(kept, self.corrected.rows)
        unrefined = int(np.count_nonzero(self.targets.doubt[learned] >= 1))
        if unrefined:
            warning = "warning: " * (2 * unrefined > len(learned))
            which = f"of {unrefined} of these the mask is learned as {config.run} has it"
            say(self.console, f"{warning}{which}: the refined one has too little in common with it")

    def _describe_masks(self) -> str:
        """How much of the teacher's masks will be learned, in words. ModelError if nothing will."""
        config, run = self.config, self.config.run
        images = to_tensor(self.images.images(evenly_spaced(len(self.images), OBSERVED)), self.device)
        masks = self.teacher.masks_of_many(images)
        which, pixels = select(masks, confident=config.confident, object_share=config.object_share)
        if not pixels.any():
            least, most = config.object_share
            raise ModelError(
                f"{run} has nothing to teach: in none of {len(masks)} images does its object cover {least:g} "
                f"to {most:g} of it (--object-share) with masks of {config.confident:g} or more (--confident)"
            )
        left_out, sure = 1 - which.float().mean().item(), pixels[which].float().mean().item()
        return (
            f"learning from {run} at step {self.teacher.identity['step']}, where its mask is above "
            f"{self.teacher.threshold:g}: {left_out:.0%} of the images are left out, {sure:.0%} of the "
            "others' pixels count"
        )


def _progress_of(console: Console, status: Status) -> Callable[[int, int], None]:
    """What shows how many masks are refined: on a terminal a text that changes; elsewhere a line now and
    then."""
    said = time.monotonic()

    def show(done: int, images: int) -> None:
        nonlocal said
        text = f"refining masks: {done} of {images} images"
        status.update(text)
        if not console.is_terminal and time.monotonic() - said >= _EVERY:
            said = time.monotonic()
            say(console, text)

    return show
