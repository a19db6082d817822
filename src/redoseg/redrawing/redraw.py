"""Images with one region redrawn with several codes: the paper's Figure 2, for a data set or one photo."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from redoseg.config import Box
from redoseg.data.images import fit_image
from redoseg.errors import ConfigError, ModelError
from redoseg.figures.tiles import GridContent, sample_grid
from redoseg.method.compositing import redraw
from redoseg.models.load import Model
from redoseg.networks.layers import evaluating
from redoseg.networks.mask import MaskNetwork
from redoseg.tensors import to_array, to_tensor


@torch.no_grad()
def redraw_grid(
    f: MaskNetwork,
    generators: nn.ModuleList | None,
    images: Tensor,
    codes: Tensor,
    truth: Tensor | None = None,
    *,
    regions: Sequence[int] | None = None,
) -> GridContent:
    """Each image with one region redrawn, for each region and K codes: what `tiles.sample_grid` shows.

    images (B, 3, S, S) in [-1, 1] on the networks' device; codes (n, K, code_size) by region; truth (B, S, S)
    labels. `generators` are by channel of f; with None nothing is redrawn. `regions` gives the order of the
    columns; None: the objects, then the background. Networks are in evaluation mode meanwhile, so that none
    of their statistics change.
    """
    G = nn.ModuleList() if generators is None else generators
    if regions is None:
        regions = (*range(1, f.n), 0) if len(G) else ()
    codes = codes.to(images.device)
    redrawn = {}
    with evaluating(f, G):
        masks = f.ordered_masks(images)  # (B, n, S, S)
        for r in regions:
            M_r, G_r = masks[:, r : r + 1], G[int(f.order[r])]
            # One code at a time: however many there are, memory stays that of one batch.
            columns = (redraw(images, M_r, G_r(M_r, z.expand(len(images), -1))) for z in codes[r])
            redrawn[r] = np.stack([to_array(column) for column in columns], 1)  # (B, K, S, S, 3)
    labels = None if truth is None else truth.to("cpu", torch.uint8).numpy()
    return GridContent(to_array(images), masks.float().cpu().numpy(), redrawn, labels)


def sample_codes(n: int, count: int, code_size: int, *, seed: int) -> Tensor:
    """`count` random codes for each region: (n, count, code_size), standard normal."""
    return torch.randn(n, count, code_size, generator=torch.Generator().manual_seed(seed))


def redraw_photo(
    model: Model,
    photo: Image.Image,
    *,
    region: int = 1,
    count: int = 8,
    seed: int = 0,
    blur: Box | None = None,
) -> Image.Image:
    """One row of the paper's Figure 2: a photo, its mask and one region redrawn with `count` codes.

    The photo (RGB, any size) is cut to its central square and resized to the model's size, the only one that
    generators know. Codes depend on `seed` alone. `blur` (left, top, right, bottom, as shares of the side) is
    made unrecognisable. Raises ModelError if the model has no generators, ConfigError for a region that it
    doesn't know or a count below 1.
    """
    f, generators = model.f, model.generators
    if generators is None or model.config is None:
        raise ModelError(
            "this checkpoint holds the mask network only, no generators to redraw with: name a run, with "
            "--checkpoint last, best or label-free"
        )
    if not 0 <= region < f.n:
        raise ConfigError(f"no region {region}: the model knows 0 (the background) to {f.n - 1}")
    if count < 1:
        raise ConfigError(f"--count is {count}: it must be at least 1")
    images = to_tensor(fit_image(photo, f.size)[None], f.order.device)  # (1, 3, S, S)
    codes = sample_codes(f.n, count, model.config.code_size, seed=seed)
    return sample_grid(redraw_grid(f, generators, images, codes, regions=[region]), blur=blur)
