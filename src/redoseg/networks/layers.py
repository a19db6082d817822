"""Blocks that more than one network is built from."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NormKind = Literal["batch", "instance"]


def instance_norm(channels: int, *, affine: bool) -> nn.Module:
    """Instance normalisation. As `GroupNorm(C, C)`: the same function, twice as fast on a CPU."""
    return nn.GroupNorm(channels, channels, affine=affine)


class Conv(nn.Conv2d):
    """A convolution; after `normalise_spectrum` with spectral norm, so with W / sigma(W) in place of W.
    sigma is u W v in float32; `u` and `v` are the singular vectors that `iterate_spectrum` approximates.
    Either the weights or the result are divided by it, whichever has fewer values: deep layers have millions
    of weights and few pixels. Source: Miyato et al. 2018."""

    factor = 1.0  # by which the result of `convolve` is still to be multiplied
    u: Tensor | None  # (C',)
    v: Tensor | None  # (C * 3 * 3,)

    def __init__(
        self, channels_in: int, channels_out: int, kernel: int = 3, *, padding: int = 1, bias: bool = True
    ) -> None:
        super().__init__(channels_in, channels_out, kernel, padding=padding, bias=bias)
        self.register_buffer("u", None)
        self.register_buffer("v", None)

    def forward(self, x: Tensor) -> Tensor:
        if self.u is None and self.factor == 1:
            return self.convolve(x, self.weight, self.bias)
        scale = self.factor if self.u is None else self.factor / self._sigma()
        if self.weight.numel() < x.numel():
            return self.convolve(x, self.weight * scale, self.bias)
        y = self.convolve(x, self.weight, None)
        scaled = y.float() * scale  # in float32, so that it is rounded once: few pixels cost little
        return (scaled if self.bias is None else scaled + self.bias[:, None, None]).to(y.dtype)

    def convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The convolution without norm and `factor`: linear in weight and bias together."""
        return F.conv2d(x, weight, bias, padding=self.padding)

    def _sigma(self) -> Tensor:
        assert self.u is not None
        assert self.v is not None
        with torch.autocast(self.weight.device.type, enabled=False):
            return torch.dot(self.u, torch.mv(self.weight.flatten(1), self.v))

    @torch.no_grad()
    def iterate(self) -> None:
        """One power iteration, which brings u and v closer to those of the largest singular value."""
        assert self.u is not None
        assert self.v is not None
        W = self.weight.flatten(1)
        self.v.copy_(F.normalize(torch.mv(W.mT, self.u), dim=0, eps=1e-12))
        self.u.copy_(F.normalize(torch.mv(W, self.v), dim=0, eps=1e-12))

    @torch.no_grad()
    def fold(self) -> None:
        """Divide the weights by sigma, if spectral norm is on, and drop it: the same function remains."""
        if self.u is not None:
            self.weight /= self._sigma()
            self.u = self.v = None


def _sum_windows(x: Tensor) -> Tensor:
    """Sums over 2x2 windows at stride 1: (B, C, H, W) -> (B, C, H - 1, W - 1)."""
    x = x[:, :, 1:] + x[:, :, :-1]
    return x[..., 1:] + x[..., :-1]


class UpsampleConv(Conv):
    """Nearest upsampling by 2, then a 3x3 convolution: (B, C, H, W) -> (B, C', 2H, 2W).
    Nearest upsampling puts zeros between the pixels and sums over 2x2 windows. As the sum commutes with the
    convolution, both are a transposed convolution of stride 2 and then the sum, at a quarter of the work."""

    def convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        kernel = weight.to(x.dtype).flip(2, 3).transpose(0, 1)
        y = _sum_windows(F.conv_transpose2d(x, kernel, stride=2))
        return y if bias is None else y + bias[:, None, None].to(y.dtype)


class ConvPool(Conv):
    """A 3x3 convolution, then average pooling by 2: (B, C, H, W) -> (B, C', H/2, W/2).
    Computed as a sum over 2x2 windows, then a convolution of stride 2, at a quarter of the work."""

    factor = 0.25

    def convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return F.conv2d(_sum_windows(F.pad(x, (1, 1, 1, 1))), weight, bias, stride=2)


class ConditionalNorm(nn.Module):
    """`scale(z) * norm(x) + shift(z)`: the code sets a region's colours and textures.
    x (B, C, H, W), z (B, code_size) -> (B, C, H, W). Source: de Vries et al. 2017; scale is not `1 +
    scale`."""

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
    """SAGAN's attention: a query for each pixel, keys and values max-pooled by 2, a gain that starts at 0.
    (B, C, H, W) -> (B, C, H, W), H and W even. Source: Zhang et al. 2018, as the paper's D and G use it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.query = Conv(channels, max(channels // 8, 1), 1, padding=0, bias=False)
        self.key = Conv(channels, max(channels // 8, 1), 1, padding=0, bias=False)
        self.value = Conv(channels, channels // 2, 1, padding=0, bias=False)
        self.out = Conv(channels // 2, channels, 1, padding=0, bias=False)
        self.gain = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        q = self.query(x).flatten(2).mT  # (B, HW, C/8)
        k = F.max_pool2d(self.key(x), 2).flatten(2).mT  # (B, HW/4, C/8)
        v = F.max_pool2d(self.value(x), 2).flatten(2).mT  # (B, HW/4, C/2)
        # Fused kernels need q, k and v contiguous and of one width; padding with zeros changes no product.
        padding = (0, v.shape[-1] - q.shape[-1])
        q, k, v = (t[:, None].contiguous() for t in (F.pad(q, padding), F.pad(k, padding), v))
        attended = F.scaled_dot_product_attention(q, k, v, scale=1.0)[:, 0]
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
    """Orthogonal weights of this gain on all convolutions and linear layers; biases stay as they are.
    Raises ValueError after `normalise_spectrum`, whose singular vectors would be those of the old weights."""
    for layer in module.modules():
        if isinstance(layer, Conv) and layer.u is not None:
            raise ValueError("initialise first, then normalise_spectrum")
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.orthogonal_(layer.weight, gain)


def normalise_spectrum(network: nn.Module) -> None:
    """Spectral norm on every convolution, but not on linear layers. Source: Miyato et al. 2018.
    It isn't PyTorch's parametrization, which divides all weights at every use: see `Conv`. As there, it
    starts with fifteen power iterations."""
    for layer in network.modules():
        if isinstance(layer, Conv):
            rows, columns = layer.weight.flatten(1).shape
            layer.u = F.normalize(torch.randn(rows), dim=0)
            layer.v = F.normalize(torch.randn(columns), dim=0)
            for _ in range(15):
                layer.iterate()


def iterate_spectrum(*networks: nn.Module) -> None:
    """One power iteration of every convolution with spectral norm: due at each update of the weights."""
    for network in networks:
        for layer in network.modules():
            if isinstance(layer, Conv) and layer.u is not None:
                layer.iterate()


@contextmanager
def frozen(*networks: nn.Module) -> Iterator[None]:
    """A context in which these networks' weights get no gradient; their inputs still do."""
    changed = [p for network in networks for p in network.parameters() if p.requires_grad]
    for p in changed:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in changed:
            p.requires_grad_(True)


@contextmanager
def evaluating(*networks: nn.Module) -> Iterator[None]:
    """A context with these networks in evaluation mode, without batch statistics; then modes are restored."""
    modes = [(module, module.training) for network in networks for module in network.modules()]
    for network in networks:
        network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
