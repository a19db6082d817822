"""Algorithm 1 of the paper: the generators' update and the discriminator's."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from redoseg.config import TrainConfig
from redoseg.errors import DivergenceError
from redoseg.method import losses
from redoseg.method.augmentation import augment
from redoseg.method.compiling import compiling, should_compile
from redoseg.method.drawing import RandomDraws, redraw_batch, warmup
from redoseg.method.losses import LabelledBatch
from redoseg.method.recording import RecordedLoss, should_record
from redoseg.networks.build import build_networks
from redoseg.networks.layers import frozen, iterate_spectrum
from redoseg.tensors import working_precision

Metrics = dict[str, Tensor]
"""A step's metrics by name: scalars on the device, without a gradient."""

CURE = "try a smaller --lr and --lr-f, or --precision float32"


def divergence(what: str, cure: str = CURE) -> DivergenceError:
    """The error for something that is not finite, `what` in words, with its cure."""
    return DivergenceError(f"{what}; the last checkpoint stands: {cure}")


@torch.no_grad()
def update_ema(average: nn.Module, f: nn.Module, half_life: float, batch: int, step: int) -> None:
    """Update the moving average of f's weights. Its half-life in images is at most `half_life`, and at most a
    twentieth of the images seen so far. Source: StyleGAN2-ADA (Karras et al. 2020)."""
    half_life = min(half_life, 0.05 * batch * (step + 1))
    weight = 1 - 0.5 ** (batch / half_life)
    torch._foreach_lerp_(list(average.parameters()), list(f.parameters()), weight)


class ReDO:
    """The networks, their optimizers, and the two updates."""

    def __init__(
        self,
        config: TrainConfig,
        seed: int,
        device: torch.device,
        average_gradients: Callable[[Iterable[nn.Parameter]], None] = lambda parameters: None,
        *,
        alone: bool = True,
    ) -> None:
        """`average_gradients` averages gradients over processes, between a backward pass and its step.
        `alone`: there is one process."""
        self.config, self.device, self.average_gradients = config, device, average_gradients
        self.networks = net = build_networks(config, seed, device)
        self.asynchronous = device.type == "cuda"
        self._losses = self._generators_loss, self._discriminator_loss
        self._recorded: dict[str, RecordedLoss] = {}
        if should_record(config.compile, device, alone=alone):
            self._prepare_recording()
        elif should_compile(config.compile, device):
            self.compile()
        self._finite = torch.ones((), dtype=torch.bool, device=device)
        self.optimizers = {
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

    def _prepare_recording(self) -> None:
        """Replay both losses with their gradients as CUDA graphs, which the first steps record."""
        net = self.networks

        def generators(*inputs: Any) -> tuple[Tensor, Metrics]:
            iterate_spectrum(net.G, net.delta)
            with frozen(net.D):
                return self._generators_loss(*inputs)

        def discriminator(*inputs: Any) -> tuple[Tensor, Metrics]:
            iterate_spectrum(net.D)
            return self._discriminator_loss(*inputs), {}

        everything = [net.f, net.G, net.D, net.delta]
        learned = [p for network in (net.f, net.G, net.delta) for p in network.parameters()]
        self._recorded = {
            "generators": RecordedLoss(generators, learned, everything),
            "discriminator": RecordedLoss(discriminator, net.D.parameters(), everything),
        }

    def compile(self, **options: Any) -> None:
        """Compile both losses into one graph each. `options` go to `torch.compile`.
        They are compiled again for each way to divide the last batch % n images of a batch among the regions,
        so at most n choose batch % n times, in the first steps."""
        torch._dynamo.reset()  # graphs of another run count towards the limits, too
        most, limits = 2 * math.comb(self.config.n, self.config.batch % self.config.n), torch._dynamo.config
        limits.recompile_limit = max(limits.recompile_limit, most)
        limits.accumulated_recompile_limit = max(limits.accumulated_recompile_limit, 2 * most)
        options = {"fullgraph": True, "dynamic": False} | options
        self._losses = (
            torch.compile(self._generators_loss, **options),
            torch.compile(self._discriminator_loss, **options),
        )

    def generator_update(
        self, I: Tensor, draws: RandomDraws, step: int, labelled: LabelledBatch | None = None
    ) -> Metrics:
        """Lines 1-9: update f, G and delta. I (B, 3, S, S) in [-1, 1]; step counts from 0.
        With a `labelled` batch (--labelled), the same in all processes, f learns from its labels, too.
        Returns L_G, delta's mean squared error of a code's entry (1 if it knows nothing), and with a labelled
        batch L_sup, its cross-entropy in nats per pixel."""
        net, draws = self.networks, draws.to(self.device)
        inputs, names = (I, draws, self._binarise_weight(step), labelled), ("f", "G", "delta")
        if self._recorded:
            loss, logged = self._recorded["generators"](*inputs)
            self._step_optimizers(loss, names, step)
        else:
            iterate_spectrum(net.G, net.delta)
            with frozen(net.D):
                with compiling():
                    loss, logged = self._losses[0](*inputs)
                self._update_weights(loss, names, step)
        if net.f_ema is not None:
            update_ema(net.f_ema, net.f, self.config.ema_half_life, self.config.batch, step)
        return {name: value.detach() for name, value in logged.items()}

    def discriminator_update(self, I_real: Tensor, I_input: Tensor, draws: RandomDraws, step: int) -> Metrics:
        """Lines 10-16: update D on real images and on redrawn `I_input`; both (B, 3, S, S) in [-1, 1]."""
        draws = draws.to(self.device)
        penalised = self.config.r1 > 0 and step % self.config.r1_every == 0
        if self._recorded:
            L_D, _ = self._recorded["discriminator"](I_real, I_input, draws)
            penalty = self._gradient_penalty(I_real, draws) if penalised else L_D.new_zeros(())
            if penalised:
                penalty.backward()  # type: ignore[no-untyped-call]
            self._step_optimizers(L_D + penalty.detach(), ("D",), step)
            return {"L_D": L_D}
        iterate_spectrum(self.networks.D)
        with compiling():
            L_D = self._losses[1](I_real, I_input, draws)
        added = self._gradient_penalty(I_real, draws) if penalised else 0.0
        self._update_weights(L_D + added, ("D",), step)
        return {"L_D": L_D.detach()}

    def _generators_loss(
        self, I: Tensor, draws: RandomDraws, binarise: Tensor | None, labelled: LabelledBatch | None
    ) -> tuple[Tensor, Metrics]:
        """-L_G with all its terms, and the metrics that `generator_update` returns."""
        config, net = self.config, self.networks
        with working_precision(config.precision, self.device):
            batch = redraw_batch(config, net.f, net.G, I, draws)
            recovered = net.delta(batch.read)
            score = net.D(self._augment(batch.fakes, draws))
            logits = None if labelled is None else net.f.logits(labelled.images)
        error = losses.code_error(recovered, batch.codes, batch.redrawn)
        L_G = losses.generator_hinge(score)
        loss = L_G + config.lambda_z / (config.n * config.code_size) * error
        if config.min_region:
            loss = loss + config.min_region_weight * losses.minimal_region(batch.masks, config.min_region)
        if binarise is not None:
            loss = loss + binarise * losses.binarisation(batch.masks)
        logged = {"L_G": L_G, "z_error": error / (config.code_size * batch.redrawn.sum(1).mean())}
        if labelled is not None and logits is not None:  # not in the paper; channel k of f is label k
            logged["L_sup"] = losses.masked_cross_entropy(logits, labelled.targets, labelled.counted)
            loss = loss + config.labelled_weight * logged["L_sup"]
        return loss, logged

    def _discriminator_loss(self, I_real: Tensor, I: Tensor, draws: RandomDraws) -> Tensor:
        net = self.networks
        with working_precision(self.config.precision, self.device):
            with torch.no_grad():
                fakes = redraw_batch(self.config, net.f, net.G, I, draws).fakes
            inputs = self._augment(I_real, draws, real=True), self._augment(fakes, draws)
            score = net.D(torch.cat(inputs))
        return losses.discriminator_hinge(score[: len(I_real)], score[len(I_real) :])

    def _augment(self, images: Tensor, draws: RandomDraws, *, real: bool = False) -> Tensor:
        """The input of D for these images: with --diffaugment they are changed at random."""
        if draws.augment is None:
            return images
        numbers = draws.augment[:, -1] if real else draws.augment[:, :-1].flatten(0, 1)
        return augment(images, numbers, self.config.diffaugment)

    def _gradient_penalty(self, I_real: Tensor, draws: RandomDraws) -> Tensor:
        """R1 on real images, times r1_every for the steps without it. D is differentiated twice, so it is
        never compiled, and attention needs the one kernel that allows it."""
        images = self._augment(I_real, draws, real=True).detach().requires_grad_()
        with sdpa_kernel(SDPBackend.MATH):
            score = self.networks.D(images)
        (gradient,) = torch.autograd.grad(score.sum(), images, create_graph=True)
        return self.config.r1_every * self.config.r1 / 2 * losses.r1(gradient)

    def _binarise_weight(self, step: int) -> Tensor | None:
        """The weight at this step, as a tensor: a number would be compiled into the graph."""
        config = self.config
        if not config.binarise:
            return None
        share = min(1.0, max(0.0, (step - config.binarise_from) / config.binarise_from))
        return torch.full((), config.binarise * share, device=self.device)

    def _update_weights(self, loss: Tensor, names: tuple[str, ...], step: int) -> None:
        """The gradients of the loss, and a step of the named networks' optimizers."""
        optimizers = [self.optimizers[name] for name in names]
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        self._check_loss(loss, names, step)
        with compiling():  # the backward graph
            loss.backward()  # type: ignore[no-untyped-call]
        self.average_gradients(p for o in optimizers for p in o.param_groups[0]["params"])
        self._step(names, step)

    def _step_optimizers(self, loss: Tensor, names: tuple[str, ...], step: int) -> None:
        """A step of the named networks' optimizers, whose gradients a replay has written."""
        self._check_loss(loss, names, step)
        self._step(names, step)

    def _step(self, names: tuple[str, ...], step: int) -> None:
        for name, optimizer in ((name, self.optimizers[name]) for name in names):
            if name == "f":
                optimizer.param_groups[0]["lr"] = self._rate_of_f(step)
            optimizer.step()

    def _rate_of_f(self, step: int) -> float:
        """f's learning rate: 0 while it is frozen, then growing to --lr-f."""
        since = step - self.config.f_frozen
        return self.config.lr_f * warmup(since, self.config.lr_f_warmup) if since >= 0 else 0.0

    def _check_loss(self, loss: Tensor, names: tuple[str, ...], step: int) -> None:
        """Keep a loss that isn't finite from changing a weight. DivergenceError is raised here or, on CUDA,
        where reading the loss would mean waiting for it, by `check_finite`."""
        finite = torch.isfinite(loss.detach())
        if self.asynchronous:
            self._finite &= finite
            for name in names:  # with this the fused Adam leaves out its step
                self.optimizers[name].found_inf = (~self._finite).float()  # type: ignore[attr-defined]
        elif not finite:
            raise divergence(f"the loss of {', '.join(names)} is {loss.item()} at step {step}")

    def check_finite(self, step: int) -> None:
        """Raise DivergenceError if a loss wasn't finite. To be called before anything is saved."""
        if not self._finite:
            raise divergence(f"a loss was not finite before step {step}")
