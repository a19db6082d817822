"""delta, the network that infers a region's code from an image (the paper's Table 3)."""

from torch import Tensor, nn

from redoseg.networks.discriminator import Trunk


class CodeEncoder(nn.Module):
    """delta: images (B, 3, S, S) in [-1, 1] -> codes (B, n, code_size), with a head for each region.
    All layers but the last are shared between regions. Source: the paper's Section 4 and Table 3."""

    def __init__(
        self, n: int = 2, size: int = 128, width: int = 64, code_size: int = 32, attention: bool = False
    ) -> None:
        super().__init__()
        self.n = n
        self.trunk = Trunk(size, width, attention)
        self.heads = nn.Linear(self.trunk.features, n * code_size)

    def forward(self, images: Tensor) -> Tensor:
        return self.heads(self.trunk(images)).float().unflatten(1, (self.n, -1))
