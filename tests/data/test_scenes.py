"""Drawn scenes: to the letter of the paper's colored-2-MNIST, and the same wherever and whenever drawn."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from data_made import SHARED, idx_file, write_mnist
from redoseg.data import mnist
from redoseg.data.dataset import Dataset, open_dataset
from redoseg.data.scenes import binarise
from redoseg.errors import DataError
from refusals import refusal


def opened(kind: str, size: int = 32, folder: Path | None = None) -> Dataset:
    return open_dataset([kind], size=size, n=3 if kind == "digits" else 2, mnist=folder)


@pytest.mark.parametrize("kind", ["digits", "digit"])
def test_splits_and_shapes(kind: str) -> None:
    data = opened(kind)
    assert {name: len(split) for name, split in data.splits.items()} == {
        "train": 50_000,
        "val": 1000,
        "test": 1000,
    }
    for split in data.splits.values():
        assert np.array_equal(split.labelled, np.arange(len(split)))
        assert len(split.names) == len(split)
        indices = np.array([7, len(split) - 1])
        images, labels = split.images(indices), split.labels(indices)
        assert (images.shape, images.dtype) == ((2, 32, 32, 3), np.dtype(np.uint8))
        assert (labels.shape, labels.dtype) == ((2, 32, 32), np.dtype(np.uint8))
    assert data.describe()["splits"] == {
        "train": {"images": 50_000, "labelled": 50_000},
        "val": {"images": 1000, "labelled": 1000},
        "test": {"images": 1000, "labelled": 1000},
    }


@pytest.mark.parametrize("kind", ["digits", "digit"])
def test_a_scene_depends_on_its_index_alone(kind: str) -> None:
    train, again = opened(kind).split("train"), opened(kind).split("train")
    many = train.images(np.arange(40))
    assert np.array_equal(again.images(np.array([31, 5, 31])), many[[31, 5, 31]])
    assert np.array_equal(again.labels(np.array([31])), train.labels(np.arange(40))[[31]])
    assert len({image.tobytes() for image in many}) == 40
    assert not np.array_equal(many[0], opened(kind).split("val").images(np.arange(1))[0])


def between(values: NDArray[np.uint8], low: float, high: float) -> bool:
    return bool((values >= np.rint(low * 255)).all() and (values <= np.rint(high * 255)).all())


def spread(values: NDArray[np.uint8], low: float, high: float) -> bool:
    """Uniform over the range, as far as 300 values can tell."""
    wide = (high - low) * 255
    return bool(values.min() < low * 255 + 0.1 * wide and values.max() > high * 255 - 0.1 * wide)


@pytest.mark.parametrize("kind", ["digits", "digit"])
def test_colours_are_those_of_the_paper(kind: str) -> None:
    train = opened(kind).split("train")
    images, labels = train.images(np.arange(300)), train.labels(np.arange(300))
    back = np.array([image[label == 0][0] for image, label in zip(images, labels, strict=True)])
    assert np.array_equal(back[:, 0], back[:, 1])
    assert all(between(back[:, c], 0.33, 0.66) and spread(back[:, c], 0.33, 0.66) for c in (0, 2))
    drawn = [
        (label[y, x], image[y, x])
        for image, label in zip(images, labels, strict=True)
        for y, x in [np.argwhere(label == region)[0] for region in np.unique(label)[1:]]
    ]
    colours = np.array([colour for _, colour in drawn])
    odd = colours[:, 0] > 127 if kind == "digit" else np.array([region == 2 for region, _ in drawn])
    assert 0.35 < odd.mean() < 0.65
    dark, bright = colours[~odd], colours[odd]
    assert np.array_equal(dark[:, 1], dark[:, 2])
    assert np.array_equal(bright[:, 0], bright[:, 2])
    assert all(between(dark[:, c], 0, 0.33) and spread(dark[:, c], 0, 0.33) for c in (0, 1))
    assert all(between(bright[:, c], 0.66, 1) and spread(bright[:, c], 0.66, 1) for c in (0, 1))
    for image, label in zip(images, labels, strict=True):  # and each region has but one
        assert len(np.unique(image.reshape(-1, 3), axis=0)) == len(np.unique(label))


@pytest.mark.parametrize(
    ("kind", "size", "side"), [("digits", 32, 14), ("digits", 128, 56), ("digit", 32, 20)]
)
def test_digits_have_their_size_and_any_place(kind: str, size: int, side: int) -> None:
    labels = opened(kind, size).split("train").labels(np.arange(200))
    reached = np.zeros((2, 2), bool)
    for label in labels:
        for region in np.unique(label)[1:]:
            y, x = np.nonzero(label == region)
            assert np.ptp(y) < side
            assert np.ptp(x) < side
            reached |= [[y.min() == 0, y.max() == size - 1], [x.min() < side / 4, x.max() >= size - side / 4]]
    assert reached.all()


def test_the_nearer_digit_hides_the_other_and_either_may_be_nearer() -> None:
    train = opened("digits").split("train")
    labels = train.labels(np.arange(400))
    sizes = np.array([[(label == region).sum() for region in (1, 2)] for label in labels])
    assert set(np.unique(labels)) == {0, 1, 2}
    whole = sizes.max(axis=0)
    assert (sizes < whole * 0.3).any(axis=0).all()


def test_splits_share_no_digit() -> None:
    parts = mnist.load(None)
    seen = [{image.tobytes() for image in part.images} for part in parts.values()]
    assert [len(part.values) for part in parts.values()] == [1438, 179, 180]
    assert sum(len(part.values) for part in parts.values()) == 1797
    assert not (seen[0] & seen[1]) | (seen[0] & seen[2]) | (seen[1] & seen[2])
    assert all(set(part.values) == set(range(10)) for part in parts.values())


@pytest.mark.parametrize("side", [14, 20, 28, 56])
def test_strokes_are_whole(side: int) -> None:
    images = mnist.load(None)["train"].images[:300]
    strokes = [binarise(image, side) for image in images]
    pieces = [ndimage.label(stroke, np.ones((3, 3)))[1] for stroke in strokes]
    assert np.mean(np.array(pieces) == 1) > 0.97
    assert 0.25 < np.mean(strokes) < 0.4


def test_fingerprints_of_scenes(tmp_path: Path) -> None:
    kinds = [
        opened("digit"),
        opened("digits"),
        opened("digit", 64),
        opened("digit", 32, write_mnist(tmp_path)),
    ]
    assert len({data.fingerprint for data in kinds}) == 4
    assert opened("digit").fingerprint == kinds[0].fingerprint


@pytest.mark.parametrize("end", ["", ".gz"])
def test_mnist_files_are_read_and_split(tmp_path: Path, end: str) -> None:
    parts = mnist.load(write_mnist(tmp_path, end))
    assert {split: part.images[:, 0, 0].tolist() for split, part in parts.items()} == {
        "train": list(range(110)),
        "val": list(range(110, 120)),
        "test": list(range(120, 140)),
    }
    assert parts["val"].values.tolist() == list(range(10))
    assert opened("digits", 32, tmp_path).split("test").labels(np.arange(5)).max() == 2


def test_bad_mnist_files_are_one_error(tmp_path: Path) -> None:
    name = "train-images-idx3-ubyte"
    images = np.zeros((120, 28, 28), np.uint8)
    write_mnist(tmp_path)
    for content, complaint in (
        (idx_file(images, magic=0x801), name),
        (idx_file(images, magic=0xD03), "not an IDX file"),
        (idx_file(images[1:]), "belong together"),
        (idx_file(images)[:-1], "cut short"),
        (b"", "not an IDX"),
        (b"\x1f\x8b\x08bad", "can't be read"),
    ):
        (tmp_path / name).write_bytes(content)
        with refusal(DataError, match=complaint):
            mnist.load(tmp_path)


def test_the_real_mnist() -> None:
    if not (SHARED / "mnist").exists():
        pytest.skip(f"{SHARED} has no mnist")
    parts = mnist.load(SHARED / "mnist")
    assert {split: len(part.values) for split, part in parts.items()} == {
        "train": 55_000,
        "val": 5000,
        "test": 10_000,
    }
    assert parts["train"].values[:5].tolist() == [5, 0, 4, 1, 9]
    assert opened("digits", 32, SHARED / "mnist").split("val").images(np.arange(2)).shape == (2, 32, 32, 3)
