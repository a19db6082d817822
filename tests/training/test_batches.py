"""Batches: the same images wherever they are kept, and in however many parts."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from redoseg.data.sampler import InfiniteSampler, evenly_spaced
from redoseg.tensors import to_tensor
from redoseg.training.batches import Batches, Plain, Prefetched, Resident, open_source

CPU = torch.device("cpu")
N, S = 11, 8


class Images:
    """A split of random images that counts how often it is asked."""

    names: Sequence[str] = tuple(map(str, range(N)))
    labelled = np.zeros(0, np.int64)

    def __init__(self):
        self.all = np.random.default_rng(0).integers(0, 256, (N, S, S, 3), np.uint8)
        self.asked = []

    def __len__(self):
        return N

    def images(self, indices):
        self.asked.append(indices.tolist())
        return self.all[indices]

    def labels(self, indices):
        raise AssertionError("training looks at no mask")

    def whole(self, index):
        raise AssertionError("training looks at no whole photo")


def batches(kind=Plain, **options):
    return Batches(kind(Images(), CPU), InfiniteSampler(N, 4, 0), **options)


def take_batches(some, ks=range(9)):
    random = torch.Generator().manual_seed(0)
    return [some.at(k, random) for k in ks]


def test_a_batch_is_what_the_stream_says():
    stream = InfiniteSampler(N, 4, 0)
    for k, batch in enumerate(take_batches(batches())):
        assert torch.equal(batch, to_tensor(Images().all[stream.batch_at(k)]))


@pytest.mark.parametrize("kind", [Resident, Prefetched])
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("ks", [range(9), (4, 5, 2, 2, 30)], ids=["in turn", "leaping"])
def test_where_they_are_kept_changes_nothing(kind, flip, ks):
    pairs = zip(take_batches(batches(flip=flip), ks), take_batches(batches(kind, flip=flip), ks), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_the_whole_set_is_read_once_in_chunks(monkeypatch):
    monkeypatch.setattr("redoseg.training.batches.CHUNK", 4 * 3 * S * S)
    images = Images()
    resident = Resident(images, CPU)
    assert images.asked[1:] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10]]
    assert torch.equal(resident.images, torch.from_numpy(images.all))
    take_batches(Batches(resident, InfiniteSampler(N, 4, 0)))
    assert len(images.asked) == 4


def test_what_comes_is_fetched_ahead_and_once():
    some = batches(Prefetched)
    take_batches(some)
    asked = some.source.split.asked
    some.source._thread.shutdown()
    assert len(asked) == 9 + 3
    assert asked == [InfiniteSampler(N, 4, 0).batch_at(k).tolist() for k in range(12)]


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("kind", [Plain, Resident, Prefetched])
def test_the_parts_make_the_whole(kind, flip):
    parts = [take_batches(batches(kind, flip=flip, rank=rank, world=2)) for rank in range(2)]
    for whole, *of in zip(take_batches(batches(flip=flip)), *parts, strict=True):
        assert torch.equal(torch.stack(of, 1).flatten(0, 1), whole)


def test_on_a_cpu_they_are_gathered():
    assert isinstance(open_source(Images(), CPU), Plain)


@pytest.mark.parametrize(("free", "kind"), [(4, Resident), (3.9, Prefetched)])
def test_on_cuda_they_stay_if_they_take_a_quarter_at_most(monkeypatch, free, kind):
    made: dict[type, None] = {}
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free * N * S * S * 3, 0))
    for each in (Resident, Prefetched):
        monkeypatch.setattr(
            f"redoseg.training.batches.{each.__name__}", lambda *_, each=each: made.setdefault(each)
        )
    open_source(Images(), torch.device("cuda"))
    assert list(made) == [kind]


def test_spread_is_even():
    assert evenly_spaced(5, 8).tolist() == [0, 1, 2, 3, 4]
    assert evenly_spaced(9, 3).tolist() == [0, 4, 8]
