"""G_k, the generator of region k: from a mask and a code to the pixels of the region."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from redoseg.networks.layers import (
    ConditionalNorm,
    Conv,
    NormKind,
    SelfAttention,
    UpsampleConv,
    block_count,
    channel_widths,
)


class UpBlock(nn.Module):
    """Doubles the side: x (B, C, H, W), mask (B, 1, H, W), z (B, code_size) -> (B, C', 2H, 2W)."""

    def __init__(self, channels_in: int, channels_out: int, code_size: int, norm: NormKind) -> None:
        super().__init__()
        self.norm1 = ConditionalNorm(channels_in, code_size, norm)
        self.conv1 = UpsampleConv(channels_in + 1, channels_out, bias=False)
        self.norm2 = ConditionalNorm(channels_out, code_size, norm)
        self.conv2 = Conv(channels_out, channels_out)
        self.shortcut = Conv(channels_in, channels_out, 1, padding=0)

    def forward(self, x: Tensor, mask: Tensor, z: Tensor) -> Tensor:
        h = torch.cat((F.relu(self.norm1(x, z)), mask), 1)
        h = self.conv2(F.relu(self.norm2(self.conv1(h), z)))
        # A 1x1 convolution commutes with nearest upsampling: at the small side it costs a quarter.
        return h + F.interpolate(self.shortcut(x), scale_factor=2, mode="nearest")


class RegionGenerator(nn.Module):
    """The generator G_k of one region: mask (B, 1, S, S) in [0, 1], code z (B, code_size) -> (B, 3, S, S)
    pixels in [-1, 1], which are used where the mask is.

    Channels are `width` at full size and double with every halving of the side, to at most 16 times `width`.
    Every block and the output are given the mask, average-pooled to their side. `attention` is added before
    the last block. Source: the paper's Section 4; SAGAN.
    """

    def __init__(
        self,
        size: int = 128,
        width: int = 64,
        code_size: int = 32,
        norm: NormKind = "instance",
        attention: bool = True,
    ) -> None:
        super().__init__()
        blocks = block_count(size)
        widths = channel_widths(width, blocks)[::-1]
        self.first = nn.Linear(code_size, widths[0] * 4 * 4)
        self.blocks = nn.ModuleList(
            UpBlock(c_in, c_out, code_size, norm)
            for c_in, c_out in zip([widths[0], *widths], widths, strict=False)
        )
        self.attention = SelfAttention(widths[-2]) if attention else nn.Identity()
        self.norm = ConditionalNorm(width, code_size, norm)
        self.out = Conv(width + 1, 3)

    def forward(self, mask: Tensor, z: Tensor) -> Tensor:
        x = self.first(z).unflatten(1, (-1, 4, 4))
        for k, block in enumerate(self.blocks):
            if k == len(self.blocks) - 1:
                x = self.attention(x)
            x = block(x, F.avg_pool2d(mask, mask.shape[-1] // x.shape[-1]), z)
        h = torch.cat((F.relu(self.norm(x, z)), mask), 1)
        return torch.tanh(self.out(h).float())
