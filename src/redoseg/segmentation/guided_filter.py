"""The guided filter of He, Sun and Tang (2013) with a colour guide, on OpenCV's box filter.

A mask is made linear in the guide's colours within each window, so its borders move to the guide's edges. The
fast variant (He and Sun 2015) finds the linear functions on a small guide and applies them to a large photo.
Every plane is an array of its own: that is twice as fast as channels that lie between one another.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


class GuidedFilter:
    """The filter of one guide (H, W, 3) uint8. `radius` of the windows is in the guide's pixels; `eps` is a
    variance of colours, those being in [0, 1]: where they vary less, a mask is only smoothed."""

    def __init__(self, guide: NDArray[np.uint8], radius: int, eps: float) -> None:
        self._window = (2 * radius + 1, 2 * radius + 1)
        self._colours = [guide[..., channel] * np.float32(1 / 255) for channel in range(3)]
        self._means = [self._box(colour) for colour in self._colours]
        rr, rg, rb, gg, gb, bb = (
            self._box(self._colours[i] * self._colours[j]) - self._means[i] * self._means[j]
            for i, j in ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))
        )
        for variance in (rr, gg, bb):
            variance += np.float32(eps)  # so that the matrix always has an inverse
        a, b, c = gg * bb - gb * gb, rb * gb - rg * bb, rg * gb - rb * gg
        d, e, f = rr * bb - rb * rb, rg * rb - rr * gb, rr * gg - rg * rg
        determinant = rr * a + rg * b + rb * c
        for cofactor in (a, b, c, d, e, f):
            cofactor /= determinant
        self._inverse = ((a, b, c), (b, d, e), (c, e, f))

    def __call__(self, mask: Array) -> Array:
        """A mask (H, W) of the guide's size, filtered; its values may leave [0, 1] a little."""
        *weights, constant = self.functions(mask)
        return _add_products(constant, weights, self._colours)

    def functions(self, mask: Array) -> list[Array]:
        """Each pixel's linear function: the weights of red, green and blue, and the constant, (H, W) each."""
        mean = self._box(mask)
        covariances = [
            self._box(colour * mask) - colour_mean * mean
            for colour, colour_mean in zip(self._colours, self._means, strict=True)
        ]
        weights = [
            row[0] * covariances[0] + row[1] * covariances[1] + row[2] * covariances[2]
            for row in self._inverse
        ]
        constant = mean - _add_products(np.float32(0), weights, self._means)
        return [self._box(plane) for plane in (*weights, constant)]

    def on_photo(self, mask: Array, photo: NDArray[np.uint8]) -> Array:
        """A mask (h, w) of the guide's size as one of the photo's size (H, W), of which the guide is a
        smaller copy. It takes 12 bytes for each of the photo's pixels beside the photo."""
        *weights, constant = self.functions(mask)
        filtered = _enlarge(constant, photo.shape[1::-1])
        for channel, weight in enumerate(weights):
            enlarged = _enlarge(weight * np.float32(1 / 255), photo.shape[1::-1])
            enlarged *= photo[..., channel]
            filtered += enlarged
        return filtered

    def _box(self, plane: Array) -> Array:
        return np.asarray(cv2.blur(plane, self._window, borderType=cv2.BORDER_REFLECT), np.float32)


def _add_products(start: Array | np.float32, ones: list[Array], others: list[Array]) -> Array:
    total = ones[0] * others[0]
    for one, other in zip(ones[1:], others[1:], strict=True):
        total += one * other
    total += start
    return total


def _enlarge(plane: Array, size: tuple[int, ...]) -> Array:
    return np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_LINEAR), np.float32)
