"""The student of a distillation: a mask network, its moving average, and its update."""

import copy
from contextlib import AbstractContextManager
from pathlib import Path

import torch
from torch import Tensor

from redoseg.config import TrainConfig
from redoseg.errors import DivergenceError
from redoseg.method.algorithm import Losses, move_average
from redoseg.method.losses import masked_cross_entropy
from redoseg.models.weights import flat_moments, flat_weights, load_flat
from redoseg.networks.build import build_mask_network
from redoseg.networks.mask import MaskNetwork
from redoseg.tensors import working_precision


class Student:
    """Region r is channel r: so its teacher's masks are ordered.

    `config` is its run's, in which `lr_f`, `weight_decay_f` and `ema_half_life` are the student's.
    """

    def __init__(self, config: TrainConfig, seed: int, device: torch.device) -> None:
        """The first weights depend on `seed` alone; the global random state is left as it was."""
        self.config, self.device = config, device
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            raw = build_mask_network(config)
        raw.centre()
        self.networks = {"f": raw.to(device)}
        if config.ema_half_life:
            self.networks["f_ema"] = copy.deepcopy(raw).requires_grad_(False).eval()
        self.optimiser = torch.optim.Adam(
            raw.parameters(),
            config.lr_f,
            weight_decay=config.weight_decay_f,
            fused=device.type in ("cpu", "cuda"),
        )
        self._finite = torch.ones((), dtype=torch.bool, device=device)

    @property
    def f(self) -> MaskNetwork:
        """The mask network to use: the moving average where one is kept."""
        return self.networks.get("f_ema", self.networks["f"])

    def precision(self) -> AbstractContextManager[object]:
        """Within, the networks work with what --precision says."""
        return working_precision(self.config.precision, self.device)

    def update(self, images: Tensor, targets: Tensor, counted: Tensor, step: int) -> Losses:
        """Towards `targets` (B, n, S, S) where `counted` (B, 1, S, S) says so. images (B, 3, S, S)."""
        f = self.networks["f"]
        with self.precision():
            logits = f.logits(images)
        loss = masked_cross_entropy(logits, targets, counted)
        self._finite &= torch.isfinite(loss.detach())
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        if "f_ema" in self.networks:
            move_average(self.networks["f_ema"], f, self.config.ema_half_life, self.config.batch, step)
        return {"cross_entropy": loss.detach()}

    def check_finite(self, step: int) -> None:
        """DivergenceError if a loss wasn't finite. To be called before anything is saved after `step`."""
        if not self._finite:
            raise DivergenceError(
                f"a loss was not finite before step {step}; the last checkpoint stands: try a smaller --lr, "
                "or --precision float32"
            )

    def state_dict(self, *, optimiser: bool = True) -> dict[str, Tensor]:
        """Flat: `f.*`, `f_ema.*` and, unless left out, Adam's moments as `adam.f.0.exp_avg`."""
        return flat_weights(self.networks) | (flat_moments({"f": self.optimiser}) if optimiser else {})

    def load_state_dict(self, state: dict[str, Tensor], source: Path) -> None:
        """What `state_dict` gave. ModelError, naming `source`, if it doesn't fit."""
        load_flat(self.networks, {"f": self.optimiser}, state, source)
