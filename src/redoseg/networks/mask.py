"""f, the mask network: from an image to n soft masks (the paper's Table 2)."""

import torch
import torch.nn.functional as F
from huggingface_hub import PyTorchModelHubMixin
from torch import Tensor, nn

from redoseg.networks.layers import UpsampleConv, instance_norm

PYRAMID_LEVELS = (1, 2, 3, 6)

README = """---
{{ card_data }}
---

# A mask network of redoseg

This folder is a model: it finds the object in a photo. In a run of `redoseg train` or `redoseg distill` it
is the network that the run has learned, in its last checkpoint.

    redoseg segment THIS-FOLDER PHOTOS --out MASKS

or in Python `redoseg.Segmenter.from_pretrained("THIS-FOLDER")("photo.jpg")`, which gives (n, H, W) float32,
background first.

| file | |
| --- | --- |
| `config.json`, `model.safetensors` | the network, for PyTorch |
| `mask.onnx`, where it is there | the same for ONNX Runtime: segmenting needs no PyTorch |
| `refining.json`, where it is there | the thresholds from which masks are refined along a photo's outlines |

It has no card: `redoseg export RUN --hub-folder DIR` writes the same with one, which says what it was trained
on and how good it is.
"""
"""README.md of a model's folder. The hub's own would say that the model was pushed there."""


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions and a skip, normalised after the sum: (B, C, H, W) -> the same shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm1 = instance_norm(channels, affine=True)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm2 = instance_norm(channels, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(x + self.conv2(h)))


class PyramidPooling(nn.Module):
    """Averages over 1, 2x2, 3x3 and 6x6 windows, one channel each, beside the input (Zhao et al. 2017).
    (B, C, H, W) -> (B, C + 4, H, W), H and W at least 6. The projections are applied first, so that 4
    channels are averaged and not C: the two commute. Averaging and resizing are matrix products, which ONNX
    has for any H and W."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.projections = nn.ModuleList(nn.Conv2d(channels, 1, 1) for _ in PYRAMID_LEVELS)

    def forward(self, x: Tensor) -> Tensor:
        weight = torch.cat([project.get_parameter("weight") for project in self.projections])
        bias = torch.cat([project.get_parameter("bias") for project in self.projections])
        y = F.conv2d(x, weight, bias)  # (B, 4, H, W)
        with torch.autocast(x.device.type, enabled=False):
            y = y.to(torch.promote_types(y.dtype, torch.float32))
            (pool_h, resize_h), (pool_w, resize_w) = (_pooling_matrices(side, y) for side in y.shape[-2:])
            y = resize_h @ (pool_h @ y @ pool_w.mT) @ resize_w.mT
        return torch.cat((x, y.to(x.dtype)), 1)


def _pooling_matrices(side: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Matrices (4, K, side) that average over the windows of each level, (4, side, K) that resize
    bilinearly. As in the authors' code, windows are floor(side / level) long, and there are as many as
    fit; this isn't adaptive pooling. (At sides of 41, 47, 55 and some others a count is one too few by
    rounding; as networks were trained and exported with that, it stays.) K is the largest possible number
    of windows: surplus ones get no weight in resizing."""
    pixel = torch.arange(side, device=like.device, dtype=like.dtype)
    k = torch.arange(2 * max(PYRAMID_LEVELS) - 1, device=like.device, dtype=like.dtype)
    level = torch.stack([like.new_full((1, 1), level) for level in PYRAMID_LEVELS])  # no copy to wait for
    window = (side / level).floor()
    count = (side / window).floor()
    pool = ((pixel / window).floor() == k[:, None]).to(like.dtype) / window
    centre = (pixel[:, None] + 0.5) * (count / side) - 0.5  # of a pixel, in windows
    resize = 1 - (torch.minimum(centre.relu(), count - 1) - k).abs()
    return pool, resize.relu()


class MaskNetwork(
    nn.Module,
    PyTorchModelHubMixin,
    library_name="redoseg",
    paper_url="https://arxiv.org/abs/1905.13539",
    license="apache-2.0",
    tags=["image-segmentation", "unsupervised", "redo"],
    model_card_template=README,
):
    """The mask network f: images (B, 3, H, W) in [-1, 1] to masks (B, n, H, W) in [0, 1] that sum to one.

    H and W are multiples of 4, from 32; other sides raise ValueError. `n` is the number of regions,
    background included; `width` is the number of channels at full size, `blocks` that of residual blocks;
    `size` is the side of the images that it is trained on. `pyramid` adds averages over the image to the
    deepest features. Which channel becomes which region is up to training: `order[r]` is the channel of
    region r, region 0 being the background, and `ordered_masks` returns masks in that order. Raises
    ValueError for n below 2. Source: the paper's Table 2, with the 7x7 output layer of its code.
    """

    order: Tensor

    def __init__(
        self, n: int = 2, width: int = 16, blocks: int = 3, size: int = 128, pyramid: bool = True
    ) -> None:
        super().__init__()
        if n < 2:
            raise ValueError(f"n is {n}: a picture has at least 2 regions, background included")
        self.n, self.size = n, size
        deep = 4 * width
        self.encoder = nn.Sequential(
            nn.Conv2d(3, width, 7, padding=3, padding_mode="reflect", bias=False),
            *(instance_norm(width, affine=True), nn.ReLU()),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1, bias=False),
            *(instance_norm(2 * width, affine=True), nn.ReLU()),
            nn.Conv2d(2 * width, deep, 3, stride=2, padding=1, bias=False),
            *(instance_norm(deep, affine=True), nn.ReLU()),
            *(ResidualBlock(deep) for _ in range(blocks)),
        )
        self.pyramid: nn.Module = PyramidPooling(deep) if pyramid else nn.Identity()
        deep += len(PYRAMID_LEVELS) if pyramid else 0
        self.decoder = nn.Sequential(
            UpsampleConv(deep, deep // 2, bias=False),
            *(instance_norm(deep // 2, affine=True), nn.ReLU()),
            UpsampleConv(deep // 2, deep // 4, bias=False),
            *(instance_norm(deep // 4, affine=True), nn.ReLU()),
        )
        # Two regions need one logit: the masks are sigmoid(l) and 1 - sigmoid(l).
        self.head = nn.Conv2d(deep // 4, 1 if n == 2 else n, 7, padding=3, padding_mode="reflect")
        self.register_buffer("order", torch.arange(n))

    def forward(self, images: Tensor, noise: Tensor | None = None) -> Tensor:
        """Masks by channel. `noise`, (B, 1, H, W) for n = 2, else (B, n, H, W), is added to the logits."""
        logits = self.logits(images)
        if noise is not None:
            logits = logits + noise
        if self.n == 2:
            mask = torch.sigmoid(logits)
            return torch.cat((mask, 1 - mask), 1)
        return torch.softmax(logits, 1)

    def logits(self, images: Tensor) -> Tensor:
        """What softmax makes masks of, (B, n, H, W) float32; for n = 2 (B, 1, H, W), channel 0 against 1."""
        height, width = images.shape[-2:]
        if height < 32 or width < 32 or height % 4 or width % 4:
            raise ValueError(f"images are {width}x{height}: both sides must be multiples of 4, from 32")
        return self.head(self.decoder(self.pyramid(self.encoder(images)))).float()

    def ordered_masks(self, images: Tensor) -> Tensor:
        """As `forward`, but in the order of the regions: the background at index 0, then the objects."""
        return self(images).index_select(1, self.order)

    @torch.no_grad()
    def centre(self) -> None:
        """Make every mask start near 1 / n: the mean of the head's weights and its bias become zero.
        The head's inputs follow a ReLU: with another mean, f would start with one region everywhere."""
        self.head.weight -= self.head.weight.mean((1, 2, 3), keepdim=True)
        assert self.head.bias is not None
        self.head.bias.zero_()
