"""Regions redrawn with new codes, several at once or on the way from one code to another."""

import base64
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from redoseg.data.images import decoding, fit_image
from redoseg.errors import DataError, ModelError, RedosegError, missing_extra
from redoseg.models.card import GENERATORS
from redoseg.models.source import ModelFolder, find_model
from redoseg.serving.answers import png
from redoseg.serving.asked import check_pixels
from redoseg.serving.limits import Refusal

if TYPE_CHECKING:
    from torch import Tensor

    from redoseg.models.model import Model

MOST = 16
"""So many codes, or steps of a walk, at once."""
_NONE = "this model has no generators to redraw with: a run of `redoseg train` has"


class Redraws:
    """A model's generators, if it has any. `missing`: why nothing can be redrawn; None if it can."""

    def __init__(
        self, model: str, *, checkpoint: str, weights: str | None, device: str, most_pixels: int
    ) -> None:
        self._most_pixels = most_pixels
        self._model: Model | None = None
        self.missing: str | None = None
        try:
            self._model = _load(model, checkpoint, weights, device)
        except RedosegError as error:
            self.missing = str(error)

    def redraw(self, content: bytes, region: int, seeds: list[int], walk: int) -> dict[str, Any]:
        """The photo's central square at the model's size, its mask of `region`, and the region redrawn with
        the code of each seed, or with `walk` codes on the way from the first seed's to the second's; PNG
        files in base64. Refusal (404) without generators, (400) for a region or seeds that can't be."""
        model = self._model
        if model is None or model.config is None:
            raise Refusal(404, self.missing or "this model has no generators")
        if not 0 <= region < model.f.n:
            raise Refusal(400, f"region is {region}: the model's regions are 0 to {model.f.n - 1}")
        check_pixels(content, self._most_pixels)
        import torch  # noqa: PLC0415

        from redoseg.redrawing.redraw import redraw_grid, sample_codes  # noqa: PLC0415
        from redoseg.tensors import to_tensor  # noqa: PLC0415

        try:
            with decoding(BytesIO(content)) as photo:
                pixels = fit_image(photo, model.f.size)
        except DataError as error:
            raise Refusal(415, str(error)) from error
        codes = [sample_codes(model.f.n, 1, model.config.code_size, seed=seed) for seed in seeds]
        chosen = torch.cat(codes, 1)  # (n, K, code_size)
        if walk:
            chosen = between(chosen, walk)
        images = to_tensor(pixels[None], model.f.order.device)
        found = redraw_grid(model.f, model.generators, images, chosen, regions=[region])
        mask = np.rint(255 * found.masks[0, region]).astype(np.uint8)
        pictures = [pixels, mask, *found.redrawn[region][0]]
        photo_file, mask_file, *redrawn = [
            base64.b64encode(png(Image.fromarray(picture))).decode() for picture in pictures
        ]
        return {"size": model.f.size, "photo": photo_file, "mask": mask_file, "redrawn": redrawn}


def _load(model: str, checkpoint: str, weights: str | None, device: str) -> "Model":
    """The model with its generators. ModelError if it has none, MissingExtraError without PyTorch."""
    source = find_model(model, checkpoint=checkpoint, weights=weights)
    if isinstance(source, ModelFolder) and not (source.path / GENERATORS).is_file():
        raise ModelError(_NONE)  # known without PyTorch, whose import takes seconds
    try:
        from redoseg.tensors import pick_device  # noqa: PLC0415

        loaded = source.load(pick_device(device))
    except ModuleNotFoundError as error:
        raise missing_extra("redrawing", error) or error from error
    if loaded.generators is None or loaded.config is None:
        raise ModelError(_NONE)
    return loaded


def between(codes: "Tensor", steps: int) -> "Tensor":
    """Codes (n, 2, d) to (n, steps, d), from the first to the second along the great circle through them: on
    a straight line they would be shorter in the middle than any that a generator has learned from."""
    import torch  # noqa: PLC0415

    first, last = codes[:, :1], codes[:, 1:2]
    cosine = torch.cosine_similarity(first, last, dim=2).clamp(-1, 1)[..., None]
    angle = torch.acos(cosine)
    at = torch.linspace(0, 1, steps)[None, :, None]
    line = (1 - at) * first + at * last
    circle = (torch.sin((1 - at) * angle) * first + torch.sin(at * angle) * last) / torch.sin(angle)
    return torch.where(torch.sin(angle) < 1e-4, line, circle)
