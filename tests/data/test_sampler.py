"""The order of images is a function of the seed and the step."""

import numpy as np
import pytest

from redoseg.data.sampler import InfiniteSampler, derive_seed, evenly_spaced
from redoseg.errors import DataError
from refusals import refusal


@pytest.mark.parametrize(("length", "batch"), [(10, 3), (10, 10), (7, 5), (100, 1), (1, 1), (12, 4)])
def test_each_epoch_is_a_permutation(length: int, batch: int) -> None:
    stream = InfiniteSampler(length, batch, seed=3)
    row = np.concatenate([stream.batch_at(k) for k in range(5 * length)])
    assert row.dtype == np.int64
    for epoch in range(len(row) // length):
        assert sorted(row[epoch * length : (epoch + 1) * length]) == list(range(length))


def test_epochs_and_seeds_differ() -> None:
    stream, other = InfiniteSampler(1000, 1000, seed=0), InfiniteSampler(1000, 1000, seed=1)
    assert not np.array_equal(stream.batch_at(0), stream.batch_at(1))
    assert not np.array_equal(stream.batch_at(0), other.batch_at(0))


def test_a_batch_is_a_function_of_seed_and_number() -> None:
    used = InfiniteSampler(50, 7, seed=5)
    for k in (0, 9, 3, 1000, 3, 7, 8):
        batch = used.batch_at(k)
        assert batch.shape == (7,)
        assert np.array_equal(batch, InfiniteSampler(50, 7, seed=5).batch_at(k))
        batch[:] = -1  # what is done to a batch has no effect on the next


def test_far_steps_are_as_quick_as_near_ones() -> None:
    assert InfiniteSampler(100_000, 25, seed=0).batch_at(10**12).shape == (25,)


def test_a_batch_of_no_images_is_refused() -> None:
    with refusal(DataError, match="--batch"):
        InfiniteSampler(24, 0, seed=0)


@pytest.mark.parametrize(
    ("length", "wanted", "indices"),
    [
        (21, 3, [0, 10, 20]),
        (21, 1, [0]),
        (9, 3, [0, 4, 8]),
        (5, 8, [0, 1, 2, 3, 4]),
        (0, 3, []),
        (4, None, [0, 1, 2, 3]),
    ],
)
def test_evenly_spaced_indices_hold_both_ends(length: int, wanted: int | None, indices: list[int]) -> None:
    assert evenly_spaced(length, wanted).tolist() == indices


def test_seeds_of_neighbours_are_other_numbers() -> None:
    seeds = {derive_seed(a, b) for a in range(30) for b in range(30)}
    assert len(seeds) == 900
    assert all(0 <= seed < 1 << 63 for seed in seeds)
    assert derive_seed(0, 1) == derive_seed(0, 1)
