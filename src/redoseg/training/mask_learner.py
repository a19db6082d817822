"""Trains f alone on given masks: for distillation, and for `supervised.fit` on labelled images."""

import copy

import torch
from torch import Tensor

from redoseg.config import TrainConfig
from redoseg.method.algorithm import Metrics, divergence, update_ema
from redoseg.method.compiling import compiling, should_compile
from redoseg.method.losses import masked_cross_entropy
from redoseg.method.recording import RecordedLoss, should_record
from redoseg.networks.build import build_mask_network
from redoseg.networks.mask import MaskNetwork
from redoseg.tensors import working_precision
from redoseg.training.distributed import SingleProcess

CURE = "try a smaller --lr, or --precision float32"


class MaskLearner:
    """A mask network, its moving average, and its update. Channel r of f learns channel r of the masks.
    Of `config` it uses the options of f's architecture, `lr_f`, `weight_decay_f`, `ema_half_life`, `batch`,
    `precision` and `compile`."""

    def __init__(
        self, config: TrainConfig, seed: int, device: torch.device, group: SingleProcess | None = None
    ) -> None:
        """The initial weights depend on `seed` alone; the global random state is left unchanged."""
        self.config, self.device, self.group = config, device, group or SingleProcess()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            raw = build_mask_network(config)
        raw.centre()
        self.networks = {"f": raw.to(device)}
        if config.ema_half_life:
            self.networks["f_ema"] = copy.deepcopy(raw).requires_grad_(False).eval()
        fused = device.type in ("cpu", "cuda")
        self.optimizers = {
            "f": torch.optim.Adam(
                raw.parameters(), config.lr_f, weight_decay=config.weight_decay_f, fused=fused
            )
        }
        self._loss = self._cross_entropy
        self._recorded: RecordedLoss | None = None
        if should_record(config.compile, device, alone=self.group.world == 1):
            self._recorded = RecordedLoss(
                lambda *inputs: (self._cross_entropy(*inputs), {}), raw.parameters(), [raw]
            )
        elif should_compile(config.compile, device):
            self._loss = torch.compile(self._cross_entropy, fullgraph=True, dynamic=False)
        self._finite = torch.ones((), dtype=torch.bool, device=device)

    @property
    def f(self) -> MaskNetwork:
        """The mask network to use: the moving average of f's weights if there is one, else f itself."""
        return self.networks.get("f_ema", self.networks["f"])

    def update(self, images: Tensor, targets: Tensor, counted: Tensor, step: int) -> Metrics:
        """One step of Adam on the cross-entropy between f's masks and the targets. Returns it as a metric.
        images (B, 3, S, S) in [-1, 1]; targets (B, n, S, S) and counted (B, 1, S, S), a pixel's weight, in
        [0, 1]; step counts from 0."""
        f, optimizer = self.networks["f"], self.optimizers["f"]
        inputs = images, targets, counted, self._mean_counted(counted)
        if self._recorded is not None:
            loss, _ = self._recorded(*inputs)
        else:
            with compiling():
                loss = self._loss(*inputs)
            optimizer.zero_grad(set_to_none=True)
            with compiling():  # the backward graph
                loss.backward()  # type: ignore[no-untyped-call]
            self.group.all_reduce_mean_gradients(f.parameters())
        self._finite &= torch.isfinite(loss.detach())
        optimizer.step()
        if "f_ema" in self.networks:
            update_ema(self.networks["f_ema"], f, self.config.ema_half_life, self.config.batch, step)
        return {"cross_entropy": loss.detach()}

    def _cross_entropy(
        self, images: Tensor, targets: Tensor, counted: Tensor, total: Tensor | None
    ) -> Tensor:
        with working_precision(self.config.precision, self.device):
            logits = self.networks["f"].logits(images)
        return masked_cross_entropy(logits, targets, counted, total)

    def _mean_counted(self, counted: Tensor) -> Tensor | None:
        """The mean number of counted pixels in one of several processes; None for a process alone.
        With it as divisor, the mean of the processes' gradients is that of the whole batch."""
        if self.group.world == 1:
            return None
        total = counted.sum()
        self.group.all_reduce_mean_([total])
        return total.clamp(min=1 / self.group.world)

    def check_finite(self, step: int) -> None:
        """Raise DivergenceError if a loss wasn't finite. To be called before anything is saved."""
        if not self._finite:
            raise divergence(f"a loss was not finite before step {step}", CURE)
