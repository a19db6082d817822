"""Algorithm 1 of the paper: the generators' update and the discriminator's."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from redoseg.checkpoint import load_network
from redoseg.compositing import assemble, choose_regions, redraw
from redoseg.config import TrainConfig
from redoseg.errors import DivergenceError
from redoseg.losses import (
    binarisation,
    code_error,
    discriminator_hinge,
    generator_hinge,
    minimal_region,
)
from redoseg.networks.build import Networks, build_networks
from redoseg.networks.layers import frozen
from redoseg.networks.mask import MaskNetwork

Losses = dict[str, Tensor]


@dataclass(frozen=True)
class Codes:
    """What is drawn at random for one batch: the regions i (B,), ascending, codes z (B, n, code_size), and
    with --mask-noise the noise on f's logits (B, 1 or n, S, S)."""

    regions: Tensor
    z: Tensor
    noise: Tensor | None = None

    @classmethod
    def sample(cls, config: TrainConfig, generator: torch.Generator, step: int = 0) -> "Codes":
        z = torch.randn(config.batch, config.n, config.code_size, generator=generator)
        regions = choose_regions(config.batch, config.n, generator)
        if not config.mask_noise:
            return cls(regions, z)
        shape = (config.batch, 1 if config.n == 2 else config.n, config.size, config.size)
        deviation = config.mask_noise * grown(step, config.lr_f_warmup)
        return cls(regions, z, deviation * torch.randn(shape, generator=generator))


def grown(step: int, warmup: int) -> float:
    """Share of its full value that something has at `step` if it grows linearly over `warmup` steps."""
    return min(1.0, (step + 1) / warmup) if warmup else 1.0


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
    noise = None if drawn.noise is None else drawn.noise.to(I.device, non_blocking=True)
    M = f(I, noise)  # (B, n, S, S)
    z = drawn.z.to(I.device, non_blocking=True)
    n = M.shape[1]
    if config.redraw == "one":
        redrawn = torch.eye(n, device=I.device)[drawn.regions.to(I.device)]  # (B, n)
        fakes, start = [], 0
        for k, count in enumerate(torch.bincount(drawn.regions, minlength=n).tolist()):
            at = slice(start, start := start + count)
            if count:
                M_k = M[at, k : k + 1]
                fakes.append(redraw(I[at], M_k, G[k](M_k, z[at, k])))
        image = torch.cat(fakes)
        return Drawing(M, image, image, z, redrawn)

    V = torch.stack([G_k(M[:, k : k + 1], z[:, k]) for k, G_k in enumerate(G)], 1)  # (B, n, 3, S, S)
    generated = assemble(M, V)
    everything = torch.ones(len(I), n, device=I.device)
    if config.redraw == "all":
        return Drawing(M, generated, generated, z, everything)
    each = redraw(I[:, None], M[:, :, None], V).flatten(0, 1)  # (B * n, 3, S, S), one region redrawn in each
    if config.delta_input == "generated":
        return Drawing(M, each, generated, z, everything)
    codes = z.repeat_interleave(n, 0)
    return Drawing(M, each, each, codes, torch.eye(n, device=I.device).repeat(len(I), 1))


class Game:
    """The networks, their optimisers, and the two updates."""

    def __init__(self, config: TrainConfig, seed: int, device: torch.device) -> None:
        self.config, self.device = config, device
        self.networks: Networks = build_networks(config, seed, device)
        net = self.networks
        self.optimisers = {
            "f": self._adam(net.f, config.lr_f, config.weight_decay_f),
            "G": self._adam(net.G, config.lr),
            "D": self._adam(net.D, config.lr),
            "delta": self._adam(net.delta, config.lr),
        }

    def _adam(self, network: nn.Module, lr: float, weight_decay: float = 0.0) -> torch.optim.Adam:
        fused = self.device.type in ("cpu", "cuda")
        return torch.optim.Adam(
            network.parameters(), lr, betas=(0.0, 0.9), weight_decay=weight_decay, fused=fused
        )

    @property
    def f(self) -> MaskNetwork:
        """The mask network to use: the moving average where one is kept."""
        return self.networks.f if self.networks.f_ema is None else self.networks.f_ema

    def state_dict(
        self, networks: tuple[str, ...] | None = None, *, optimisers: bool = True
    ) -> dict[str, Tensor]:
        """Flat: `f.*`, `f_ema.*`, `G.*`, `D.*`, `delta.*`, and optimisers' moments as `adam.f.0.exp_avg`."""
        state = {
            f"{letter}.{name}": tensor
            for letter, network in self.networks.items().items()
            if networks is None or letter in networks
            for name, tensor in network.state_dict().items()
        }
        if optimisers:
            for letter, optimiser in self.optimisers.items():
                for index, moments in optimiser.state_dict()["state"].items():
                    state |= {f"adam.{letter}.{index}.{name}": moment for name, moment in moments.items()}
        return state

    def load_state_dict(self, state: dict[str, Tensor], source: Path) -> None:
        """What `state_dict` gave. ModelError, naming `source`, if it doesn't fit."""
        for letter, network in self.networks.items().items():
            load_network(network, state, letter, source)
        for letter, optimiser in self.optimisers.items():
            moments: dict[int, dict[str, Tensor]] = {}
            for name, tensor in state.items():
                if name.startswith(f"adam.{letter}."):
                    index, moment = name.removeprefix(f"adam.{letter}.").split(".")
                    moments.setdefault(int(index), {})[moment] = tensor
            optimiser.load_state_dict(optimiser.state_dict() | {"state": moments})

    def generator_update(self, I: Tensor, drawn: Codes, step: int) -> Losses:
        """Lines 1-9: f, G and delta are moved. I (B, 3, S, S) in [-1, 1]; step counts from 0.

        The losses to log: L_G, and delta's mean squared error of a code's entry: 1 if it knows nothing.
        """
        config, net = self.config, self.networks
        with frozen(net.D):
            with self._precision():
                drawing = draw(config, net.f, net.G, I, drawn)
                recovered = net.delta(drawing.read)
                score = net.D(drawing.fakes)
            error = code_error(recovered, drawing.codes, drawing.redrawn)
            L_G, L_z = generator_hinge(score), config.lambda_z / (config.n * config.code_size) * error
            loss = L_G + L_z + self._mask_terms(drawing.masks, step)
            self._move(loss, ("f", "G", "delta"), step)
        self._average(step)
        entries = config.code_size * drawing.redrawn.sum(1).mean()
        return {"L_G": L_G.detach(), "z_error": error.detach() / entries}

    def discriminator_update(self, I_real: Tensor, I_input: Tensor, drawn: Codes, step: int) -> Losses:
        """Lines 10-16: D is moved. Images (B, 3, S, S) in [-1, 1]."""
        net = self.networks
        with self._precision():
            with torch.no_grad(), frozen(net.G):
                fakes = draw(self.config, net.f, net.G, I_input, drawn).fakes
            score = net.D(torch.cat((I_real, fakes)))
        L_D = discriminator_hinge(score[: len(I_real)], score[len(I_real) :])
        self._move(L_D, ("D",), step)
        return {"L_D": L_D.detach()}

    def _precision(self) -> AbstractContextManager[object]:
        return torch.autocast(
            self.device.type, torch.bfloat16, enabled=self.config.precision == "bfloat16", cache_enabled=False
        )

    def _mask_terms(self, masks: Tensor, step: int) -> Tensor:
        config, terms = self.config, torch.zeros((), device=masks.device)
        if config.min_region:
            terms = terms + config.min_region_weight * minimal_region(masks, config.min_region)
        if config.binarise and step >= config.binarise_from:
            share = min(1.0, (step - config.binarise_from) / config.binarise_from)
            terms = terms + config.binarise * share * binarisation(masks)
        return terms

    def _move(self, loss: Tensor, names: tuple[str, ...], step: int) -> None:
        if not torch.isfinite(loss):
            raise DivergenceError(
                f"the loss of {', '.join(names)} is {loss.item()} at step {step}; the last "
                "checkpoint stands: try a smaller --lr and --lr-f, or --precision float32"
            )
        for name in names:
            self.optimisers[name].zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        for name in names:
            if name == "f":
                rate = self.config.lr_f * grown(step, self.config.lr_f_warmup)
                self.optimisers[name].param_groups[0]["lr"] = rate
            self.optimisers[name].step()

    @torch.no_grad()
    def _average(self, step: int) -> None:
        """The moving average of f; its half-life grows with the run, as in StyleGAN2-ADA."""
        if self.networks.f_ema is None:
            return
        batch = self.config.batch
        half_life = min(self.config.ema_half_life, 0.05 * batch * (step + 1))
        weight = 1 - 0.5 ** (batch / half_life)
        torch._foreach_lerp_(
            list(self.networks.f_ema.parameters()), list(self.networks.f.parameters()), weight
        )
