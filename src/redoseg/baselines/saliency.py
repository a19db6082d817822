"""Saliency from a robust background, after Zhu, Liang, Wei and Sun, CVPR 2014 ("Saliency Optimization from
Robust Background Detection"): what differs from all that hangs together with the photo's border.

Written from the paper; docs/baselines.md says what differs. Nothing is learned, and no label is read.
"""

from dataclasses import dataclass
from typing import Self

import cv2
import numpy as np
from numpy.typing import NDArray

from redoseg.baselines.pixels import outermost

Photo = NDArray[np.uint8]
Floats = NDArray[np.float64]

SIDE = 64  # pixels a side of the map
_ACROSS = 14  # patches a side: about as many in all as in the paper
_COMPACT = 10.0  # what a patch's width of distance weighs, in colours, where patches are found
_COLOUR = 7.0  # the paper's sigma_clr: distance in CIELAB at which patches are no longer one surface
_PLACE = 0.25  # its sigma_spa: distance, in sides of the photo, at which a patch's contrast counts less
_BACKGROUND = 5.0  # weight of what is background beside that of contrast
_LEAST = 0.1  # its mu: how alike neighbours are at least, however different their colours


def saliency(photo: Photo) -> NDArray[np.float32]:
    """(SIDE, SIDE) in [0, 1] of an RGB photo (S, S, 3): 1 on what stands out most. All 0 if nothing does."""
    patches = Patches.of(np.asarray(cv2.resize(photo, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.uint8))
    background = patches.background()
    contrast = _spread(patches.contrast(background))
    return _spread(patches.settle(background, contrast))[patches.of_pixel].astype(np.float32)


def segment(image: Photo, seed: int) -> NDArray[np.uint8]:
    """Regions (S, S), 1 the object, of one RGB image (S, S, 3): where its saliency is above the threshold of
    Otsu (1979). Nothing is random: `seed` changes nothing."""
    found = cv2.resize(saliency(image), image.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    levels = (255 * found).round().astype(np.uint8)
    return np.asarray(cv2.threshold(levels, 0, 1, cv2.THRESH_BINARY + cv2.THRESH_OTSU)[1], np.uint8)


@dataclass(frozen=True)
class Patches:
    """N patches (superpixels) of a photo: `of_pixel` (SIDE, SIDE) is each pixel's patch, `share` (N,) their
    sizes, `colour` (N, N) and `place` (N, N) their distances in CIELAB and in sides of the photo; `touch` (N,
    N) whether they do, `outer` (N,) which are outermost."""

    of_pixel: NDArray[np.intp]
    share: Floats
    colour: Floats
    place: Floats
    touch: NDArray[np.bool_]
    outer: NDArray[np.bool_]

    @classmethod
    def of(cls, small: Photo) -> Self:
        """Those of an RGB photo (SIDE, SIDE, 3)."""
        lab = np.asarray(cv2.cvtColor(small.astype(np.float32) / 255, cv2.COLOR_RGB2LAB), np.float32)
        of_pixel = _superpixels(lab)
        size = np.bincount(of_pixel.ravel())
        rows, columns = np.mgrid[:SIDE, :SIDE] / SIDE

        def distances(*channels: NDArray[np.floating]) -> Floats:
            means = [np.bincount(of_pixel.ravel(), one.ravel()) / size for one in channels]
            return np.sqrt(sum((mean[:, None] - mean) ** 2 for mean in means))

        touch, colour = _touching(of_pixel, len(size)), distances(*np.moveaxis(lab, 2, 0))
        outer = np.zeros(len(size), bool)
        outer[outermost(of_pixel)] = True
        return cls(of_pixel, size / size.sum(), colour, distances(rows, columns), touch, outer)

    def background(self) -> Floats:
        """(N,) in [0, 1], the paper's w_bg: how much of the surface that a patch is part of is at the border,
        for its area (boundary connectivity)."""
        steps = np.where(self._joined(), self.colour, np.inf)
        np.fill_diagonal(steps, 0)
        same = np.exp(-(_shortest(steps) ** 2) / (2 * _COLOUR**2))  # (N, N): of one surface
        area = (same * self.share * len(self.share)).sum(1)
        connected = same[:, self.outer].sum(1) / np.sqrt(area)
        return 1 - np.exp(-(connected**2) / 2)

    def contrast(self, background: Floats) -> Floats:
        """(N,), 0 or more, the paper's wCtr: how much a patch differs from the background near it."""
        near = np.exp(-(self.place**2) / (2 * _PLACE**2))
        return (self.colour * near * background).sum(1)

    def settle(self, background: Floats, contrast: Floats) -> Floats:
        """(N,) in [0, 1]: near 0 in the background, near 1 where there is `contrast` (N,) in [0, 1], alike in
        patches that are alike. It minimises the paper's sum of squares."""
        joined, n = self._joined(), len(self.share)
        joined |= self.touch @ self.touch  # and their neighbours
        np.fill_diagonal(joined, False)
        alike = np.where(joined, np.exp(-(self.colour**2) / (2 * _COLOUR**2)) + _LEAST, 0)
        laplacian = np.diag(alike.sum(1)) - alike
        pulls = np.diag(_BACKGROUND * background + contrast)
        return np.asarray(np.linalg.solve(laplacian + pulls + 1e-6 * np.eye(n), contrast), np.float64)

    def _joined(self) -> NDArray[np.bool_]:
        """(N, N): neighbours; all patches at the border are each other's."""
        return self.touch | (self.outer[:, None] & self.outer)


def _superpixels(lab: NDArray[np.float32]) -> NDArray[np.intp]:
    """(SIDE, SIDE): patches by k-means on colour and place, from a grid. Some may end empty: those are left
    out, and the others numbered from 0."""
    rows, columns = np.mgrid[:SIDE, :SIDE].astype(np.float32) * np.float32(_ACROSS / SIDE)
    pixels = np.dstack([lab, _COMPACT * rows, _COMPACT * columns]).reshape(-1, 5)
    grid = (rows.astype(np.int32) * _ACROSS + columns.astype(np.int32)).reshape(-1, 1)
    ends = (cv2.TERM_CRITERIA_COUNT + cv2.TERM_CRITERIA_EPS, 5, 1e-2)
    _, found, _ = cv2.kmeans(pixels, _ACROSS**2, grid, ends, 1, cv2.KMEANS_USE_INITIAL_LABELS)
    return np.unique(np.asarray(found), return_inverse=True)[1].reshape(SIDE, SIDE)


def _touching(of_pixel: NDArray[np.intp], count: int) -> NDArray[np.bool_]:
    """(N, N): which patches have pixels side by side or corner to corner."""
    touch = np.zeros((count, count), bool)
    for one, other in (
        (of_pixel[1:], of_pixel[:-1]), (of_pixel[:, 1:], of_pixel[:, :-1]),
        (of_pixel[1:, 1:], of_pixel[:-1, :-1]), (of_pixel[1:, :-1], of_pixel[:-1, 1:]),
    ):  # fmt: skip
        touch[one, other] = touch[other, one] = True
    np.fill_diagonal(touch, False)
    return touch


def _shortest(steps: Floats) -> Floats:
    """(N, N) of the lengths of steps, infinite where there is none: the lengths of the shortest paths (Floyd
    and Warshall)."""
    paths = steps.copy()
    for middle in range(len(paths)):
        np.minimum(paths, paths[:, middle, None] + paths[middle], out=paths)
    return paths


def _spread(values: Floats) -> Floats:
    """Spread over [0, 1]; 0 where all are equal."""
    least, most = values.min(), values.max()
    return (values - least) / max(most - least, 1e-9)
