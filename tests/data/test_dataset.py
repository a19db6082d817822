"""`open_dataset`: from what is given on the command line to images and labels."""

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from data_made import SHARED, Content, mask, picture, write_folder, write_tar, write_zip
from redoseg.data import cache
from redoseg.data.dataset import Dataset, open_dataset
from redoseg.errors import DataError
from refusals import refusal

Written = Callable[[Content], Path]
Opened = Callable[..., Dataset]


@pytest.fixture
def opened(tmp_path: Path) -> Opened:
    def open_them(*data: Path | str, size: int = 8, n: int = 2) -> Dataset:
        return open_dataset([str(item) for item in data], size=size, n=n, cache=tmp_path / "cache")

    return open_them


def labels_of(data: Dataset, split: str = "train") -> set[int]:
    part = data.split(split)
    return set(np.unique(part.labels(part.labelled)).tolist())


def test_images_come_by_index_in_any_order(written: Written, opened: Opened) -> None:
    data = opened(written({f"{i}.png": picture(i) for i in range(12)}))
    train = data.split("train")
    assert list(data.splits) == ["train"]
    assert len(train) == len(train.names) == 12
    images = train.images(np.array([3, 0, 3]))
    assert images.shape == (3, 8, 8, 3)
    assert images.dtype == np.uint8
    for index, image in zip((3, 0, 3), images, strict=True):
        seed = int(train.names[index])
        colour = np.random.default_rng(seed).integers(0, 256, 3)
        assert np.array_equal(image, np.broadcast_to(colour, (8, 8, 3)))


def test_splits_and_masks(written: Written, opened: Opened) -> None:
    content = {f"images/{i}.png": picture(i) for i in range(6)}
    content |= {"masks/1.png": mask(0, 1), "masks/4.png": mask(1, 0)}
    content["splits.csv"] = b"name,split\n0,test\n1,val\n2,val\n3,fold5\n4,train\n5,train\n"
    data = opened(written(content))
    assert list(data.splits) == ["train", "val", "test", "fold5"]
    val = data.split("val")
    assert list(val.names) == ["1", "2"]
    assert val.labelled.tolist() == [0]
    assert val.labelled.dtype == np.int64
    assert val.labels(np.array([1, 0]))[1].tolist() == [[0] * 4 + [1] * 4] * 8
    assert (val.labels(np.array([1])) == 255).all()
    assert data.split("test").labelled.size == 0
    with pytest.raises(DataError, match="no split `dev`: there is train, val, test, fold5"):
        data.split("dev")


def test_describe_is_json(opened: Opened, tmp_path: Path) -> None:
    content = {"a.png": picture(), "b.png": picture(), "c.png": b"broken", "masks/a.png": mask(0, 1)}
    described = opened(write_folder(tmp_path / "set", content)).describe()
    assert json.loads(json.dumps(described)) == described
    assert described["name"] == "set"
    assert described["size"] == 8
    assert described["splits"] == {"train": {"images": 2, "labelled": 1}}
    assert isinstance(described["skipped"], list)
    assert len(described["skipped"]) == 1


# What doesn't decode


def test_what_does_not_decode_is_named_counted_and_left_out(
    written: Written, opened: Opened, caplog: pytest.LogCaptureFixture
) -> None:
    content = {f"{i}.png": picture(i) for i in range(4)}
    content |= {f"bad{i}.jpg": picture(i, kind="JPEG")[:200] for i in range(7)}
    path = written(content)
    for _ in range(2):  # built, and from the cache
        caplog.clear()
        data = opened(path)
        assert list(data.split("train").names) == ["0", "1", "2", "3"]
        assert len(data.skipped) == 7
        assert data.skipped[0].startswith("bad0.jpg (")
        (record,) = caplog.records
        assert (record.name, record.levelno) == ("redoseg.data", logging.WARNING)
        message = record.getMessage()
        assert "7 images" in message
        assert "bad4.jpg" in message
        assert "bad5.jpg" not in message
        assert "and 2 more" in message


def test_when_nothing_decodes_it_is_one_error(written: Written, opened: Opened) -> None:
    path = written({"a.png": b"", "b.jpg": b"no"})
    for _ in range(2):
        with refusal(DataError, match="not one of its 2 images decodes"):
            opened(path)


def test_a_bad_mask_costs_only_the_label(
    opened: Opened, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    content = {f"{name}.png": picture() for name in "abcd"} | {"e.png": b"broken"}
    content |= {
        "masks/a.png": mask(0, 1),
        "masks/b.png": b"broken",
        "masks/c.png": mask(0, 1, size=(16, 20)),
        "masks/d.png": mask(0, 1, size=(10, 8)),
        "masks/e.png": mask(0, 1),
    }
    data = opened(write_folder(tmp_path / "set", content))
    train = data.split("train")
    assert [train.names[i] for i in train.labelled] == ["a", "d"]
    assert np.array_equal(*train.labels(train.labelled))
    assert "2 masks can't be used" in caplog.text
    assert any(
        "masks/c.png (16 x 20 is not the shape of its photo, 20 x 16)" in line for line in data.skipped
    )


# What values in masks mean


@pytest.mark.parametrize(
    ("first", "second", "n", "expected"),
    [
        ((0, 255), (255,), 2, {0, 1}),  # only 0 and 255 in a file: 255 is the object
        ((0, 255), (0, 1), 2, {0, 1}),  # whatever another file holds
        ((0, 1, 255), (0, 255), 2, {0, 1, 255}),  # beside numbers it is unlabelled
        ((0, 1), (255,), 2, {0, 1, 255}),  # and all over it is where others have numbers
        ((0, 1), (0, 2), 2, {0, 1}),  # with two regions every label is the object
        ((0, 254), (3, 255), 2, {0, 1, 255}),
        ((0,), (0,), 2, {0}),
        ((0, 1), (2, 255), 3, {0, 1, 2, 255}),
        ((0, 255), (0,), 3, {0, 1}),
        ((0, 1), (254,), 255, {0, 1, 254}),
    ],
)
def test_what_labels_mean(
    opened: Opened, tmp_path: Path, first: tuple[int], second: tuple[int], n: int, expected: set[int]
) -> None:
    content = {"a.png": picture(), "b.png": picture()}
    content |= {"masks/a.png": mask(*first), "masks/b.png": mask(*second)}
    assert labels_of(opened(write_folder(tmp_path / "set", content), n=n)) == expected


def test_labels_beyond_n_say_which_and_what_to_do(opened: Opened, tmp_path: Path) -> None:
    content = {"a.png": picture(), "masks/a.png": mask(0, 1, 3, 7, 255)}
    data = opened(write_folder(tmp_path / "set", content), n=3)
    assert data.split("train").images(np.arange(1)).shape == (1, 8, 8, 3)
    with refusal(DataError, match="set: its masks hold labels 3, 7, but 3 regions are 0 to 2: give --n 8"):
        data.split("train").labels(np.arange(1))
    assert labels_of(opened(tmp_path / "set", n=8)) == {0, 1, 3, 7, 255}


# The union of several


def test_a_union_joins_splits_by_name(opened: Opened, tmp_path: Path) -> None:
    one = {"a.png": picture(1), "b.png": picture(2), "splits.csv": b"name,split\na,train\nb,val\n"}
    one["masks/b.png"] = mask(0, 255)
    two = {"a.png": picture(3), "c.png": picture(4), "d.png": picture(5)}
    two["masks/d.png"] = mask(0, 1, 255)
    data = opened(write_tar(tmp_path / "one.tar", one), write_folder(tmp_path / "two", two))
    train, val = data.split("train"), data.split("val")
    assert list(train.names) == ["one/a", "two/a", "two/c", "two/d"]
    assert list(val.names) == ["one/b"]
    colours = [np.random.default_rng(seed).integers(0, 256, 3) for seed in (5, 1, 4, 3)]
    assert np.array_equal(train.images(np.array([3, 0, 2, 1]))[:, 0, 0], colours)
    assert train.labelled.tolist() == [3]
    assert labels_of(data) == {0, 1, 255}  # each source by its own rule
    assert labels_of(data, "val") == {0, 1}
    assert data.name == "one + two"
    assert (train.labels(np.array([0])) == 255).all()
    assert train.images(np.array([], np.int64)).shape == (0, 8, 8, 3)


def test_sources_of_one_name_are_told_apart(opened: Opened, tmp_path: Path) -> None:
    content = {"a.png": picture()}
    data = opened(write_zip(tmp_path / "set.zip", content), write_folder(tmp_path / "set", content))
    assert list(data.split("train").names) == ["set-0/a", "set-1/a"]


def test_fingerprints_differ_where_the_data_does(opened: Opened, tmp_path: Path) -> None:
    content = {"a.png": picture(), "b.png": picture()}
    path = write_folder(tmp_path / "set", content)
    seen = [opened(path).fingerprint, opened(path, size=16).fingerprint, opened(path, path).fingerprint]
    write_folder(path, {"splits.csv": b"name,split\na,val\nb,train\n"})
    seen.append(opened(path).fingerprint)
    write_folder(path, {"splits.csv": b"name,split\na,val\nb,test\n"})
    seen.append(opened(path).fingerprint)
    write_folder(path, {"a.png": picture() + b"longer"})
    seen.append(opened(path).fingerprint)
    assert len(set(seen)) == len(seen)
    assert opened(path).fingerprint == seen[-1]


def test_a_copy_and_added_masks_have_the_same_fingerprint(opened: Opened, tmp_path: Path) -> None:
    path = write_folder(tmp_path / "set", {"a.png": picture(), "b.png": picture()})
    before = opened(path).fingerprint
    os.utime(path / "a.png", ns=(0, 5))
    assert opened(path).fingerprint == before
    write_folder(path, {"masks/a.png": mask(0, 1)})
    data = opened(path)
    assert data.fingerprint == before
    assert len(data.split("train").labelled) == 1


def test_nothing_to_open_is_one_error(opened: Opened) -> None:
    with refusal(DataError, match="nothing to open: 0 data sets"):
        opened()


# The real thing


@pytest.fixture(scope="module")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def test_real_flowers(shared_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not (SHARED / "flowers64.tar").exists():
        pytest.skip(f"{SHARED} has no flowers64.tar")
    data = open_dataset([str(SHARED / "flowers64.tar")], size=32, cache=shared_cache)
    assert {name: len(split) for name, split in data.splits.items()} == {
        "train": 6149,
        "val": 1020,
        "test": 1020,
    }
    assert len(data.split("val").labelled) == 59
    assert labels_of(data, "val") == {0, 1, 255}
    assert not data.skipped
    monkeypatch.setattr(cache, "_build", lambda *_: pytest.fail("what is cached was made again"))
    again = open_dataset([str(SHARED / "flowers64.tar")], size=32, cache=shared_cache)
    assert again.fingerprint == data.fingerprint


def test_real_faces_in_their_own_folders(shared_cache: Path) -> None:
    folder = SHARED / "lfw-original" / "lfw_funneled"
    if not folder.exists():
        pytest.skip(f"{folder} is not there")
    train = open_dataset([str(folder)], size=64, cache=shared_cache).split("train")
    assert len(train) == 24
    assert all("/" in name for name in train.names)
    assert train.images(np.arange(24)).std() > 20


def test_what_is_scored_without_being_asked(
    opened: Opened, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    content = {"a.png": picture(), "b.png": picture(1), "masks/a.png": mask(0, 255)}
    plain = opened(write_folder(tmp_path / "plain", content))
    with caplog.at_level(logging.INFO, "redoseg.data"):
        assert plain.split_to_score()[0] == "train"
    assert "plain has no split `val`: what is scored is all of it, `train`" in caplog.text
    with refusal(DataError, match="has no split `val`"):
        plain.split_to_score("val")
    table = {"splits.csv": b"name,split\na,val\nb,train\n"}
    split = opened(write_folder(tmp_path / "split", content | table))
    assert split.split_to_score()[0] == "val"
    assert split.split_to_score("train")[0] == "train"
