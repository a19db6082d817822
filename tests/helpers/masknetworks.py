"""Mask networks with weights that differ, and pictures for them."""

import numpy as np
import torch

from redoseg.networks.mask import MaskNetwork


def network(n=2, seed=0, order=None):
    """Norms off 1 and 0, and masks that decide: a random f's are all near 1 / n."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        f = MaskNetwork(n=n, width=4, blocks=1, size=32).eval()
        for name, p in f.named_parameters():
            if p.ndim == 1:
                p.data.uniform_(0.5, 1.5) if name.endswith("weight") else p.data.uniform_(-0.5, 0.5)
        f.head.weight.data.mul_(4)
    f.order.copy_(torch.tensor(order or list(range(n))))
    return f


def images(batch, height, width, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (batch, 3, height, width)).astype(np.float32)


def masks_of(f, pictures):
    with torch.no_grad():
        return f.ordered_masks(torch.from_numpy(pictures)).numpy()
