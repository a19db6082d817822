"""Squares beside the centred ones: cut where they should be, learned and never scored."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_made import mask, picture, write_folder
from redoseg.config import DistillConfig, TrainConfig
from redoseg.data.dataset import open_dataset
from redoseg.errors import ConfigError


def stripes(width, height):
    """A photo whose columns (or rows, if it is high) are 16 pixels wide, each of its own grey."""
    long = max(width, height)
    values = (np.arange(long) // 16 * 20).astype(np.uint8)
    image = np.tile(values, (height, 1)) if width >= height else np.tile(values[:, None], (1, width))
    file = io.BytesIO()
    Image.fromarray(image).convert("RGB").save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def photos(tmp_path):
    content = {
        "images/wide.png": stripes(96, 32), "images/high.png": stripes(32, 96),
        "images/square.png": stripes(32, 32), "images/nearly.png": stripes(34, 32),
        "images/val.png": stripes(96, 32), "masks/wide.png": mask(0, 255, size=(96, 32)),
        "masks/val.png": mask(0, 255, size=(96, 32)),
        "splits.csv": b"name,split\nwide,train\nhigh,train\nsquare,train\nnearly,train\nval,val\n",
    }  # fmt: skip
    return write_folder(tmp_path / "photos", content)


def opened(*data, squares, tmp_path):
    return open_dataset([str(one) for one in data], size=32, cache=tmp_path / "cache", squares=squares)


def starts_of(images):
    """The first grey along the long side of each square of stripes, of 16 pixels each."""
    return [(int(image[0, 0, 0]) // 20, int(image[-1, -1, 0]) // 20) for image in images]


def test_each_long_photo_has_squares_at_both_ends(photos, tmp_path):
    sides = opened(photos, squares=3, tmp_path=tmp_path).sides
    assert list(sides.names) == ["high#1", "high#2", "wide#1", "wide#2"]
    images = sides.images(np.arange(4))
    assert images.shape == (4, 32, 32, 3)
    assert starts_of(images) == [(0, 1), (4, 5), (0, 1), (4, 5)]
    assert starts_of(sides.images(np.array([3, 0]))) == [(4, 5), (0, 1)]


def test_of_five_two_lie_between_the_ends_and_the_middle(photos, tmp_path):
    sides = opened(photos, squares=5, tmp_path=tmp_path).sides
    of_wide = [index for index, name in enumerate(sides.names) if name.startswith("wide")]
    assert starts_of(sides.images(np.array(of_wide))) == [(0, 1), (1, 2), (3, 4), (4, 5)]


def test_they_are_learned_behind_the_centred_ones_and_have_no_labels(photos, tmp_path):
    plain, more = (opened(photos, squares=squares, tmp_path=tmp_path) for squares in (1, 3))
    assert plain.sides is None
    assert plain.training is plain.splits["train"]
    assert (len(plain.training), len(more.training)) == (4, 8)
    assert np.array_equal(more.training.images(np.arange(4)), plain.training.images(np.arange(4)))
    assert np.array_equal(more.training.labelled, plain.training.labelled)
    assert (more.training.labels(np.arange(4, 8)) == 255).all()
    assert [*more.splits] == [*plain.splits]
    assert len(more.splits["val"]) == 1
    assert more.fingerprint == plain.fingerprint


def test_square_photos_have_no_more(tmp_path):
    folder = write_folder(
        tmp_path / "photos", {"a.png": picture(size=(32, 32)), "b.png": picture(size=(35, 32))}
    )
    assert opened(folder, squares=5, tmp_path=tmp_path).sides is None


def test_sources_come_one_after_another_and_damaged_photos_not_at_all(photos, tmp_path):
    archive = tmp_path / "more.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("long.png", stripes(160, 32))
        file.writestr("broken.png", stripes(160, 32)[:90])
    dataset = opened(photos, archive, squares=3, tmp_path=tmp_path)
    assert list(dataset.sides.names)[-2:] == ["more/long#1", "more/long#2"]
    assert starts_of(dataset.sides.images(np.array([5]))) == [(8, 9)]
    assert len(dataset.training) == 5 + 6


def test_a_photo_that_changes_is_cut_anew(photos, tmp_path):
    before = opened(photos, squares=3, tmp_path=tmp_path).sides.images(np.array([3]))
    (photos / "images" / "wide.png").write_bytes(stripes(128, 32))
    after = opened(photos, squares=3, tmp_path=tmp_path).sides.images(np.array([3]))
    assert starts_of(before) != starts_of(after)


@pytest.mark.parametrize("squares", [0, 2, 7])
def test_other_numbers_are_refused(squares):
    with pytest.raises(ConfigError, match=r"^--squares is \d: use 1, 3 or 5$"):
        TrainConfig.of(data="photos", out=Path("run"), squares=squares)
    with pytest.raises(ConfigError, match=r"^--squares is \d: use 1, 3 or 5$"):
        DistillConfig(run=Path("a"), out=Path("b"), squares=squares)
