"""Moves the borders of masks to the photo's edges, by OpenCV's guided filter (extra `edges`)."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from redoseg.errors import EDGES, ConfigError, MissingExtraError, missing_extra

Edges = Literal["none", "guided"]
Mask = NDArray[np.float32]

_MOST = 1 << 20  # pixels that are filtered: more take a second per 6 million, and 80 bytes each


@dataclass(frozen=True)
class GuidedEdges:
    """The guided filter of He, Sun and Tang (2013): in each window the mask is linear in the photo's colours.

    `radius` of the window is in pixels of the network's input, so it grows with the photo. `eps` is a
    variance of colours in [0, 1]: where they vary less, the mask is only smoothed. Raises ValueError for a
    radius or eps that isn't above 0, MissingExtraError without OpenCV.
    """

    radius: float = 2.0
    eps: float = 1e-3

    def __post_init__(self) -> None:
        if not (self.radius > 0 and self.eps > 0):
            raise ValueError(f"radius is {self.radius}, eps {self.eps}: both must be above 0")
        _import_ximgproc()

    def along(self, photo: Image.Image, factor: float) -> Callable[[Mask], Mask]:
        """The filter for an RGB photo: it maps masks (H, W) of the photo's size to (H, W) float32.

        `factor` is how much longer the photo's sides are than those of the network's input. The filter is
        linear in the mask: masks that sum to one still do, but values may leave [0, 1]. Photos above a
        megapixel are filtered at a lower resolution (He and Sun 2015): about one pixel in 1000 then changes.
        """
        scale = min(1.0, math.sqrt(_MOST / (photo.width * photo.height)))
        radius = max(1, round(self.radius * factor * scale))  # OpenCV scales the photo, but not the radius
        guided = _import_ximgproc().createGuidedFilter(np.asarray(photo), radius, self.eps * 255**2, scale)
        return lambda mask: np.asarray(guided.filter(mask), np.float32)


def open_edges(edges: Edges | GuidedEdges) -> GuidedEdges | None:
    """The filter, or None for "none". ConfigError for another name, MissingExtraError without OpenCV."""
    if isinstance(edges, GuidedEdges):
        return edges
    if edges not in get_args(Edges):
        raise ConfigError(f"--edges is {edges}: choose from {', '.join(get_args(Edges))}")
    return GuidedEdges() if edges == "guided" else None


def _import_ximgproc() -> ModuleType:
    what = "--edges guided"
    try:
        from cv2 import ximgproc
    except ModuleNotFoundError as error:
        missing = missing_extra(what, error)
        if missing is None:
            raise
        raise missing from error
    except ImportError as error:  # OpenCV without its contrib modules, or one that needs a desktop
        raise MissingExtraError(
            f"{what} can't use the OpenCV that is installed ({error}): uninstall every opencv package "
            f"(pip list shows them), then {EDGES}"
        ) from error
    return ximgproc
