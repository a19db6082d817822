"""Blocks that more than one network is built from."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import _SpectralNorm, spectral_norm

NormKind = Literal["batch", "instance"]


def instance_norm(channels: int, *, affine: bool) -> nn.Module:
    """Instance normalisation. As `GroupNorm(C, C)`: the same function, twice as fast on a CPU."""
    return nn.GroupNorm(channels, channels, affine=affine)


def _widened(weight: Tensor) -> Tensor:
    """(.., 3, 3) -> (.., 4, 4): the sum of the kernel in its four places on a 2x2 window."""
    shifts = ((0, 1, 0, 1), (1, 0, 0, 1), (0, 1, 1, 0), (1, 0, 1, 0))
    return torch.stack([F.pad(weight, shift) for shift in shifts]).sum(0)


class UpsampleConv(nn.Conv2d):
    """Nearest upsampling by 2, then a 3x3 convolution: (B, C, H, W) -> (B, C', 2H, 2W).

    Done as one transposed 4x4 convolution: the same function at half the work.
    """

    def __init__(self, channels_in: int, channels_out: int, *, bias: bool = True) -> None:
        super().__init__(channels_in, channels_out, 3, padding=1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        weight = _widened(self.weight.flip(2, 3)).transpose(0, 1)
        return F.conv_transpose2d(x, weight, self.bias, stride=2, padding=1)


class ConvPool(nn.Conv2d):
    """A 3x3 convolution, then average pooling by 2: (B, C, H, W) -> (B, C', H/2, W/2).

    Done as one 4x4 convolution of stride 2: the same function at half the work.
    """

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__(channels_in, channels_out, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, _widened(self.weight) / 4, self.bias, stride=2, padding=1)


class ConditionalNorm(nn.Module):
    """`scale(z) * norm(x) + shift(z)`: the code sets a region's colours and textures.

    x (B, C, H, W), z (B, code_size) -> (B, C, H, W). Source: de Vries et al. 2017; scale is not `1 + scale`.
    """

    def __init__(self, channels: int, code_size: int, kind: NormKind) -> None:
        super().__init__()
        if kind == "batch":
            self.norm: nn.Module = nn.BatchNorm2d(channels, affine=False)
        else:
            self.norm = instance_norm(channels, affine=False)
        self.scale = nn.Linear(code_size, channels)
        self.shift = nn.Linear(code_size, channels)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        scale, shift = self.scale(z)[:, :, None, None], self.shift(z)[:, :, None, None]
        return torch.addcmul(shift, scale, self.norm(x).to(scale.dtype))


class SelfAttention(nn.Module):
    """SAGAN's attention: queries at every pixel, keys and values max-pooled by 2, a gain that starts at 0.

    (B, C, H, W) -> (B, C, H, W), H and W even. Source: Zhang et al. 2018, as the paper's D and G use it.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.query = nn.Conv2d(channels, max(channels // 8, 1), 1, bias=False)
        self.key = nn.Conv2d(channels, max(channels // 8, 1), 1, bias=False)
        self.value = nn.Conv2d(channels, channels // 2, 1, bias=False)
        self.out = nn.Conv2d(channels // 2, channels, 1, bias=False)
        self.gain = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        q = self.query(x).flatten(2).mT  # (B, HW, C/8)
        k = F.max_pool2d(self.key(x), 2).flatten(2).mT  # (B, HW/4, C/8)
        v = F.max_pool2d(self.value(x), 2).flatten(2).mT  # (B, HW/4, C/2)
        # The fused kernels want one width for q, k and v; zeros change no product.
        padding = (0, v.shape[-1] - q.shape[-1])
        q, k = F.pad(q, padding), F.pad(k, padding)
        attended = F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None], scale=1.0)[:, 0]
        attended = attended.mT.reshape(len(x), -1, height, width)
        return x + self.gain * self.out(attended)


def block_count(size: int) -> int:
    """How many halvings bring an image of side `size` (32, 64, 128, 256) to 4x4."""
    if size < 32 or size.bit_count() != 1:
        raise ValueError(f"size is {size}: use 32, 64, 128 or 256")
    return size.bit_length() - 3


def channel_widths(width: int, blocks: int) -> list[int]:
    """Channels after each of `blocks` halvings of the side: doubling inward, at most 16 times `width`."""
    return [width * min(2**k, 16) for k in range(blocks)]


def initialise(module: nn.Module, gain: float) -> None:
    """Orthogonal weights of this gain on all convolutions and linear layers; biases stay as they were drawn.

    To be called before `normalise_spectrum`: on wrapped weights it would silently change nothing.
    """
    for layer in module.modules():
        if parametrize.is_parametrized(layer):
            raise ValueError("initialise first, then normalise_spectrum: afterwards it has no effect")
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.orthogonal_(layer.weight, gain)


def normalise_spectrum(network: nn.Module) -> None:
    """Spectral norm on every convolution (linear layers stay free). Source: Miyato et al. 2018."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            spectral_norm(module)


@contextmanager
def frozen(*networks: nn.Module) -> Iterator[None]:
    """Within, these networks' weights get no gradient and their power iterations stand still.

    Gradients still flow through them to their inputs.
    """
    changed = [p for network in networks for p in network.parameters() if p.requires_grad]
    norms = [m for network in networks for m in network.modules() if isinstance(m, _SpectralNorm)]
    iterations = [m for m in norms if m.training]
    for p in changed:
        p.requires_grad_(False)
    for m in iterations:
        m.train(False)
    try:
        yield
    finally:
        for p in changed:
            p.requires_grad_(True)
        for m in iterations:
            m.train(True)
