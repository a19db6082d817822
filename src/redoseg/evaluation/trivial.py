"""The trivial rows: one answer for every image. CHOSEN WITH LABELS: they are no unsupervised result.

They say how much of a score can be had without looking at the image. An answer is chosen on one half of the
split and scored on the other, both ways, so that no image is scored by an answer chosen on it. Halves are
contiguous: the photos of one person stand together by name, and shuffled halves would share people. The
answer's labels are known, so nothing is matched: region k is label k, and one row serves both matchings.

`truth` is (N, S, S) uint8, 0..n-1 or 255 (unlabelled, counted nowhere), in name order. Images with no
labelled pixel are left out before halving. Raises ValueError on other shapes, types or values.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from redoseg.data.labels import UNLABELLED
from redoseg.evaluation.metrics import Counts, Labels, Scores, as_labelled, check_labels, confusion, tally

_THRESHOLDS = range(1, 20)  # in twentieths: .05 to .95
_RADII = 46  # in 64ths of the side: the same discs at every size; the largest covers the corners

Steps = npt.NDArray[np.intp]
Guess = Callable[[Labels, Labels], Counts]


def fixed_mask(truth: Labels, n: int) -> Scores | None:
    """One mask for all images, chosen WITH labels; None with fewer than two labelled images.
    n = 2: the pixels whose mean truth is above a threshold, the one of .05, .10, ... .95 with the best mean
    IoU on the half that chooses. n > 2: each pixel's most frequent label. Of equally good ones the lowest is
    taken. A pixel that the choosing half never labels is background."""
    counts = fixed_mask_counts(truth, n)
    return None if counts is None else as_labelled(counts)


def fixed_mask_counts(truth: Labels, n: int) -> Counts | None:
    """What `fixed_mask` scores: its counts (B, n, n), an entry for each image with a labelled pixel."""
    return _score_both_ways(
        truth, n, _choose_threshold if n == 2 else lambda half, other: _choose_majority(half, other, n)
    )


def disc(truth: Labels, n: int) -> Scores | None:
    """One centred disc, chosen WITH labels; None for n > 2 or with fewer than two labelled images.
    The radius is the multiple of a 64th of the side with the best mean IoU on the half that chooses, the
    largest of equally good ones."""
    counts = _score_both_ways(truth, n, _choose_disc) if n == 2 else None
    return None if counts is None else as_labelled(counts)


def _score_both_ways(truth: Labels, n: int, guess: Guess) -> Counts | None:
    _check(truth, n)
    truth = truth[(truth != UNLABELLED).any((1, 2))]
    if len(truth) < 2:
        return None
    first, second = np.array_split(truth, 2)
    return np.concatenate([guess(second, first), guess(first, second)])


def _choose_threshold(half: Labels, other: Labels) -> Counts:
    background, objects = _votes(half, 2)
    # In integers, so that a mean of .15 is not above .15.
    above = 20 * objects[..., None] > np.array(_THRESHOLDS) * (background + objects)[..., None]
    return _choose_nested(above.sum(-1), len(_THRESHOLDS), half, other)


def _choose_disc(half: Labels, other: Labels) -> Counts:
    side = half.shape[1]
    offset = np.arange(1 - side, side, 2)  # pixel centres from the middle, in half pixels
    squared = offset[:, None] ** 2 + offset**2
    radii = side * np.arange(1, _RADII + 1)  # in 64ths of a pixel; the distances are in halves
    within = 32**2 * squared[..., None] <= radii**2
    return _choose_nested(within.sum(-1), _RADII, half, other)


def _choose_majority(half: Labels, other: Labels, n: int) -> Counts:
    winner = np.argmax(_votes(half, n), axis=0)
    return confusion(np.broadcast_to(winner, other.shape), other, n)


def _choose_nested(masks_with: Steps, masks: int, half: Labels, other: Labels) -> Counts:
    """Counts on `other` (B, 2, 2) of the mask that has the best mean IoU on `half`.
    The masks are nested: a pixel lies in the `masks_with` (S, S) largest of them."""
    best = max(range(masks), key=_nested_iou(masks_with, masks, half).__getitem__)
    chosen = (masks_with > best).astype(np.uint8)
    return confusion(np.broadcast_to(chosen, other.shape), other, 2)


def _nested_iou(masks_with: Steps, masks: int, half: Labels) -> list[float]:
    """Mean IoU on `half` of every mask, largest first."""
    counts = tally(np.broadcast_to(masks_with, half.shape), half, regions=masks + 1, labels=2)
    outside = counts.cumsum(1)[:, :-1]  # (B, masks, 2): mask k leaves out the pixels in k masks or fewer
    pairs = np.stack([outside, counts.sum(1, keepdims=True) - outside], 2)  # (B, masks, 2, 2)
    return [as_labelled(pairs[:, k]).iou for k in range(masks)]


def _votes(truth: Labels, n: int) -> npt.NDArray[np.int64]:
    """Images that give each pixel each label: (n, S, S)."""
    return np.stack([np.count_nonzero(truth == label, axis=0) for label in range(n)])


def _check(truth: Labels, n: int) -> None:
    if n < 2:
        raise ValueError(f"n must be 2 or more, not {n}: the background counts as one")
    if truth.ndim != 3 or truth.shape[1] != truth.shape[2] or truth.dtype != np.uint8:
        raise ValueError(f"truth must be (N, S, S) uint8, not {truth.shape} {truth.dtype}")
    check_labels(truth, n)
