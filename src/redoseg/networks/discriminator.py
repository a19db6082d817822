"""D, the discriminator, and the trunk, whose architecture it shares with delta (the paper's Table 3)."""

import torch.nn.functional as F
from torch import Tensor, nn

from redoseg.networks.layers import Conv, ConvPool, SelfAttention, block_count, channel_widths

ATTENTION_SIZE = 64


class DownBlock(nn.Module):
    """Halves the side: (B, C, H, W) -> (B, C', H/2, W/2). The first block takes pixels, without a ReLU."""

    def __init__(self, channels_in: int, channels_out: int, *, first: bool = False) -> None:
        super().__init__()
        self.first = first
        self.conv1 = Conv(channels_in, channels_out)
        self.conv2 = ConvPool(channels_out, channels_out)
        self.shortcut = Conv(channels_in, channels_out, 1, padding=0)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(x if self.first else F.relu(x))
        return self.conv2(F.relu(h)) + self.shortcut(F.avg_pool2d(x, 2))


class FlatBlock(nn.Module):
    """The last block, at 4x4: (B, C, H, W) -> the same shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = Conv(channels, channels)
        self.conv2 = Conv(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.relu(self.conv1(F.relu(x))))


class Trunk(nn.Module):
    """The layers of D and of delta but the last: (B, 3, S, S) in [-1, 1] -> (B, features), a sum over pixels.
    Channels are `width` after the first block and double with every block, to at most 16 times that, until
    the side is 4. `attention` is added at side 64, or after the first block for images smaller than 128."""

    def __init__(self, size: int, width: int, attention: bool) -> None:
        super().__init__()
        blocks = block_count(size)
        widths = [3, *channel_widths(width, blocks)]
        layers: list[nn.Module] = []
        for k in range(blocks):
            layers.append(DownBlock(widths[k], widths[k + 1], first=k == 0))
            if attention and size // 2 ** (k + 1) == min(ATTENTION_SIZE, size // 2):
                layers.append(SelfAttention(widths[k + 1]))
        self.layers = nn.Sequential(*layers, FlatBlock(widths[-1]))
        self.features = widths[-1]

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.layers(images).float()
        return features.sum((2, 3))


class Discriminator(nn.Module):
    """D: images (B, 3, S, S) in [-1, 1] -> scores (B,), high for real. Source: the paper's Table 3."""

    def __init__(self, size: int = 128, width: int = 64, attention: bool = True) -> None:
        super().__init__()
        self.trunk = Trunk(size, width, attention)
        self.head = nn.Linear(self.trunk.features, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.trunk(images)).float()[:, 0]
