"""What values in masks mean with so many regions."""

import numpy as np
import pytest

from redoseg.data.labels import UNLABELLED, LabelMap
from redoseg.errors import DataError


@pytest.mark.parametrize(
    ("values", "n", "labels"),
    [
        ([0, 255], 2, [0, 1]),
        ([0, 255], 3, [0, 1]),
        ([0, 7, 255], 2, [0, 1, UNLABELLED]),
        ([0, 1, 2, 255], 3, [0, 1, 2, UNLABELLED]),
        ([0, 1, 2], 2, [0, 1, 1]),
    ],
)
def test_values_become_labels(values: list[int], n: int, labels: list[int]) -> None:
    assert LabelMap(np.array(values), n, "set")(np.array(values, np.uint8)).tolist() == labels


def test_labels_without_a_region_are_named_when_they_are_read() -> None:
    label_map = LabelMap(np.array([0, 2, 3, 7, 255]), 3, "set")
    with pytest.raises(
        DataError, match=r"set: its masks hold labels 3, 7, but 3 regions are 0 to 2: give --n 8"
    ):
        label_map(np.zeros((2, 2), np.uint8))
