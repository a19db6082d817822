"""Moves the borders of masks to the photo's edges, by a guided filter."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from redoseg.errors import ConfigError
from redoseg.segmentation.guided_filter import GuidedFilter

Edges = Literal["none", "guided"]
Mask = NDArray[np.float32]

_MOST = 1 << 20  # pixels of the guide: more take a second per 6 million, and 80 bytes each


@dataclass(frozen=True)
class GuidedEdges:
    """The guided filter of He, Sun and Tang (2013): in each window the mask is linear in the photo's colours.

    `radius` of the window is in pixels of the masks that are filtered, so it grows with the photo. `eps` is a
    variance of colours in [0, 1]: where they vary less, the mask is only smoothed. Photos above `most` pixels
    are filtered at a lower resolution (He and Sun 2015): about one pixel in 1000 then changes. Raises
    ValueError for a radius or eps that isn't above 0.
    """

    radius: float = 2.0
    eps: float = 1e-3
    most: int = _MOST

    def __post_init__(self) -> None:
        if not (self.radius > 0 and self.eps > 0):
            raise ValueError(f"radius is {self.radius}, eps {self.eps}: both must be above 0")

    def along(self, photo: Image.Image, factor: float) -> Callable[[Mask], Mask]:
        """The filter for an RGB photo: it maps masks (H, W) of the photo's size to (H, W) float32.

        `factor` is how much longer the photo's sides are than those of the masks were. The filter is linear
        in the mask: masks that sum to one still do, but values may leave [0, 1].
        """
        scale = min(1.0, math.sqrt(self.most / (photo.width * photo.height)))
        size = max(1, round(photo.width * scale)), max(1, round(photo.height * scale))
        whole = np.asarray(photo)
        guide = whole if scale == 1 else cv2.resize(whole, size, interpolation=cv2.INTER_AREA)
        radius = max(1, round(self.radius * factor * scale))
        filter_ = GuidedFilter(np.asarray(guide, np.uint8), radius, self.eps)
        if scale == 1:
            return filter_
        return lambda mask: filter_.on_photo(
            np.asarray(cv2.resize(mask, size, interpolation=cv2.INTER_AREA)), whole
        )


def open_edges(edges: Edges | GuidedEdges) -> GuidedEdges | None:
    """The filter, or None for "none". ConfigError for another name."""
    if isinstance(edges, GuidedEdges):
        return edges
    if edges not in get_args(Edges):
        raise ConfigError(f"--edges is {edges}: choose from {', '.join(get_args(Edges))}")
    return GuidedEdges() if edges == "guided" else None
