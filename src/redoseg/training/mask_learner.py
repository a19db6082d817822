"""f moved towards masks that are given: for distilling, and for --labelled alone (`supervised`)."""

import copy
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from redoseg.config import TrainConfig
from redoseg.method.algorithm import Metrics, divergence, update_ema
from redoseg.method.compiling import compiling, should_compile
from redoseg.method.losses import masked_cross_entropy
from redoseg.networks.build import build_mask_network
from redoseg.networks.mask import MaskNetwork
from redoseg.tensors import working_precision
from redoseg.training.distributed import SingleProcess

CURE = "try a smaller --lr, or --precision float32"


class MaskLearner:
    """A mask network, its moving average, and its update. Region r is channel r, as in the masks given.

    Of `config` these count: what f is built from, `lr_f`, `weight_decay_f`, `ema_half_life`, `batch`,
    `precision` and `compile`.
    """

    def __init__(
        self, config: TrainConfig, seed: int, device: torch.device, group: SingleProcess | None = None
    ) -> None:
        """The first weights depend on `seed` alone; the global random state is left as it was."""
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
        if should_compile(config.compile, device):
            self._loss = torch.compile(self._cross_entropy, fullgraph=True, dynamic=False)
        self._finite = torch.ones((), dtype=torch.bool, device=device)

    @property
    def f(self) -> MaskNetwork:
        """The mask network to use: the moving average where one is kept."""
        return self.networks.get("f_ema", self.networks["f"])

    def precision(self) -> AbstractContextManager[object]:
        """Within, the networks work with what --precision says."""
        return working_precision(self.config.precision, self.device)

    def update(self, images: Tensor, targets: Tensor, counted: Tensor, step: int) -> Metrics:
        """Towards `targets` (B, n, S, S) where `counted` (B, 1, S, S) says so. images (B, 3, S, S)."""
        f, optimizer = self.networks["f"], self.optimizers["f"]
        with compiling():
            loss = self._loss(images, targets, counted, self._total(counted))
        self._finite &= torch.isfinite(loss.detach())
        optimizer.zero_grad(set_to_none=True)
        with compiling():  # the backward graph
            loss.backward()  # type: ignore[no-untyped-call]
        self.group.all_reduce_mean_gradients(f.parameters())
        optimizer.step()
        if "f_ema" in self.networks:
            update_ema(self.networks["f_ema"], f, self.config.ema_half_life, self.config.batch, step)
        return {"cross_entropy": loss.detach()}

    def _cross_entropy(
        self, images: Tensor, targets: Tensor, counted: Tensor, total: Tensor | None
    ) -> Tensor:
        with self.precision():
            logits = self.networks["f"].logits(images)
        return masked_cross_entropy(logits, targets, counted, total)

    def _total(self, counted: Tensor) -> Tensor | None:
        """Of several processes: the mean number of pixels that count in one, lest those of a process with few
        weigh more. The mean of the processes' gradients is then that of the whole batch."""
        if self.group.world == 1:
            return None
        total = counted.sum()
        self.group.all_reduce_mean_([total])
        return total.clamp(min=1 / self.group.world)

    def check_finite(self, step: int) -> None:
        """DivergenceError if a loss wasn't finite. To be called before anything is saved after `step`."""
        if not self._finite:
            raise divergence(f"a loss was not finite before step {step}", CURE)
