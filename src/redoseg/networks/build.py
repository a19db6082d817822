"""Builds the networks from a TrainConfig: the only place where configuration becomes modules."""

import copy
from dataclasses import dataclass

import torch
from torch import nn

from redoseg.config import TrainConfig
from redoseg.networks.code_encoder import CodeEncoder
from redoseg.networks.discriminator import Discriminator
from redoseg.networks.generator import RegionGenerator
from redoseg.networks.layers import initialise, normalise_spectrum
from redoseg.networks.mask import MaskNetwork


@dataclass(frozen=True)
class Networks:
    """The networks of the paper's Figure 1, and the moving average of f, or None if none is kept."""

    f: MaskNetwork
    G: nn.ModuleList
    D: Discriminator
    delta: CodeEncoder
    f_ema: MaskNetwork | None

    def items(self) -> dict[str, nn.Module]:
        """Each network by its name: f, G, D, delta, and f_ema if it is kept."""
        named: dict[str, nn.Module] = {"f": self.f, "G": self.G, "D": self.D, "delta": self.delta}
        return named if self.f_ema is None else named | {"f_ema": self.f_ema}


def build_mask_network(config: TrainConfig) -> MaskNetwork:
    return MaskNetwork(
        n=config.n, width=config.f_width, blocks=config.f_blocks, size=config.size, pyramid=config.f_pyramid
    )


def build_generators(config: TrainConfig) -> nn.ModuleList:
    """G_1 to G_n, without spectral norm, which `build_networks` adds."""
    width = config.resolved().g_width
    assert width is not None
    return nn.ModuleList(
        RegionGenerator(config.size, width, config.code_size, config.g_norm, config.attention)
        for _ in range(config.n)
    )


def build_networks(config: TrainConfig, seed: int, device: torch.device) -> Networks:
    """All networks, with weights that depend on `seed` alone; the global random state is left unchanged."""
    width = config.resolved().width
    assert width is not None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        f = build_mask_network(config)
        G = build_generators(config)
        D = Discriminator(config.size, width, config.attention)
        delta = CodeEncoder(config.n, config.size, width, config.code_size, config.delta_attention)
        for module in _modules_to_initialise(config, f, G, D, delta):
            initialise(module, config.init_gain)
        if config.centred_start:
            f.centre()
        normalise_spectrum(nn.ModuleList((G, D, delta)))
    f_ema = copy.deepcopy(f).requires_grad_(False).eval() if config.ema_half_life else None
    networks = Networks(f, G, D, delta, f_ema)
    for network in networks.items().values():
        network.to(device)
    return networks


def _modules_to_initialise(config: TrainConfig, *networks: nn.Module) -> list[nn.Module]:
    if config.init == "pytorch":
        return []
    if config.init == "orthogonal":
        return list(networks)
    # As the authors' code works on a GPU: it has no effect on layers with spectral norm.
    f, *others = networks
    return [f, *(layer for network in others for layer in network.modules() if isinstance(layer, nn.Linear))]
