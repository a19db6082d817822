"""The guided filter of He, Sun and Tang (2013) with a colour guide, on OpenCV's box filter.

A mask is made linear in the guide's colours within each window, so its borders move to the guide's edges. The
fast variant (He and Sun 2015) finds the linear functions on a small guide and applies them to a large photo.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


class GuidedFilter:
    """The filter of one guide (H, W, 3) uint8. `radius` of the windows is in the guide's pixels; `eps` is a
    variance of colours, those being in [0, 1]: where they vary less, a mask is only smoothed."""

    def __init__(self, guide: NDArray[np.uint8], radius: int, eps: float) -> None:
        self._guide, self._radius = np.asarray(guide, np.float32) / np.float32(255), radius
        self._mean = self._box(self._guide)
        products = [self._guide[..., i] * self._guide[..., j] for i, j in _PAIRS]
        covariance = self._box(np.stack(products[:3], -1)), self._box(np.stack(products[3:], -1))
        rr, rg, rb, gg, gb, bb = (
            covariance[k // 3][..., k % 3] - self._mean[..., i] * self._mean[..., j]
            for k, (i, j) in enumerate(_PAIRS)
        )
        rr, gg, bb = rr + eps, gg + eps, bb + eps  # so that the matrix always has an inverse
        first = np.stack([gg * bb - gb * gb, rb * gb - rg * bb, rg * gb - rb * gg], -1)
        second = np.stack([first[..., 1], rr * bb - rb * rb, rg * rb - rr * gb], -1)
        third = np.stack([first[..., 2], second[..., 2], rr * gg - rg * rg], -1)
        determinant = rr * first[..., 0] + rg * first[..., 1] + rb * first[..., 2]
        self._inverse = [row / determinant[..., None] for row in (first, second, third)]

    def __call__(self, mask: Array) -> Array:
        """A mask (H, W) of the guide's size, filtered; its values may leave [0, 1] a little."""
        return self._apply(self.functions(mask), self._guide)

    def functions(self, mask: Array) -> Array:
        """(H, W, 4): for each pixel the weights of red, green and blue, and the constant."""
        stack = np.empty((*mask.shape, 4), np.float32)
        np.multiply(self._guide, mask[..., None], out=stack[..., :3])
        stack[..., 3] = mask
        stack = self._box(stack)
        covariance = stack[..., :3] - self._mean * stack[..., 3:]
        weights = np.empty_like(stack)
        for channel, row in enumerate(self._inverse):
            weights[..., channel] = _dot(row, covariance)
        weights[..., 3] = stack[..., 3] - _dot(weights, self._mean)
        return self._box(weights)

    def on_photo(self, mask: Array, photo: NDArray[np.uint8]) -> Array:
        """A mask (h, w) of the guide's size as one of the photo's size (H, W), of which the guide is a
        smaller copy. It takes 12 bytes for each of the photo's pixels beside the photo."""
        functions, size = self.functions(mask), photo.shape[1::-1]
        filtered = _enlarge(functions[..., 3], size)
        for channel in range(3):
            weight = _enlarge(functions[..., channel], size)
            weight *= photo[..., channel]
            weight /= 255
            filtered += weight
        return filtered

    def _box(self, values: Array) -> Array:
        side = 2 * self._radius + 1
        return np.asarray(cv2.blur(values, (side, side), borderType=cv2.BORDER_REFLECT), np.float32)

    @staticmethod
    def _apply(functions: Array, guide: Array) -> Array:
        return np.asarray(_dot(functions, guide) + functions[..., 3], np.float32)


_PAIRS = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))


def _dot(ones: Array, others: Array) -> Array:
    """Of the first three channels."""
    return np.asarray(
        ones[..., 0] * others[..., 0] + ones[..., 1] * others[..., 1] + ones[..., 2] * others[..., 2]
    )


def _enlarge(values: Array, size: tuple[int, ...]) -> Array:
    return np.asarray(cv2.resize(np.ascontiguousarray(values), size, interpolation=cv2.INTER_LINEAR))
