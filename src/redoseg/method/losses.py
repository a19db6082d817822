"""The paper's losses, and four that it doesn't have. All are means over the batch, to be minimised."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from redoseg.data.labels import UNLABELLED


def discriminator_hinge(real: Tensor, fake: Tensor) -> Tensor:
    """-L_D: `max(0, 1 - D(I)) + max(0, 1 + D(G_F))`. Scores (B,) and (F,) -> scalar."""
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def generator_hinge(fake: Tensor) -> Tensor:
    """-L_G without the code's term: `-D(G_F)`. Scores (F,) -> scalar."""
    return -fake.mean()


def code_error(recovered: Tensor, drawn: Tensor, redrawn: Tensor) -> Tensor:
    """`||delta_i(G_F) - z_i||^2`, summed over the regions i redrawn in an image, a mean over images.

    recovered, drawn (F, n, code_size); redrawn (F, n) 0 or 1 -> scalar. The paper weighs it with
    lambda_z / (n * code_size): see `TrainConfig.lambda_z`.
    """
    return ((recovered - drawn).square().sum(2) * redrawn).sum(1).mean()


def minimal_region(masks: Tensor, minimum: float) -> Tensor:
    """Two-sided hinge `sum_k max(0, a - mean M^k)`: no region may be smaller than a of its image.

    masks (B, n, H, W), a in [0, 1 / n] -> scalar. Source: PerturbGAN (Bielski and Favaro 2019).
    """
    return F.relu(minimum - masks.mean((2, 3))).sum(1).mean()


def binarisation(masks: Tensor) -> Tensor:
    """`mean min(m, 1 - m)`: masks should be near 0 or 1. masks (B, n, H, W) -> scalar in [0, .5]."""
    return torch.minimum(masks, 1 - masks).mean()


def r1(gradient: Tensor) -> Tensor:
    """`||dD(I)/dI||^2`, a mean over real images. gradient (B, 3, S, S) -> scalar.

    To be weighed with gamma / 2. Source: Mescheder et al. 2018; every 16 steps as in StyleGAN2.
    """
    return gradient.square().sum((1, 2, 3)).mean()


def masked_cross_entropy(
    logits: Tensor, targets: Tensor, counted: Tensor, total: Tensor | None = None
) -> Tensor:
    """Between masks to learn, soft or labels, and f's, a mean over the pixels that count; 0 if none does.

    logits as `MaskNetwork.logits` gives them, targets (B, n, H, W), counted (B, 1, H, W) in [0, 1] -> scalar.
    `total`, a scalar: how many pixels count for the mean, where these images are a part of a batch.
    """
    if targets.shape[1] == 2:
        pixels = F.binary_cross_entropy_with_logits(logits, targets[:, :1], reduction="none")
    else:
        pixels = -(targets * F.log_softmax(logits, 1)).sum(1, keepdim=True)
    total = counted.sum().clamp(min=1) if total is None else total
    return (counted * pixels).sum() / total


class LabelledBatch(NamedTuple):
    """The labelled images of one step, L of them: images (L, 3, S, S) as f sees them, targets (L, n, S, S),
    1 in the channel of a pixel's label, and counted (L, 1, S, S), 0 where a pixel has none."""

    images: Tensor
    targets: Tensor
    counted: Tensor


def targets(labels: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Labels (B, S, S) uint8 -> (B, n, S, S) float32, label k in channel k, and (B, 1, S, S), 1 where a
    pixel is labelled."""
    one_hot = F.one_hot(labels.long().clamp(max=n - 1), n).permute(0, 3, 1, 2)
    return one_hot.float(), (labels != UNLABELLED)[:, None].float()
