"""Faces: three kinds of lists of splits, or none, and part labels."""

import logging
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from data_made import SHARED
from native_made import FACES, MAKERS, Made, opened
from redoseg.data.dataset import open_dataset
from redoseg.data.images import decode_label
from redoseg.data.native.sources import find_missing, list_source
from redoseg.errors import DataError
from refusals import refusal


def without_lists(root: Path) -> Made:
    made = MAKERS["lfw"](root)
    for split in ("train", "val", "test"):
        (root / f"{split}.txt").unlink()
    return made


def test_the_sets_own_lists_keep_labelled_faces_from_training(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = without_lists(tmp_path)
    (tmp_path / "parts_train.txt").write_text("2\nBo 1\nNot_Here 12\n")
    (tmp_path / "parts_validation.txt").write_text("Bo 2\nDi 1\n")  # Di's labels aren't here
    (tmp_path / "parts_test.txt").write_text("Ed 7\n\nCy_van_Dam-Roe 1\n")
    found = list_source(made.source).splits
    expected = ["train", "val", "val", "test", "val", "test", "val"]
    assert found == dict(zip(FACES, expected, strict=True))
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "own part lists, not the paper's" in record.getMessage()


def test_without_lists_persons_are_dealt_to_val_and_test(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = without_lists(tmp_path)
    found = list_source(made.source).splits
    assert {name for name, split in found.items() if split == "train"} == {"Ann_Li_0001", "Di_0001"}
    assert set(found.values()) == {"train", "val", "test"}
    persons = {name[:-5]: {found[face] for face in FACES if face.startswith(name[:-5])} for name in FACES}
    assert all(len(splits) == 1 for splits in persons.values())
    assert "not the paper's" in caplog.text
    assert list_source(made.source).splits == found


def test_only_the_lists_that_are_there_count(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made = MAKERS["lfw"](tmp_path)
    (tmp_path / "train.txt").unlink()
    (tmp_path / "test.txt").unlink()
    found = list_source(made.source).splits
    assert Counter(found.values()) == {"val": 2, "train": 5}
    assert "5 images, now in `train`" in caplog.text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"Bo Bo_0001\nBo\n", "line 2"),
        (b"Bo Bo_0001 x\n", "line 1"),
        (b"Bo Ed_0001\n", "Bo Ed_0001"),
        (b"Ed Ed_0007\n", "two splits"),
        ("\ufffe\x00".encode(), "line 1"),
        (b"\xff\xfe\x00", "val.txt can't be read"),
    ],
)
def test_a_broken_list_is_one_line(tmp_path: Path, text: bytes, said: str) -> None:
    made = MAKERS["lfw"](tmp_path)
    (tmp_path / "val.txt").write_bytes(text)
    with refusal(DataError, match=re.escape(said)):
        list_source(made.source)
    assert any(said in line for line in find_missing("lfw", tmp_path))


def test_hair_is_a_region_of_its_own_with_three(tmp_path: Path) -> None:
    made = MAKERS["lfw"](tmp_path / "set")
    val = opened(made, n=3).split("val")
    assert {int(value) for value in np.unique(val.labels(val.labelled))} == {0, 1, 2}
    label = val.labels(np.array([list(val.names).index("Bo_0001")]))[0]
    truth = made.truth["Bo_0001"]
    assert (label[:20] == np.where(truth[:20], 2, 0)).all()
    assert (label[20:] == np.where(truth[20:], 1, 0)).all()


def test_the_real_faces_have_the_foreground_of_the_packed_ones(tmp_path: Path) -> None:
    """The packed masks are the same labels at 128 x 128, by the nearest pixel; skin and hair, too."""
    root, packed = SHARED / "lfw-original", SHARED / "lfw128.tar"
    if not root.exists() or not packed.exists():
        pytest.skip(f"{root} or {packed} is not there")
    val = open_dataset([f"lfw:{root}"], size=128, n=3, cache=tmp_path).split("val")
    masks = list_source(packed).masks
    assert len(val) == len(val.labelled) == 24
    for name, label in zip(val.names, val.labels(val.labelled), strict=True):
        with masks[name].open() as file:
            assert np.array_equal(label, decode_label(file)), name
