"""Scores of predicted regions against labels: counts, matching, means over images.

Regions found without labels have no names, so a score must say how regions were matched to labels.
`per_image` matches anew for every image and metric, as the paper's tables do, which flatters. `per_dataset`
matches once for the whole split, which is honest. `as_labelled` matches nothing: region k is label k.

All three take the counts of `confusion` and follow the same rules. Every score is a mean over images. Pixels
labelled `UNLABELLED` are not counted; an image without labelled pixels is left out (`count_scored` counts the
others). A label that is neither in an image's truth nor in the region matched to it has IoU 1 there.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from redoseg.data.labels import UNLABELLED

Integers = npt.NDArray[np.integer[Any]]
Labels = npt.NDArray[np.uint8]
Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_PIXELS_AT_ONCE = 1 << 18  # keeps the int64 temporaries of `tally` at a few MB, whatever the split's size


@dataclass(frozen=True)
class Scores:
    """Means over images, each in [0, 1].

    `accuracy` is the share of labelled pixels that are correct. `iou` is the IoU (intersection over union) of
    the object, label 1, for n = 2; for n > 2 it is the mean over all labels but the background. `mean_iou` is
    the mean over all n labels, `regions` each label's IoU, in the order of labels.
    """

    accuracy: float
    iou: float
    mean_iou: float
    regions: tuple[float, ...]

    def as_dict(self) -> dict[str, float | list[float]]:
        """The same as JSON holds it."""
        return vars(self) | {"regions": list(self.regions)}

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Self:
        """Scores from what `as_dict` returned."""
        return cls(**fields | {"regions": tuple(fields["regions"])})


def confusion(predicted: Integers, truth: Labels, n: int) -> Counts:
    """Pixels of each region and label: (B, n, n), indexed [image, region, label].
    `predicted` (B, H, W) holds regions 0..n-1, `truth` (B, H, W) uint8 labels 0..n-1 or `UNLABELLED`. Raises
    ValueError on other shapes, types or values."""
    return tally(predicted, truth, regions=n, labels=n)


def tally(predicted: Integers, truth: Labels, regions: int, labels: int) -> Counts:
    """As `confusion`, for any number of regions: (B, regions, labels)."""
    _check_maps(predicted, truth, regions, labels)
    counts = np.empty((len(truth), regions, labels), np.int64)
    images_at_once = max(1, _PIXELS_AT_ONCE // max(1, truth[:1].size))
    for start in range(0, len(truth), images_at_once):
        part = slice(start, start + images_at_once)
        counts[part] = _tally_part(predicted[part], truth[part], regions, labels)
    return counts


def per_image(counts: Counts) -> Scores:
    """Scores under the best matching of each image and each metric, found with the truth: it flatters.
    A model that gives every pixel to one region gets the object's share as its `iou` (n = 2). `regions` are
    under the matching that maximises that image's `mean_iou`, so `iou` may exceed the mean of the objects'.
    `counts` (B, n, n) is from `confusion`. Raises ValueError if no image has a labelled pixel."""
    counts = _scored_only(counts)
    iou = _iou(counts)
    regions = _best(iou)
    return Scores(
        accuracy=float(np.mean(_best(counts).sum(1) / counts.sum((1, 2)))),
        iou=float(np.mean(_best(iou[:, :, 1:]))),
        mean_iou=float(np.mean(regions)),
        regions=tuple(regions.mean(0).tolist()),
    )


def per_dataset(counts: Counts) -> Scores:
    """Scores under one matching for the whole split, `matching` of the summed counts, for every metric.
    `counts` (B, n, n) is from `confusion`. Raises ValueError if no image has a labelled pixel."""
    counts = _scored_only(counts)
    region_of_label = np.argsort(matching(counts.sum(0)))
    return as_labelled(counts[:, region_of_label])


def as_labelled(counts: Counts) -> Scores:
    """Scores of predictions that are labels already: region k is label k, nothing is matched.
    `counts` (B, n, n) is from `confusion`. Raises ValueError if no image has a labelled pixel."""
    counts = _scored_only(counts)
    regions = np.diagonal(_iou(counts), axis1=1, axis2=2).mean(0)
    correct = np.trace(counts, axis1=1, axis2=2)
    return Scores(
        accuracy=float(np.mean(correct / counts.sum((1, 2)))),
        iou=float(np.mean(regions[1:])),
        mean_iou=float(np.mean(regions)),
        regions=tuple(regions.tolist()),
    )


def objects_matched(counts: Counts) -> Counts:
    """The counts (B, n, n) with the objects' regions in the order of the labels that they fit best, once for
    all images; region 0 stays the background. For n = 2 nothing changes."""
    region_of_label = np.argsort(matching(counts.sum(0)[1:, 1:])) + 1
    return counts[:, np.concatenate(([0], region_of_label))]


def matching(summed: Counts) -> npt.NDArray[np.intp]:
    """The label each region gets, (n,), so that the most pixels are correct.
    `summed` (n, n) is the counts of all images added up, [region, label]. ValueError on another shape."""
    if summed.ndim != 2 or summed.shape[0] != summed.shape[1]:
        raise ValueError(f"summed must be (n, n), not {summed.shape}: pass counts.sum(0)")
    label_of_region: npt.NDArray[np.intp] = linear_sum_assignment(summed, maximize=True)[1]
    return label_of_region


def count_scored(counts: Counts) -> int:
    """How many images of `counts` (B, n, n) have a labelled pixel and so enter the means."""
    _check_counts(counts)
    return int(np.count_nonzero(counts.sum((1, 2))))


def _tally_part(predicted: Integers, truth: Labels, regions: int, labels: int) -> Counts:
    check_labels(truth, labels)
    images, columns = len(truth), labels + 1  # the last column takes the unlabelled pixels and is dropped
    cell = predicted.astype(np.intp)
    cell += regions * np.arange(images).reshape(-1, 1, 1)
    cell *= columns
    cell += np.minimum(truth, labels)
    counts = np.bincount(cell.ravel(), minlength=images * regions * columns)
    return counts.reshape(images, regions, columns)[:, :, :labels]


def _iou(counts: Counts) -> Floats:
    """IoU of every region with every label: (B, n, n)."""
    union = counts.sum(1, keepdims=True) + counts.sum(2, keepdims=True) - counts
    iou: Floats = np.ones(counts.shape)
    np.divide(counts, union, out=iou, where=union > 0)
    return iou


def _best(gain: Counts | Floats) -> Floats:
    """(B, n, m) gains of giving label l region r -> (B, m) gains under each image's best matching."""
    best = np.empty((gain.shape[0], gain.shape[2]))
    for row, image in zip(best, gain, strict=True):
        label, region = linear_sum_assignment(image.T, maximize=True)
        row[:] = image[region, label]
    return best


def _scored_only(counts: Counts) -> Counts:
    _check_counts(counts)
    counts = counts[counts.any((1, 2))]
    if not len(counts):
        raise ValueError("no image has a labelled pixel: nothing to score; check count_scored(counts) first")
    return counts


def _check_counts(counts: Counts) -> None:
    if counts.ndim != 3 or counts.shape[1] != counts.shape[2] or counts.shape[1] < 2:
        raise ValueError(
            f"counts must be (B, n, n) with n >= 2, not {counts.shape}: pass what confusion() returns"
        )
    if not np.issubdtype(counts.dtype, np.integer) or counts.min(initial=0) < 0:
        raise ValueError("counts must be integers from 0: pass what confusion() returns, not normalised")


def _check_maps(predicted: Integers, truth: Labels, regions: int, labels: int) -> None:
    if not 2 <= labels <= UNLABELLED or regions < 1:
        raise ValueError(
            f"{regions} regions, {labels} labels: need 2 to {UNLABELLED} labels and a region or more"
        )
    if truth.ndim != 3 or predicted.shape != truth.shape:
        raise ValueError(
            f"predicted {predicted.shape} and truth {truth.shape} must have one shape, (B, H, W)"
        )
    if truth.dtype != np.uint8 or not np.issubdtype(predicted.dtype, np.integer):
        raise ValueError(
            f"truth must be uint8 and predicted integer, not {truth.dtype} and {predicted.dtype}: "
            "take argmax of soft masks, or (mask > 0.5).astype(np.uint8)"
        )
    if predicted.size and not 0 <= predicted.min() <= predicted.max() < regions:
        raise ValueError(f"predicted must be 0..{regions - 1}, found {predicted.min()}..{predicted.max()}")


def check_labels(truth: Labels, labels: int) -> None:
    """Raises ValueError unless every label is 0..labels-1 or `UNLABELLED`."""
    strange = (truth >= labels) & (truth != UNLABELLED)
    if strange.any():
        raise ValueError(
            f"truth holds label {truth[strange].min()}, not 0..{labels - 1} or {UNLABELLED} (unlabelled): "
            "for n = 2 make every label but 0 a 1 first, else raise n"
        )
