"""G_F(I, z, i): what is drawn at random for a batch, and the images redrawn with it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from redoseg.config import TrainConfig
from redoseg.method.augmentation import AUGMENT_NUMBERS, SHIFT_NUMBERS, VIEW_NUMBERS, shifted, view
from redoseg.method.compositing import assemble, choose_regions, redraw
from redoseg.tensors import to_device


class Codes(NamedTuple):
    """What is drawn at random for one batch of B images.

    counts: how many of the images each region is redrawn in, for region 0 the first counts[0], and so on.
    z (B, n, code_size): the codes. Where their options are on, noise (B, 1 or n, S, S) on f's logits; view
    (B, 1 + 6) for what f sees, strength first; shift (B, 2) of the redrawn region, as shares of the side;
    augment (B, R + 1, 7) for what D is shown: the R fakes of an image, and a real one.
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
    def sample(cls, config: TrainConfig, generator: torch.Generator, step: int = 0) -> "Codes":
        batch, n = config.batch, config.n
        z = torch.randn(batch, n, config.code_size, generator=generator)
        counts = tuple(torch.bincount(choose_regions(batch, n, generator), minlength=n).tolist())
        noise = view = shift = augment = None
        if config.mask_noise:
            noise = torch.randn(batch, 1 if n == 2 else n, config.size, config.size, generator=generator)
            noise = config.mask_noise * grown(step, config.lr_f_warmup) * noise
        if config.f_jitter:
            view = torch.rand(batch, 1 + VIEW_NUMBERS, generator=generator)
            view[:, 0] = config.f_jitter * faded(step, config.f_jitter_fade)
        if config.shift:
            shift = config.shift * (2 * torch.rand(batch, SHIFT_NUMBERS, generator=generator) - 1)
        if config.diffaugment != "off":
            fakes = n if config.redraw == "each" else 1
            augment = torch.rand(batch, fakes + 1, AUGMENT_NUMBERS, generator=generator)
        return cls(counts, z, noise, view, shift, augment)

    def to(self, device: torch.device) -> "Codes":
        return self if device.type == "cpu" else self._each(lambda t: to_device(t, device))

    def part(self, rank: int, world: int) -> "Codes":
        """Those of every `world`-th image, from image `rank` on: each region keeps its share."""
        counts = tuple(torch.bincount(self.regions[rank::world], minlength=len(self.counts)).tolist())
        return self._each(lambda t: t[rank::world])._replace(counts=counts)

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Codes":
        changed: dict[str, Any] = {
            name: change(value) for name, value in self._asdict().items() if isinstance(value, Tensor)
        }
        return self._replace(**changed)


def grown(step: int, warmup: int) -> float:
    """Share of its full value that something has at `step` if it grows linearly over `warmup` steps."""
    return min(1.0, (step + 1) / warmup) if warmup else 1.0


def faded(step: int, end: int) -> float:
    """Share of its first value that something has at `step` if it falls linearly to 0 at `end`; 0: never."""
    return max(0.0, 1 - step / end) if end else 1.0


@dataclass(frozen=True)
class Drawing:
    """G_F's output: `fakes` (F, 3, S, S) for D, `read` (R, 3, S, S) for delta, with what was drawn there:
    codes (R, n, code_size) and `redrawn` (R, n), 1 for a redrawn region. `masks` (B, n, S, S)."""

    masks: Tensor
    fakes: Tensor
    read: Tensor
    codes: Tensor
    redrawn: Tensor


def draw(config: TrainConfig, f: nn.Module, G: nn.ModuleList, I: Tensor, drawn: Codes) -> Drawing:
    """G_F(I, z, i): composition, drawing, assembling. I (B, 3, S, S) in [-1, 1]."""
    seen = I if drawn.view is None else view(I, drawn.view[:, 1:], drawn.view[:, 0], config.f_jitter_hue)
    M = f(seen, drawn.noise)  # (B, n, S, S)
    z, n = drawn.z, M.shape[1]
    one = torch.eye(n, device=I.device)
    if config.redraw == "one":
        where = M if drawn.shift is None else shifted(M, drawn.shift)
        fakes, redrawn, start = [], [], 0
        for k, count in enumerate(drawn.counts):
            at = slice(start, start := start + count)
            if count:
                M_k = where[at, k : k + 1]
                fakes.append(redraw(I[at], M_k, G[k](M_k, z[at, k])))
                redrawn.append(one[k].expand(count, n))
        image = torch.cat(fakes)
        return Drawing(M, image, image, z, torch.cat(redrawn))

    V = torch.stack([G_k(M[:, k : k + 1], z[:, k]) for k, G_k in enumerate(G)], 1)  # (B, n, 3, S, S)
    generated = assemble(M, V)
    everything = torch.ones(len(I), n, device=I.device)
    if config.redraw == "all":
        return Drawing(M, generated, generated, z, everything)
    each = redraw(I[:, None], M[:, :, None], V).flatten(0, 1)  # (B * n, 3, S, S), one region redrawn in each
    if config.delta_input == "generated":
        return Drawing(M, each, generated, z, everything)
    return Drawing(M, each, each, z.repeat_interleave(n, 0), one.repeat(len(I), 1))
