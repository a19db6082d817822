"""G_F(I, z, i): the random numbers of a batch, and the images redrawn with them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from redoseg.config import TrainConfig
from redoseg.method.augmentation import AUGMENT_NUMBERS, SHIFT_NUMBERS, VIEW_NUMBERS, shift_pixels, view
from redoseg.method.compositing import assemble, choose_regions, redraw
from redoseg.tensors import to_device


class RandomDraws(NamedTuple):
    """All random numbers of one batch of B images.

    counts: in how many images each region is redrawn, region 0 in the first counts[0] images, and so on.
    z (B, n, code_size): the codes. If their options are on: noise (B, 1 or n, S, S) for f's logits; view
    (B, 1 + 6) for the input of f, strength first; shift (B, 2) of the redrawn region, as shares of the side;
    augment (B, R + 1, 7) for the inputs of D, the R fakes of an image and a real one.
    """

    counts: tuple[int, ...]
    z: Tensor
    noise: Tensor | None = None
    view: Tensor | None = None
    shift: Tensor | None = None
    augment: Tensor | None = None

    @property
    def regions(self) -> Tensor:
        """The region redrawn in each image: (B,), ascending."""
        return torch.arange(len(self.counts)).repeat_interleave(torch.tensor(self.counts))

    @classmethod
    def sample(cls, config: TrainConfig, generator: torch.Generator, step: int = 0) -> "RandomDraws":
        batch, n = config.batch, config.n
        z = torch.randn(batch, n, config.code_size, generator=generator)
        counts = tuple(torch.bincount(choose_regions(batch, n, generator), minlength=n).tolist())
        noise = view = shift = augment = None
        if config.mask_noise:
            noise = torch.randn(batch, 1 if n == 2 else n, config.size, config.size, generator=generator)
            noise = config.mask_noise * warmup(step, config.lr_f_warmup) * noise
        if config.f_jitter:
            view = torch.rand(batch, 1 + VIEW_NUMBERS, generator=generator)
            view[:, 0] = config.f_jitter * decay(step, config.f_jitter_fade)
        if config.shift:
            shift = config.shift * (2 * torch.rand(batch, SHIFT_NUMBERS, generator=generator) - 1)
        if config.diffaugment != "off":
            fakes = n if config.redraw == "each" else 1
            augment = torch.rand(batch, fakes + 1, AUGMENT_NUMBERS, generator=generator)
        return cls(counts, z, noise, view, shift, augment)

    def to(self, device: torch.device) -> "RandomDraws":
        return self if device.type == "cpu" else self._each(lambda t: to_device(t, device))

    def part(self, rank: int, world: int) -> "RandomDraws":
        """The numbers of every `world`-th image, from image `rank` on; each region keeps its share."""
        counts = tuple(torch.bincount(self.regions[rank::world], minlength=len(self.counts)).tolist())
        return self._each(lambda t: t[rank::world])._replace(counts=counts)

    def _each(self, change: Callable[[Tensor], Tensor]) -> "RandomDraws":
        changed: dict[str, Any] = {
            name: change(value) for name, value in self._asdict().items() if isinstance(value, Tensor)
        }
        return self._replace(**changed)


def warmup(step: int, over: int) -> float:
    """The share, in (0, 1], of its full value that an option has at `step` if it grows over `over` steps."""
    return min(1.0, (step + 1) / over) if over else 1.0


def decay(step: int, end: int) -> float:
    """The share of its first value that an option has at `step` if it falls to 0 at `end` (0: never)."""
    return max(0.0, 1 - step / end) if end else 1.0


@dataclass(frozen=True)
class RedrawnBatch:
    """G_F's output: `masks` (B, n, S, S), `fakes` (F, 3, S, S) for D, and for delta `read` (R, 3, S, S) with
    the codes (R, n, code_size) used there and `redrawn` (R, n), 1 for a redrawn region."""

    masks: Tensor
    fakes: Tensor
    read: Tensor
    codes: Tensor
    redrawn: Tensor


def redraw_batch(
    config: TrainConfig, f: nn.Module, G: nn.ModuleList, I: Tensor, draws: RandomDraws
) -> RedrawnBatch:
    """G_F(I, z, i): f's masks of images I (B, 3, S, S) in [-1, 1], and the images with regions redrawn."""
    seen = I if draws.view is None else view(I, draws.view[:, 1:], draws.view[:, 0], config.f_jitter_hue)
    M = f(seen, draws.noise)  # (B, n, S, S)
    z, n = draws.z, M.shape[1]
    one = torch.eye(n, device=I.device)
    if config.redraw == "one":
        where = M if draws.shift is None else shift_pixels(M, draws.shift)
        fakes, redrawn, start = [], [], 0
        for k, count in enumerate(draws.counts):
            at = slice(start, start := start + count)
            if count:
                M_k = where[at, k : k + 1]
                fakes.append(redraw(I[at], M_k, G[k](M_k, z[at, k])))
                redrawn.append(one[k].expand(count, n))
        image = torch.cat(fakes)
        return RedrawnBatch(M, image, image, z, torch.cat(redrawn))

    V = torch.stack([G_k(M[:, k : k + 1], z[:, k]) for k, G_k in enumerate(G)], 1)  # (B, n, 3, S, S)
    generated = assemble(M, V)
    everything = torch.ones(len(I), n, device=I.device)
    if config.redraw == "all":
        return RedrawnBatch(M, generated, generated, z, everything)
    each = redraw(I[:, None], M[:, :, None], V).flatten(0, 1)  # (B * n, 3, S, S), one region redrawn in each
    if config.delta_input == "generated":
        return RedrawnBatch(M, each, generated, z, everything)
    return RedrawnBatch(M, each, each, z.repeat_interleave(n, 0), one.repeat(len(I), 1))
