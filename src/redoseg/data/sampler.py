"""Endless seeded batches of indices: which images a training step sees, as a function of the step alone."""

import numpy as np
from numpy.typing import NDArray

from redoseg.errors import DataError

_DOMAIN = 0x5EED  # keeps these permutations apart from everything else that is drawn from the same seed


class InfiniteSampler:
    """Batches of indices of `length` items, cut from one endless sequence of shuffled epochs.

    Epoch e is a permutation of all items that depends on (seed, e) only. Batch k is the part
    [k * batch, (k + 1) * batch) of the sequence and depends on (seed, k) only: a resumed run needs no state.
    """

    def __init__(self, length: int, batch: int, seed: int) -> None:
        """DataError unless `length` >= `batch` >= 1."""
        if batch < 1:
            raise DataError(f"a batch of {batch} images makes no sense: give --batch 1 or more")
        if length < batch:
            raise DataError(f"{length} images are fewer than a batch of {batch}: add images or lower --batch")
        self.length, self.batch, self.seed = length, batch, seed
        self._epochs: dict[int, NDArray[np.int64]] = {}

    def batch_at(self, k: int) -> NDArray[np.int64]:
        """(batch,) int64, the indices of batch `k` >= 0; one can be there twice only where an epoch ends."""
        epoch, start = divmod(k * self.batch, self.length)
        end = start + self.batch
        if end <= self.length:
            return self._epoch(epoch)[start:end].copy()
        return np.concatenate([self._epoch(epoch)[start:], self._epoch(epoch + 1)[: end - self.length]])

    def _epoch(self, e: int) -> NDArray[np.int64]:
        order = self._epochs.get(e)
        if order is None:
            rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([_DOMAIN, self.seed, e])))
            order = rng.permutation(self.length).astype(np.int64, copy=False)
            # a batch spans at most two epochs, so no more than two are remembered
            self._epochs = {old: kept for old, kept in self._epochs.items() if abs(old - e) == 1}
            self._epochs[e] = order
        return order


def evenly_spaced(length: int, wanted: int | None) -> NDArray[np.int64]:
    """At most `wanted` of the indices 0 to length - 1, rising, with the first and the last; None: all."""
    count = length if wanted is None else min(wanted, length)
    return np.unique(np.linspace(0, length - 1, count).round().astype(np.int64))


def derive_seed(*numbers: int) -> int:
    """One seed in [0, 2^63) from several numbers; those of neighbouring steps or attempts are unrelated."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)
