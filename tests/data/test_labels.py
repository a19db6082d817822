"""What labels in masks mean with so many regions, and which region a soft mask gives a pixel to."""

import numpy as np
import pytest

from redoseg.data.labels import UNLABELLED, LabelMap, region_map


@pytest.mark.parametrize(
    ("values", "n", "labels"),
    [
        ([0, 1], 3, [0, 1]),
        ([0, 7, 255], 2, [0, 1, UNLABELLED]),
        ([0, 1, 2, 255], 3, [0, 1, 2, UNLABELLED]),
        ([0, 1, 2], 2, [0, 1, 1]),
    ],
)
def test_labels_become_regions(values: list[int], n: int, labels: list[int]) -> None:
    assert LabelMap(np.array(values), n, "set")(np.array(values, np.uint8)).tolist() == labels


def test_region_maps_cut_at_a_half_or_take_the_largest() -> None:
    two = np.array([[[0.5, 0.49, 1.0]], [[0.5, 0.51, 0.0]]], np.float32)
    np.testing.assert_array_equal(region_map(two), [[0, 1, 0]])
    three = np.array([[[0.2, 0.4]], [[0.45, 0.3]], [[0.35, 0.3]]], np.float32)
    np.testing.assert_array_equal(region_map(three), [[1, 0]])
    assert region_map(three).dtype == np.uint8
