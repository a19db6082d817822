"""The paper's losses, and four others. All are means over the batch, to be minimised."""

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
    recovered, drawn (F, n, code_size); redrawn (F, n) 0 or 1 -> scalar. Its weight in the paper is lambda_z /
    (n * code_size): see `TrainConfig.lambda_z`."""
    return ((recovered - drawn).square().sum(2) * redrawn).sum(1).mean()


def minimal_region(masks: Tensor, minimum: float) -> Tensor:
    """Two-sided hinge `sum_k max(0, a - mean M^k)`: no region may be smaller than a of its image.
    masks (B, n, H, W), a in [0, 1 / n] -> scalar. Source: PerturbGAN (Bielski and Favaro 2019)."""
    return F.relu(minimum - masks.mean((2, 3))).sum(1).mean()


def binarisation(masks: Tensor) -> Tensor:
    """`mean min(m, 1 - m)`: masks should be near 0 or 1. masks (B, n, H, W) -> scalar in [0, .5]."""
    return torch.minimum(masks, 1 - masks).mean()


def r1(gradient: Tensor) -> Tensor:
    """`||dD(I)/dI||^2`, a mean over real images. gradient (B, 3, S, S) -> scalar.
    Its weight is gamma / 2. Source: Mescheder et al. 2018; every 16 steps as in StyleGAN2."""
    return gradient.square().sum((1, 2, 3)).mean()


def masked_cross_entropy(
    logits: Tensor, targets: Tensor, counted: Tensor, total: Tensor | None = None
) -> Tensor:
    """Cross-entropy of f's masks against soft masks or labels, a mean over counted pixels; 0 if there are
    none.
    logits from `MaskNetwork.logits`, targets (B, n, H, W), counted (B, 1, H, W) in [0, 1] -> scalar. `total`,
    a scalar, is the divisor of the mean if these images are only a part of the batch."""
    if targets.shape[1] == 2:
        pixels = F.binary_cross_entropy_with_logits(logits, targets[:, :1], reduction="none")
    else:
        pixels = -(targets * F.log_softmax(logits, 1)).sum(1, keepdim=True)
    total = counted.sum().clamp(min=1) if total is None else total
    return (counted * pixels).sum() / total


class LabelledBatch(NamedTuple):
    """The L labelled images of one step: images (L, 3, S, S) for f, targets (L, n, S, S), 1 in the channel of
    a pixel's label, and counted (L, 1, S, S), 0 for pixels without a label."""

    images: Tensor
    targets: Tensor
    counted: Tensor


def targets(labels: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Labels (B, S, S) uint8 -> one-hot (B, n, S, S) float32, and (B, 1, S, S), 1 for labelled pixels."""
    one_hot = F.one_hot(labels.long().clamp(max=n - 1), n).permute(0, 3, 1, 2)
    return one_hot.float(), (labels != UNLABELLED)[:, None].float()
