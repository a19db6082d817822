"""The authors' training step, driven anew; their networks come from a checkout of their code.

    git clone https://github.com/mickaelChen/ReDO DIR

Their licence is non-commercial: nothing of theirs is in this repository.
"""

import importlib.util
import sys
import warnings
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn

from redoseg.config import TrainConfig


def models(folder: Path) -> ModuleType:
    """`models.py` of a checkout of the authors' code. Exits with a line where there is none."""
    spec = importlib.util.spec_from_file_location("authors_models", folder / "models.py")
    if spec is None or spec.loader is None or not (folder / "models.py").is_file():
        sys.exit(f"{folder} holds no models.py: git clone https://github.com/mickaelChen/ReDO DIR")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Reference:
    """Four networks of the authors', four Adams, and one update of each as their script orders them.

    Every region of every image is redrawn in turn, delta reads the sum of all drawn regions, D's fakes are
    drawn again without gradients; D's gradients from the generators' update are computed and dropped.
    """

    def __init__(self, folder: Path, config: TrainConfig, device: torch.device) -> None:
        theirs = models(folder)
        n, S, width, code = config.n, config.size, config.width, config.code_size
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            self.f: nn.Module = theirs._netEncM(sizex=S, nIn=3, nMasks=n, nRes=3, nf=4 * config.f_width)
            self.G: nn.Module = theirs._netGenX(
                sizex=S, nOut=3, nc=code, nf=config.g_width, nMasks=n, selfAtt=True
            )
            self.D: nn.Module = theirs._resDiscriminator128(nIn=3, nf=width, selfAtt=True)
            self.delta: nn.Module = theirs._netRecZ(sizex=S, nIn=3, nc=code, nf=width, nMasks=n)
        self.networks = {"f": self.f, "G": self.G, "D": self.D, "delta": self.delta}
        self.optimizers = {}
        for name, network in self.networks.items():
            network.to(device).train()
            self.optimizers[name] = torch.optim.Adam(
                network.parameters(),
                lr=config.lr_f if name == "f" else config.lr,
                betas=(0.0, 0.9),
                weight_decay=config.weight_decay_f if name == "f" else 0.0,
            )
        self.lambda_z, self.code = config.lambda_z, (n, code, 1, 1)

    def step(self, I: Tensor, I_real: Tensor) -> None:
        """One update of f, G and delta, one of D. Images (B, 3, S, S) in [-1, 1]."""
        for network in self.networks.values():
            network.zero_grad()
        z = torch.randn(len(I), *self.code, device=I.device)
        fakes, drawn = self._draw(I, z)
        recovered = self.delta(drawn.sum(1))
        loss = -self.D(fakes).mean() + self.lambda_z * (recovered - z).square().mean()
        loss.backward()
        for name in ("f", "G", "delta"):
            self.optimizers[name].step()

        self.D.zero_grad()
        with torch.no_grad():
            fakes, _ = self._draw(I, z)
        real, fake = self.D(I_real), self.D(fakes)
        ((1 - real).relu().mean() + (1 + fake).relu().mean()).backward()
        self.optimizers["D"].step()

    def _draw(self, I: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """Fakes (B * n, 3, S, S), one region redrawn in each, and the regions drawn (B, n, 3, S, S)."""
        M = self.f(I)
        drawn = self.G(M, z)  # masked already
        return (drawn + (1 - M[:, :, None]) * I[:, None]).flatten(0, 1), drawn
