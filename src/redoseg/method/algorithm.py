"""Algorithm 1 of the paper: the generators' update and the discriminator's."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch._dynamo.exc import FailOnRecompileLimitHit, TorchDynamoException
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._triton import has_triton

from redoseg.config import TrainConfig
from redoseg.errors import ConfigError, DivergenceError
from redoseg.method.augmentation import augmented
from redoseg.method.drawing import Codes, draw, grown
from redoseg.method.losses import (
    Lesson,
    binarisation,
    code_error,
    discriminator_hinge,
    generator_hinge,
    masked_cross_entropy,
    minimal_region,
    r1,
)
from redoseg.models.weights import flat_moments, flat_weights, load_flat
from redoseg.networks.build import Networks, build_networks
from redoseg.networks.layers import frozen, iterate_spectrum
from redoseg.networks.mask import MaskNetwork
from redoseg.tensors import working_precision
from redoseg.training.distributed import Group

Losses = dict[str, Tensor]


@contextmanager
def _compiling() -> Iterator[None]:
    """Within, graphs are compiled when they are first needed: a ConfigError if that can't be done."""
    try:
        yield
    except (TorchDynamoException, FailOnRecompileLimitHit) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(
            f"the steps can't be compiled here ({reason}): use --compile off, or install the compiler that "
            "this takes (a C++ compiler; for CUDA, Triton and a C compiler)"
        ) from error


def divergence(what: str) -> DivergenceError:
    """`what` is no finite number, and what to do."""
    return DivergenceError(
        f"{what}; the last checkpoint stands: try a smaller --lr and --lr-f, or --precision float32"
    )


@torch.no_grad()
def move_average(average: nn.Module, f: nn.Module, half_life: float, batch: int, step: int) -> None:
    """One step of the moving average of f's weights. `half_life`, in images, grows with the run, as in
    StyleGAN2-ADA: at first it is a twentieth of what was seen."""
    half_life = min(half_life, 0.05 * batch * (step + 1))
    weight = 1 - 0.5 ** (batch / half_life)
    torch._foreach_lerp_(list(average.parameters()), list(f.parameters()), weight)


class Game:
    """The networks, their optimisers, and the two updates."""

    def __init__(
        self, config: TrainConfig, seed: int, device: torch.device, group: Group | None = None
    ) -> None:
        """`group`: the processes that train together, each on its part of every batch."""
        self.config, self.device, self.group = config, device, group or Group()
        self.networks: Networks = build_networks(config, seed, device)
        self.group.join_statistics(self.networks.G)
        net = self.networks
        self.asynchronous = device.type == "cuda"
        self._losses = self._generators_loss, self._discriminator_loss
        if config.compile == "on" or (config.compile == "auto" and device.type == "cuda" and has_triton()):
            self.compile()
        self._finite = torch.ones((), dtype=torch.bool, device=device)
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

    def compile(self, **options: Any) -> None:
        """Both losses become one graph each. `options` go to `torch.compile`.

        One is made for each way in which the last images of a batch fall to regions, so at most n choose
        batch % n of them, in the first steps.
        """
        torch._dynamo.reset()  # graphs of another game count, too
        most, limits = 2 * math.comb(self.config.n, self.config.batch % self.config.n), torch._dynamo.config
        limits.recompile_limit = max(limits.recompile_limit, most)
        limits.accumulated_recompile_limit = max(limits.accumulated_recompile_limit, 2 * most)
        how = {"fullgraph": True, "dynamic": False} | options
        self._losses = (
            torch.compile(self._generators_loss, **how),
            torch.compile(self._discriminator_loss, **how),
        )

    @property
    def f(self) -> MaskNetwork:
        """The mask network to use: the moving average where one is kept."""
        return self.networks.f if self.networks.f_ema is None else self.networks.f_ema

    def state_dict(
        self, networks: tuple[str, ...] | None = None, *, optimisers: bool = True
    ) -> dict[str, Tensor]:
        """Flat: `f.*`, `f_ema.*`, `G.*`, `D.*`, `delta.*`, and optimisers' moments as `adam.f.0.exp_avg`."""
        chosen = {
            letter: network
            for letter, network in self.networks.items().items()
            if networks is None or letter in networks
        }
        return flat_weights(chosen) | (flat_moments(self.optimisers) if optimisers else {})

    def load_state_dict(self, state: dict[str, Tensor], source: Path) -> None:
        """What `state_dict` gave. ModelError, naming `source`, if it doesn't fit."""
        load_flat(self.networks.items(), self.optimisers, state, source)

    def generator_update(self, I: Tensor, drawn: Codes, step: int, lesson: Lesson | None = None) -> Losses:
        """Lines 1-9: f, G and delta are moved. I (B, 3, S, S) in [-1, 1]; step counts from 0.

        With a `lesson` (--labelled) f is moved towards its labels, too; all processes are given the same one.
        The losses to log: L_G, delta's mean squared error of a code's entry, 1 if it knows nothing, and
        with a lesson L_sup, its cross-entropy in nats for a pixel.
        """
        net, drawn = self.networks, drawn.to(self.device)
        iterate_spectrum(net.G, net.delta)
        with frozen(net.D):
            with _compiling():
                loss, logged = self._losses[0](I, drawn, self._binarise_weight(step), lesson)
            self._move(loss, ("f", "G", "delta"), step)
        self._average(step)
        return {name: value.detach() for name, value in logged.items()}

    def discriminator_update(self, I_real: Tensor, I_input: Tensor, drawn: Codes, step: int) -> Losses:
        """Lines 10-16: D is moved. Images (B, 3, S, S) in [-1, 1]."""
        drawn = drawn.to(self.device)
        iterate_spectrum(self.networks.D)
        with _compiling():
            L_D = self._losses[1](I_real, I_input, drawn)
        penalty = self._gradient_penalty(I_real, drawn) if self._penalised(step) else 0.0
        self._move(L_D + penalty, ("D",), step)
        return {"L_D": L_D.detach()}

    def _generators_loss(
        self, I: Tensor, drawn: Codes, binarise: Tensor | None, lesson: Lesson | None
    ) -> tuple[Tensor, Losses]:
        """-L_G with all its terms; what is logged: -L_G alone, delta's error, the lesson's."""
        config, net = self.config, self.networks
        with working_precision(config.precision, self.device):
            drawing = draw(config, net.f, net.G, I, drawn)
            recovered = net.delta(drawing.read)
            score = net.D(self._shown(drawing.fakes, drawn))
            taught = None if lesson is None else net.f.logits(lesson.images)
        error = code_error(recovered, drawing.codes, drawing.redrawn)
        L_G = generator_hinge(score)
        loss = L_G + config.lambda_z / (config.n * config.code_size) * error
        if config.min_region:
            loss = loss + config.min_region_weight * minimal_region(drawing.masks, config.min_region)
        if binarise is not None:
            loss = loss + binarise * binarisation(drawing.masks)
        logged = {"L_G": L_G, "z_error": error / (config.code_size * drawing.redrawn.sum(1).mean())}
        if lesson is not None and taught is not None:  # not in the paper; channel k of f is label k
            logged["L_sup"] = masked_cross_entropy(taught, lesson.targets, lesson.counted)
            loss = loss + config.labelled_weight * logged["L_sup"]
        return loss, logged

    def _discriminator_loss(self, I_real: Tensor, I: Tensor, drawn: Codes) -> Tensor:
        net = self.networks
        with working_precision(self.config.precision, self.device):
            with torch.no_grad():
                fakes = draw(self.config, net.f, net.G, I, drawn).fakes
            shown = self._shown(I_real, drawn, real=True), self._shown(fakes, drawn)
            score = net.D(torch.cat(shown))
        return discriminator_hinge(score[: len(I_real)], score[len(I_real) :])

    def _shown(self, images: Tensor, drawn: Codes, *, real: bool = False) -> Tensor:
        """What D is shown of images: with --diffaugment, changed at random."""
        if drawn.augment is None:
            return images
        numbers = drawn.augment[:, -1] if real else drawn.augment[:, :-1].flatten(0, 1)
        return augmented(images, numbers, self.config.diffaugment)

    def _penalised(self, step: int) -> bool:
        return self.config.r1 > 0 and step % self.config.r1_every == 0

    def _gradient_penalty(self, I_real: Tensor, drawn: Codes) -> Tensor:
        """R1 on real images, weighed for the steps between. D is differentiated twice, so this is never
        compiled, and attention takes the one kernel that can be."""
        images = self._shown(I_real, drawn, real=True).detach().requires_grad_()
        with sdpa_kernel(SDPBackend.MATH):
            score = self.networks.D(images)
        (gradient,) = torch.autograd.grad(score.sum(), images, create_graph=True)
        return self.config.r1_every * self.config.r1 / 2 * r1(gradient)

    def _binarise_weight(self, step: int) -> Tensor | None:
        """As a tensor: a number would be compiled into the step."""
        config = self.config
        if not config.binarise:
            return None
        share = min(1.0, max(0.0, (step - config.binarise_from) / config.binarise_from))
        return torch.full((), config.binarise * share, device=self.device)

    def _move(self, loss: Tensor, names: tuple[str, ...], step: int) -> None:
        optimisers = [self.optimisers[name] for name in names]
        for optimiser in optimisers:
            optimiser.zero_grad(set_to_none=True)
        self._check(loss, names, step)
        with _compiling():  # the backward graph
            loss.backward()  # type: ignore[no-untyped-call]
        self.group.mean_gradients(p for o in optimisers for p in o.param_groups[0]["params"])
        for name, optimiser in zip(names, optimisers, strict=True):
            if name == "f":
                optimiser.param_groups[0]["lr"] = self.config.lr_f * grown(step, self.config.lr_f_warmup)
            optimiser.step()

    def _check(self, loss: Tensor, names: tuple[str, ...], step: int) -> None:
        """A loss that isn't finite moves no weight. DivergenceError, at once or, where to look at a number is
        to wait for it, from `check_finite`."""
        finite = torch.isfinite(loss.detach())
        if self.asynchronous:
            self._finite &= finite
            for name in names:  # the fused Adam's own way to leave out a step
                self.optimisers[name].found_inf = (~self._finite).float()  # type: ignore[attr-defined]
        elif not finite:
            raise divergence(f"the loss of {', '.join(names)} is {loss.item()} at step {step}")

    def check_finite(self, step: int) -> None:
        """DivergenceError if a loss wasn't finite. To be called before anything is saved after `step`."""
        if not self._finite:
            raise divergence(f"a loss was not finite before step {step}")

    def _average(self, step: int) -> None:
        if self.networks.f_ema is not None:
            move_average(
                self.networks.f_ema, self.networks.f, self.config.ema_half_life, self.config.batch, step
            )
