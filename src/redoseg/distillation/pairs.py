"""The images that a student learns from, some of them redrawn, with the teacher's masks of them."""

import torch
from torch import Tensor

from redoseg.config import DistillConfig
from redoseg.distillation.teacher import NetworkTeacher, Teacher
from redoseg.method.augmentation import SHIFT_NUMBERS, VIEW_NUMBERS, shift_pixels, view
from redoseg.tensors import to_device
from redoseg.training.distributed import SingleProcess


class Pairs:
    """Makes pairs of image and mask from a batch of B images.
    Each of several processes has every `world`-th image of the batch, b in all. Random numbers are drawn for
    all B images, so that the processes together make the same pairs as one alone."""

    def __init__(self, config: DistillConfig, teacher: Teacher, group: SingleProcess) -> None:
        self.config, self.teacher, self.rank, self.world = config, teacher, group.rank, group.world

    def with_masks(self, images: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
        """The images (b, 3, S, S), of which the first are redrawn, and the teacher's masks (b, n, S, S)."""
        batch = self.config.batch
        redrawn = round((self.config.synthetic or 0) * batch)  # of the whole batch
        own = len(range(self.rank, redrawn, self.world))  # of this process's images
        pairs = []
        if redrawn:
            assert isinstance(self.teacher, NetworkTeacher)
            draws = self.teacher.sample_draws(redrawn, random).part(self.rank, self.world)
            if own:
                pairs.append(self.teacher.redraw(images[:own], draws))
        if own < len(images):
            pairs.append((images[own:], self.teacher.masks(images[own:])))
        seen, masks = zip(*pairs, strict=True)
        return torch.cat(seen), torch.cat(masks)

    def augment(
        self, images: Tensor, masks: Tensor, pixels: Tensor, random: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Shift all three alike, so that the zeros at the border don't count; then change the images'
        colours.
        images (b, 3, S, S), masks (b, n, S, S), pixels (b, 1, S, S): how much a pixel counts, in [0, 1]."""
        config = self.config
        u = torch.rand(config.batch, SHIFT_NUMBERS + VIEW_NUMBERS, generator=random)
        u = to_device(u[self.rank :: self.world], images.device)
        if config.shift:
            together = torch.cat((images, masks, pixels), 1)
            moved = shift_pixels(together, config.shift * (2 * u[:, :SHIFT_NUMBERS] - 1))
            images, masks, pixels = torch.split(moved, [3, masks.shape[1], 1], 1)
        if config.jitter:
            images = view(images, u[:, SHIFT_NUMBERS:], torch.full_like(u[:, 0], config.jitter))
        return images, masks, pixels


def select(masks: Tensor, *, confident: float, object_share: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """Which images (B,) and which pixels (B, 1, S, S) to learn; bool. masks (B, n, S, S), background first.
    An image is learned if its objects' share of it lies within `object_share`; of such an image, the pixels
    are learned whose largest mask is at least `confident`."""
    share = 1 - masks[:, 0].mean((1, 2))
    images = (share >= object_share[0]) & (share <= object_share[1])
    return images, (masks.amax(1, keepdim=True) >= confident) & images[:, None, None, None]


def unpack(batch: Tensor, object_share: tuple[float, float]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A batch (B, 3 + n - 1, S, S) in [-1, 1] of images beside refined targets: the images, the masks
    (B, n, S, S), the weight (B, 1, S, S) of each pixel, and which images (B,) count, as in `select`.
    A pixel counts in so far as the starts agree on it: from 0, where all regions are equally likely, to 1."""
    images, objects = batch[:, :3], (batch[:, 3:] + 1) / 2
    masks = torch.cat((1 - objects.sum(1, keepdim=True), objects), 1).clamp(0, 1)
    which, _ = select(masks, confident=0, object_share=object_share)
    n = masks.shape[1]
    weights = (n * masks.amax(1, keepdim=True) - 1) / (n - 1)
    return images, masks, weights * which[:, None, None, None], which
