"""The teacher of a distillation: a run's mask network, and the generators that draw by its masks."""

import dataclasses
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from redoseg.config import TrainConfig
from redoseg.errors import ConfigError
from redoseg.label_free.calibration import apply_threshold, find_threshold
from redoseg.method.compositing import choose_regions
from redoseg.method.drawing import Codes, draw
from redoseg.models.load import load_model
from redoseg.models.run_folder import RunFolder
from redoseg.models.source import RunCheckpoint, find_model, weights_digest
from redoseg.networks.mask import MaskNetwork


class Teacher:
    """A run's checkpoint. Its masks have the background first, and nothing that it does has a gradient."""

    def __init__(
        self, run: Path, *, checkpoint: str, weights: str | None, device: torch.device, mirrored: bool
    ) -> None:
        """ConfigError where there is no run, ModelError for a checkpoint that can't be read."""
        if not RunFolder(run).exists:
            raise ConfigError(
                f"{run} holds no run to learn from: `redoseg train DATA --out {run}` begins one"
            )
        place = find_model(run, checkpoint=checkpoint, weights=weights)
        assert isinstance(place, RunCheckpoint)
        model = load_model(run, checkpoint=checkpoint, weights=weights, device=device)
        self.config: TrainConfig = place.config
        self.generators, self.supervision = model.generators, model.supervision
        self.identity: dict[str, Any] = {
            "run": str(run),
            **model.checkpoint,
            "weights": weights_digest(place.file, f"{place.letter}."),
        }
        self._f, self._order = _Calibrated(model.f, mirrored), model.f.order
        # Of `draw`'s kinds the one that leaves the rest of the image as it is, whatever RUN's was.
        self._one = dataclasses.replace(self.config, redraw="one", shift=0.0, delta_input="composed")

    @property
    def threshold(self) -> float:
        """What of the object's soft mask becomes a half: .5 until it is set or found (`calibrate`)."""
        return self._f.threshold

    @threshold.setter
    def threshold(self, threshold: float) -> None:
        self._f.threshold = threshold

    def calibrate(self, images: Tensor) -> None:
        """Find the threshold at which the object's outline fits these images (N, 3, S, S) best."""
        self.threshold = 0.5
        masks = torch.cat([self.masks(part) for part in torch.split(images, 64)])
        self.threshold = find_threshold(masks, images)

    @torch.no_grad()
    def masks(self, images: Tensor) -> Tensor:
        """(B, n, S, S) of images (B, 3, S, S) in [-1, 1]."""
        return self._ordered(self._f(images))

    @torch.no_grad()
    def redrawn(self, images: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
        """The images (B, 3, S, S) with a region of each drawn anew, and the masks (B, n, S, S) used for it.

        Regions and codes are drawn from `random`. Only for a teacher that has `generators`.
        """
        assert self.generators is not None
        n, batch = self.config.n, len(images)
        counts = torch.bincount(choose_regions(batch, n, random), minlength=n)
        codes = Codes(tuple(counts.tolist()), torch.randn(batch, n, self.config.code_size, generator=random))
        drawing = draw(self._one, self._f, self.generators, images, codes.to(images.device))
        return drawing.fakes, self._ordered(drawing.masks)

    def _ordered(self, masks: Tensor) -> Tensor:
        return masks.index_select(1, self._order)


class _Calibrated(nn.Module):
    """f's masks, averaged over the image and its mirror image if `mirrored`, at a threshold."""

    def __init__(self, f: MaskNetwork, mirrored: bool) -> None:
        super().__init__()
        self.f, self.mirrored, self.threshold = f, mirrored, 0.5

    def forward(self, images: Tensor, noise: Tensor | None = None) -> Tensor:
        masks = self.f(images, noise)
        if self.mirrored:
            masks = (masks + self.f(images.flip(3), noise).flip(3)) / 2
        ordered = apply_threshold(masks.index_select(1, self.f.order), self.threshold)
        return ordered.index_select(1, self.f.order.argsort())


def counted(masks: Tensor, *, confident: float, object_share: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """Which images count (B,), and which pixels (B, 1, S, S); bool. masks (B, n, S, S), background first.

    An image does where what isn't background covers a share of it within `object_share`; of such an image, a
    pixel does whose largest mask is at least `confident`.
    """
    share = 1 - masks[:, 0].mean((1, 2))
    images = (share >= object_share[0]) & (share <= object_share[1])
    return images, (masks.amax(1, keepdim=True) >= confident) & images[:, None, None, None]
