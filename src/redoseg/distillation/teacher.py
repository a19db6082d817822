"""What teaches a student: here a run's mask network and its generators."""

import dataclasses
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from redoseg.config import TrainConfig
from redoseg.errors import ModelError
from redoseg.label_free.calibration import apply_threshold, find_starts, find_threshold
from redoseg.method.compositing import choose_regions
from redoseg.method.drawing import RandomDraws, redraw_batch
from redoseg.models.run_folder import RunFolder
from redoseg.models.source import check_teacher, find_model
from redoseg.networks.mask import MaskNetwork


class Teacher(ABC):
    """What gives a student the masks to learn, with the background first and without a gradient."""

    config: TrainConfig
    """The options in which a student is as its teacher: n, and how images are read."""
    identity: dict[str, Any]
    """What it is, as run.json says: run, rule, step, ema, and a digest of its weights."""
    device: torch.device
    generators: nn.ModuleList | None = None
    supervision: dict[str, Any] | None = None
    """Which masks were read in its training; None if none were."""
    is_run: bool = False
    """Whether it is a run, of whose images the student learns."""
    starts: tuple[float, ...] = ()
    """The thresholds from which its masks are refined; none until they are set."""
    threshold: float = 0.5
    """The value of the object's soft mask that becomes .5 (`apply_threshold`)."""

    @abstractmethod
    def masks(self, images: Tensor) -> Tensor:
        """Masks (B, n, S, S) of images (B, 3, S, S) in [-1, 1]."""

    def masks_of_many(self, images: Tensor) -> Tensor:
        """As `masks`, a batch at a time."""
        return torch.cat([self.masks(part) for part in torch.split(images, 64)])

    def find_starts(self, images: Tensor) -> tuple[float, ...]:
        """The thresholds from which its masks of images (N, 3, S, S) are refined (`find_starts`)."""
        return find_starts(self.masks_of_many(images), images)

    def find_threshold(self, images: Tensor) -> float:
        """The threshold at which the object's outline fits the edges of images (N, 3, S, S) best."""
        self.threshold = 0.5
        self.threshold = find_threshold(self.masks_of_many(images), images)
        return self.threshold


class NetworkTeacher(Teacher):
    """A run's checkpoint, or a model with a card; what a model was trained on isn't there to learn from."""

    def __init__(
        self, run: Path, *, checkpoint: str, weights: str | None, device: torch.device, mirrored: bool
    ) -> None:
        """Raises ConfigError if `run` holds no run and is no model, ModelError if its checkpoint or files
        can't be read, or if it has no card."""
        self.is_run = RunFolder(run).exists
        check_teacher(run)
        source = find_model(run if run.exists() else str(run), checkpoint=checkpoint, weights=weights)
        model = source.load(device)
        if model.config is None:
            raise ModelError(f"{run} has no card that says how it was made: name the run that it comes from")
        self.config = model.config
        self.generators, self.supervision = model.generators, model.supervision
        self.identity = {"run": str(run), **model.checkpoint, "weights": source.digest}
        self.device = device
        self._f, self._order = _Calibrated(model.f, mirrored, self), model.f.order
        # One region is redrawn and the rest of the image stays, whatever the run's own --redraw was.
        self._redraw_one = dataclasses.replace(self.config, redraw="one", shift=0.0, delta_input="composed")

    @torch.no_grad()
    def masks(self, images: Tensor) -> Tensor:
        """Masks (B, n, S, S) of images (B, 3, S, S) in [-1, 1]. The run's f sees images at its own size."""
        own, side = self.config.size, images.shape[-1]
        if side == own:
            return self._ordered(self._f(images))
        small = F.interpolate(images, size=own, mode="bilinear", antialias=True)
        return F.interpolate(self._ordered(self._f(small)), size=side, mode="bilinear")

    def sample_draws(self, batch: int, random: torch.Generator) -> RandomDraws:
        """Random regions and codes for `batch` images to redraw."""
        n = self.config.n
        counts = torch.bincount(choose_regions(batch, n, random), minlength=n).tolist()
        return RandomDraws(tuple(counts), torch.randn(batch, n, self.config.code_size, generator=random))

    @torch.no_grad()
    def redraw(self, images: Tensor, draws: RandomDraws) -> tuple[Tensor, Tensor]:
        """The images (B, 3, S, S) with one region of each redrawn, and the masks (B, n, S, S) used for it."""
        assert self.generators is not None
        batch = redraw_batch(self._redraw_one, self._f, self.generators, images, draws.to(images.device))
        return batch.fakes, self._ordered(batch.masks)

    def _ordered(self, masks: Tensor) -> Tensor:
        return masks.index_select(1, self._order)


class _Calibrated(nn.Module):
    """f's masks at the teacher's threshold; with `mirrored`, averaged over the image and its mirror image."""

    def __init__(self, f: MaskNetwork, mirrored: bool, teacher: Teacher) -> None:
        super().__init__()
        self.f, self.mirrored, self._teacher = f, mirrored, teacher

    def forward(self, images: Tensor, noise: Tensor | None = None) -> Tensor:
        masks = self.f(images, noise)
        if self.mirrored:
            masks = (masks + self.f(images.flip(3), noise).flip(3)) / 2
        ordered = apply_threshold(masks.index_select(1, self.f.order), self._teacher.threshold)
        return ordered.index_select(1, self.f.order.argsort())
