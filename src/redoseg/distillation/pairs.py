"""Images with the masks to learn: a run's own images, some of them redrawn, and its masks of them."""

import torch
from torch import Tensor

from redoseg.config import DistillConfig
from redoseg.distillation.teacher import Teacher
from redoseg.method.augmentation import SHIFT_NUMBERS, VIEW_NUMBERS, shifted, view
from redoseg.tensors import to_device
from redoseg.training.distributed import SingleProcess


class Pairs:
    """What the student sees, of images of a batch of B: a function of the images and of random numbers.

    Of several processes each has every `world`-th image of the batch; numbers are drawn for all B, so that
    together they do what one does alone.
    """

    def __init__(self, config: DistillConfig, teacher: Teacher, group: SingleProcess) -> None:
        self.config, self.teacher, self.rank, self.world = config, teacher, group.rank, group.world

    def of(self, images: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
        """The images, the first ones redrawn, and the teacher's masks: (b, 3, S, S), (b, n, S, S)."""
        batch = self.config.batch
        redrawn = round((self.config.synthetic or 0) * batch)  # of the whole batch
        own = len(range(self.rank, redrawn, self.world))
        pairs = []
        if redrawn:
            draws = self.teacher.draw(redrawn, random).part(self.rank, self.world)
            if own:
                pairs.append(self.teacher.redrawn(images[:own], draws))
        if own < len(images):
            pairs.append((images[own:], self.teacher.masks(images[own:])))
        seen, masks = zip(*pairs, strict=True)
        return torch.cat(seen), torch.cat(masks)

    def changed(
        self, images: Tensor, masks: Tensor, pixels: Tensor, random: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """All three moved alike, so that what comes in at the border doesn't count; then the images' colours
        changed."""
        config = self.config
        u = torch.rand(config.batch, SHIFT_NUMBERS + VIEW_NUMBERS, generator=random)
        u = to_device(u[self.rank :: self.world], images.device)
        if config.shift:
            together = torch.cat((images, masks, pixels), 1)
            moved = shifted(together, config.shift * (2 * u[:, :SHIFT_NUMBERS] - 1))
            images, masks, pixels = torch.split(moved, [3, masks.shape[1], 1], 1)
        if config.jitter:
            images = view(images, u[:, SHIFT_NUMBERS:], torch.full_like(u[:, 0], config.jitter))
        return images, masks, pixels


def select(masks: Tensor, *, confident: float, object_share: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """Which images count (B,), and which pixels (B, 1, S, S); bool. masks (B, n, S, S), background first.

    An image does where what isn't background covers a share of it within `object_share`; of such an image, a
    pixel does whose largest mask is at least `confident`.
    """
    share = 1 - masks[:, 0].mean((1, 2))
    images = (share >= object_share[0]) & (share <= object_share[1])
    return images, (masks.amax(1, keepdim=True) >= confident) & images[:, None, None, None]
