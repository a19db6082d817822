"""Segmentation by inpainting error, after Savarese et al., CVPR 2021 (arXiv 2012.07287): nothing is learned.

An object is what can't be guessed from its surroundings, nor they from it, while each of the two is alike
within itself. Written from the paper's idea, not after its code; docs/baselines.md says what was chosen where
the idea leaves it open.

x (S, S, 3) is the image as float32 in [0, 1], its mean colour subtracted; m (S, S) float32 is 1 on the object
and 0 elsewhere; "outside" is 1 - m.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

ITERATIONS = 150
START = 0.6  # side of the centred square to start from, as a share of the image's: the authors' own
SIGMA = 5 / 128  # of the Gaussian, as a share of the side; it is cut off at one sigma and applied twice
DIVERSITY = 2.0  # the weight of the diversity term (the paper's lambda), for colours in [0, 1]
PRIOR = 0.01  # what the image's mean colour weighs in a prediction; the Gaussian's weights sum to one
_SHARES = (1.0, 0.5, 0.25, 0.125)  # of the pixels that would gain, how many change sides at once, best first
_ENOUGH = 4  # of nine pixels, to be the object after smoothing
_CROSS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], np.uint8)


def segment(image: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
    """Regions (S, S), 1 the object, of one RGB image (S, S, 3). Nothing is random: `seed` changes nothing."""
    mask, _ = climb(Inpainter.for_image(image), square(len(image), START))
    return mask.astype(np.uint8)


@dataclass(frozen=True)
class Inpainter:
    """Predicts each pixel from nearby pixels of the other side: normalised convolution with a Gaussian. Where
    no pixel of the other side is in reach, the image's mean colour, 0, is predicted."""

    x: Floats
    kernel: Floats

    @classmethod
    def for_image(cls, image: NDArray[np.uint8]) -> Self:
        """The inpainter of an RGB image (S, S, 3)."""
        x = image.astype(np.float32) / 255
        sigma = SIGMA * len(image)
        reach = max(1, round(sigma))
        once = np.exp(-((np.arange(-reach, reach + 1) / sigma) ** 2) / 2)
        twice = np.convolve(once, once)
        return cls(x - x.mean((0, 1)), (twice / twice.sum()).astype(np.float32))

    def error(self, m: Floats) -> float:
        """Mean L1 error of the object predicted from outside, plus that of the outside from the object."""
        errors = 0.0
        for side in (m, 1 - m):
            difference = self._predict(1 - side)[0] - self.x
            errors += float((side * _sum_channels(np.abs(difference))).sum() / max(side.sum(), 1))
        return errors

    def objective(self, m: Floats) -> float:
        """What is made as large as possible: the error, less DIVERSITY times both sides' diversity, the mean
        squared distance of a side's colours from their mean."""
        return self.error(m) - DIVERSITY * (self._diversity(m)[1] + self._diversity(1 - m)[1])

    def gains(self, m: Floats) -> Floats:
        """(S, S): how much `objective` grows, to first order, when a pixel changes sides."""
        slope = self._slope(m) - self._slope(1 - m)
        return np.where(m > 0, -slope, slope).astype(np.float32)

    def _predict(self, known: Floats) -> tuple[Floats, Floats]:
        """(S, S, 3) from the known pixels (S, S), and the weight that each prediction was divided by."""
        blurred = self._blur(self.x * known[..., None], known)
        weight = blurred[..., 3:] + PRIOR
        return blurred[..., :3] / weight, weight

    def _diversity(self, side: Floats) -> tuple[Floats, float]:
        """(S, S): the squared distance of each pixel's colour from one side's mean colour; its mean there."""
        size = max(float(side.sum()), 1.0)
        mean = np.tensordot(side, self.x, 2) / np.float32(size)
        distance = _sum_channels((self.x - mean) ** 2)
        return distance, float((side * distance).sum()) / size

    def _slope(self, side: Floats) -> Floats:
        """(S, S): the derivative of one side's part of `objective` by `side`, the other being 1 - side."""
        predicted, weight = self._predict(1 - side)
        difference = predicted - self.x
        errors, size = _sum_channels(np.abs(difference)), max(float(side.sum()), 1.0)
        pull = np.sign(difference) * (side[..., None] / weight)
        # A pixel that leaves the other side takes its share from all predictions that it had a part in.
        taken = self._blur(pull, _sum_channels(pull * predicted))
        indirect = taken[..., 3] - _sum_channels(taken[..., :3] * self.x)
        of_error = errors + indirect - float((side * errors).sum()) / size
        distance, mean = self._diversity(side)
        return np.asarray((of_error - DIVERSITY * (distance - mean)) / size, np.float32)

    def _blur(self, colours: Floats, weight: Floats) -> Floats:
        """(S, S, 4): three channels and one more, blurred together; beyond the image all is 0."""
        channels = np.empty((*weight.shape, 4), np.float32)
        channels[..., :3], channels[..., 3] = colours, weight
        blurred = cv2.sepFilter2D(channels, -1, self.kernel, self.kernel, borderType=cv2.BORDER_CONSTANT)
        return np.asarray(blurred, np.float32)


def climb(inpainter: Inpainter, m: Floats) -> tuple[Floats, list[float]]:
    """Move the mask's border until the objective grows no more: the mask, and the objective after each step.

    In a step, those pixels at the border, inside or outside, change sides that make it grow; then the border
    is smoothed, unless the objective falls back by that. If it doesn't grow at all, fewer pixels change, the
    best ones. The first of its values is the start's; each is above the one before.
    """
    values = [inpainter.objective(m)]
    for _ in range(ITERATIONS):
        step = _step(inpainter, m, values[-1])
        if step is None:
            break
        m = step[0]
        values.append(step[1])
    return m, values


def square(side: int, share: float) -> Floats:
    """(side, side): 1 on a centred square whose side is `share` of the image's."""
    margin = round(side * (1 - share) / 2)
    m = np.zeros((side, side), np.float32)
    m[margin : side - margin, margin : side - margin] = 1
    return m


def _sum_channels(channels: Floats) -> Floats:
    """(S, S, 3) summed over the channels; numpy's sum over so short an axis takes several times as long."""
    return channels[..., 0] + channels[..., 1] + channels[..., 2]


def _step(inpainter: Inpainter, m: Floats, value: float) -> tuple[Floats, float] | None:
    """A mask of larger objective than `value`, and its objective; None where no change of the border gives
    one."""
    gains = inpainter.gains(m)
    changing = _border(m) & (gains > 0)
    if not changing.any():
        return None
    for share in _SHARES:
        least = np.quantile(gains[changing], 1 - share)
        changed = np.where(changing & (gains >= least), 1 - m, m)
        for proposed in (_smooth(changed), changed):
            if 0 < proposed.mean() < 1:
                new_value = inpainter.objective(proposed)
                if new_value > value:
                    return proposed, new_value
    return None


def _border(m: Floats) -> NDArray[np.bool_]:
    """Pixels with a pixel of the other side above, below or beside them."""
    sides = m.astype(np.uint8)
    larger = cv2.dilate(sides, _CROSS, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(larger != cv2.erode(sides, _CROSS, borderType=cv2.BORDER_REPLICATE))


def _smooth(m: Floats) -> Floats:
    """A pixel is the object's where at least _ENOUGH of the 3 x 3 pixels around it are."""
    around = cv2.boxFilter(m, -1, (3, 3), normalize=False, borderType=cv2.BORDER_REPLICATE)
    return (around > _ENOUGH - 0.5).astype(np.float32)
