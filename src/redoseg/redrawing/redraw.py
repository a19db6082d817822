"""Images with one region redrawn with several codes: the paper's Figure 2, for a data set or one photo."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from redoseg.config import Box
from redoseg.data.images import decode_image, fit_image, to_rgb
from redoseg.errors import ConfigError, DataError, ModelError
from redoseg.figures.tiles import GridContent, sample_grid
from redoseg.files import expanded
from redoseg.method import compositing
from redoseg.models.model import Model
from redoseg.models.source import ModelSource, find_model
from redoseg.networks.layers import evaluating
from redoseg.networks.mask import MaskNetwork
from redoseg.tensors import pick_device, to_array, to_tensor


def redraw(
    model: str | Path | ModelSource,
    photo: str | os.PathLike[str] | Image.Image,
    *,
    region: int = 1,
    count: int = 8,
    seed: int = 0,
    checkpoint: str = "last",
    weights: str | None = None,
    device: str = "auto",
) -> Image.Image:
    """One region of a photo redrawn with `count` codes: a row of the paper's Figure 2, as an RGB image.

    `model`: a run, or a model with generators from `redoseg models`; in a run, `checkpoint` is "last",
    "label-free" or "best", `weights` "ema" or "raw" (None: EMA if one is kept). `photo`: a path or a PIL
    image; its central square is used. `region`: 0 is the background, 1 the object. `seed` decides the codes.
    ModelError for a model without generators, DataError for what is no photo, ConfigError for a region, a
    count or a device that can't be.
    """
    loaded = find_model(model, checkpoint=checkpoint, weights=weights).load(pick_device(device))
    blur = loaded.config.blur if loaded.config else None
    return redraw_photo(loaded, _rgb(photo), region=region, count=count, seed=seed, blur=blur)


def _rgb(photo: str | os.PathLike[str] | Image.Image) -> Image.Image:
    """The photo in mode RGB. DataError, with the file's name, if it doesn't decode."""
    if isinstance(photo, Image.Image):
        return photo if photo.mode == "RGB" else to_rgb(photo)
    try:
        return decode_image(expanded(os.fspath(photo)))
    except DataError as error:
        raise DataError(f"{photo}: {error}") from error


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
            columns = (compositing.redraw(images, M_r, G_r(M_r, z.expand(len(images), -1))) for z in codes[r])
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
            "this checkpoint holds the mask network only, no generators to redraw with: name a run of "
            "`redoseg train`, with --checkpoint last, best or label-free (students, which `auto` makes, "
            "have none)"
        )
    if not 0 <= region < f.n:
        raise ConfigError(f"no region {region}: the model knows 0 (the background) to {f.n - 1}")
    if count < 1:
        raise ConfigError(f"--count is {count}: it must be at least 1")
    images = to_tensor(fit_image(photo, f.size)[None], f.order.device)  # (1, 3, S, S)
    codes = sample_codes(f.n, count, model.config.code_size, seed=seed)
    return sample_grid(redraw_grid(f, generators, images, codes, regions=[region]), blur=blur)
