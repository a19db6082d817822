"""How DATA on a command line names a set, and what Flowers and CUB have of their own."""

import io
import os
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from data_made import SHARED, names
from native_made import FACES, MAKERS, PETALS, Made, save, shape
from redoseg.config import TrainConfig
from redoseg.data.dataset import open_dataset
from redoseg.data.images import decode_grey
from redoseg.data.native import cub, flowers, layout
from redoseg.data.native.sources import absolute_source, find_missing, list_images, list_source, parse_native
from redoseg.errors import DataError
from redoseg.exporting.provenance import train_line, without_paths
from refusals import refusal

# What DATA says


def test_flowers_and_faces_are_one_set(tmp_path: Path) -> None:
    both = [MAKERS[name](tmp_path / f"{name}-as-it-came") for name in ("flowers", "lfw")]
    data = open_dataset([made.source for made in both], size=32, cache=tmp_path / "cache")
    assert data.name == "flowers + lfw"
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 6, "val": 3, "test": 4}
    assert "lfw/Bo_0001" in data.split("val").names


def test_a_path_is_no_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made = MAKERS["lfw"](tmp_path / "faces")
    shutil.move(made.root / "lfw_funneled", tmp_path / "lfw:faces")
    for source in ("./lfw:faces", Path("lfw:faces"), tmp_path / "lfw:faces", str(tmp_path / "lfw:faces")):
        assert parse_native(source) is None
        assert len(list_source(source).images) == len(FACES)
        assert len(open_dataset([source], size=8, cache=tmp_path / "c").split("train")) == len(FACES)
    with pytest.raises(DataError, match="lfw_funneled"):
        list_source("lfw:faces")
    for source in ("lfw:", "birds:faces", "LFW:faces"):
        assert parse_native(source) is None
        with pytest.raises(DataError, match="flowers:DIR"):
            list_source(source)


def test_relative_folders_and_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    MAKERS["cub"](tmp_path / "birds")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert absolute_source("cub:birds") == f"cub:{tmp_path / 'birds'}"
    assert absolute_source("birds") == tmp_path / "birds"
    found = [list_source(source) for source in ("cub:birds", "cub:~/birds", absolute_source("cub:birds"))]
    monkeypatch.chdir("/")
    for one in found:
        with one.images[0].open() as file:
            assert file.read(2) == b"\xff\xd8"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("lfw:/data/lfw", "lfw:lfw"),
        ("lfw:../sets/faces/", "lfw:faces"),
        ("cub:birds", "cub:birds"),
        ("lfw:~/faces", "lfw:faces"),
        ("/data/lfw:x", "./lfw:x"),
        ("./lfw:x", "./lfw:x"),
        ("/data/lfw.tar", "lfw.tar"),
    ],
)
def test_commands_and_cards_keep_the_sets_name(source: str, said: str) -> None:
    config = TrainConfig.of(data=source, out="x").resolved()
    assert without_paths(config, "x")["data"] == [said]
    assert train_line(config, out="x", steps=3).split()[:3] == ["redoseg", "train", said]


# Flowers


def test_photos_without_a_split_train_and_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made = MAKERS["flowers"](tmp_path)
    shutil.copy(made.photos["image_00001"], tmp_path / "jpg" / "image_00009.jpg")
    assert list_source(made.source).splits["image_00009"] == "train"
    assert "image_00009" in caplog.text
    caplog.clear()
    (tmp_path / "setid.mat").unlink()
    assert list_source(made.source).splits == {}
    assert "not the paper's" in caplog.text


def test_blue_is_background_after_jpeg() -> None:
    """Petals of many colours, at JPEG's usual qualities: away from the outline nothing is wrong."""
    for index, petals in enumerate(PETALS):
        truth = shape(index, 200, 240)
        pixels = np.empty((200, 240, 3), np.uint8)
        pixels[:], pixels[truth] = (0, 0, 255), petals
        for options in ({"quality": 75}, {"quality": 95}, {"quality": 60}, {"quality": 90, "subsampling": 0}):
            file = io.BytesIO()
            Image.fromarray(pixels).save(file, "JPEG", **options)
            file.seek(0)
            found = flowers.read_flower(file) > 0
            made = Made("flowers", Path(), {}, {}, {"a": truth}, {}, slack=2)
            assert made.agrees("a", found), (petals, options)
            assert (found & truth).sum() / (found | truth).sum() > 0.95


def mat_file(**variables: list[object]) -> bytes:
    file = io.BytesIO()
    savemat(file, {name: np.array([values]) for name, values in variables.items()})
    return file.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"MATLAB", b"MATLAB 5.0 MAT-file" + bytes(200)),
        None,  # half of it
        mat_file(trnid=[1], valid=[2]),
        mat_file(trnid=[1], valid=[1], tstid=[2]),
        mat_file(trnid=["a"], valid=[1], tstid=[2]),
    ],
    ids=["empty", "head", "zeros", "half", "no test", "twice", "letter"],
)
def test_a_broken_setid_or_one_of_something_else_is_one_line(tmp_path: Path, content: bytes | None) -> None:
    made = MAKERS["flowers"](tmp_path)
    whole = (tmp_path / "setid.mat").read_bytes()
    (tmp_path / "setid.mat").write_bytes(whole[: len(whole) // 2] if content is None else content)
    with refusal(DataError, match=r"setid\.mat"):
        list_source(made.source)
    assert any("setid.mat" in line for line in find_missing("flowers", tmp_path))


def test_the_real_setid() -> None:
    file = SHARED / "flowers-setid.mat"
    if not file.exists():
        pytest.skip(f"{file} is not there")
    splits = flowers.read_setid(file)
    assert Counter(splits.values()) == {"train": 6149, "val": 1020, "test": 1020}
    assert len(splits) == 8189
    assert min(splits) == "image_00001"
    assert max(splits) == "image_08189"


# Birds


def test_segmentations_lie_beside_the_photos_folder_too(tmp_path: Path) -> None:
    made = MAKERS["cub"](tmp_path / "CUB_200_2011")
    before = list_source(made.source)
    shutil.move(made.root / "segmentations", tmp_path / "segmentations")
    for root in (made.root, tmp_path):
        found = list_images("cub", root)
        assert found.masks.keys() == before.masks.keys()
        assert found.splits == before.splits
        assert names(found) == names(before)
    shutil.move(made.root / "train_val_test_split.txt", tmp_path)
    assert list_images("cub", tmp_path).splits == before.splits


def test_the_papers_numbers_without_its_list(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As many photos as the set has: counted, dealt, always the same."""
    (tmp_path / "photo").write_bytes(b"x")
    lines = []
    for number in range(1, 11_789):
        folder, name = f"{1 + number % 200:03d}.Bird", f"Bird_{number:05d}"
        if number <= 200:
            (tmp_path / "images" / folder).mkdir(parents=True)
        os.link(tmp_path / "photo", tmp_path / "images" / folder / f"{name}.jpg")
        lines.append(f"{number} {folder}/{name}.jpg\n")
    (tmp_path / "images.txt").write_text("".join(lines))
    found = list_images("cub", tmp_path).splits
    assert Counter(found.values()) == {"train": 10_000, "val": 788, "test": 1_000}
    assert "not the paper's" in caplog.text
    assert list_images("cub", tmp_path).splits == found
    (said,) = find_missing("cub", tmp_path)
    assert "segmentations.tgz" in said


def test_few_birds_are_in_every_split(tmp_path: Path) -> None:
    made = MAKERS["cub"](tmp_path)
    (tmp_path / "train_val_test_split.txt").unlink()
    assert Counter(list_source(made.source).splits.values()) == {"train": 3, "val": 1, "test": 1}


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("train_val_test_split.txt", "1 3\n", "photo 1 has 3"),
        ("train_val_test_split.txt", "1 0\n1 1\n", "two splits"),
        ("train_val_test_split.txt", "1\n0\n", "line 2"),
        ("images.txt", "1 a b\n", "line 1"),
        ("images.txt", None, "images.txt"),
    ],
)
def test_broken_lists_of_birds_are_one_line(tmp_path: Path, file: str, text: str | None, said: str) -> None:
    made = MAKERS["cub"](tmp_path)
    (tmp_path / file).unlink() if text is None else (tmp_path / file).write_text(text)
    with refusal(DataError, match=said):
        list_source(made.source)
    assert any(said in line for line in find_missing("cub", tmp_path))


def test_grey_is_the_first_channel_whatever_the_file_has(tmp_path: Path) -> None:
    grey = np.array([[0, 127, 128, 255]], np.uint8)
    alpha = np.array([[255, 0, 0, 255]], np.uint8)
    kinds: dict[str, np.ndarray] = {
        "L": grey,
        "RGB": np.stack([grey] * 3, 2),
        "LA": np.stack([grey, alpha], 2),
        "RGBA": np.stack([grey, grey, grey, alpha], 2),
        "I;16": grey.astype(np.uint16) * 257,
    }
    for kind, pixels in kinds.items():
        path = save(tmp_path / f"{kind[:4]}{len(kind)}.png", pixels)
        with Image.open(path) as image:
            assert image.mode == kind
        assert decode_grey(path).tolist() == grey.tolist(), kind
        with path.open("rb") as file:
            assert cub.read_bird(file).tolist() == [[0, 0, 1, 1]]
    one_bit = tmp_path / "bit.png"
    Image.fromarray(grey).convert("P").save(tmp_path / "palette.png")
    Image.fromarray(grey > 127).save(one_bit)
    assert decode_grey(tmp_path / "palette.png").tolist() == grey.tolist()
    assert decode_grey(one_bit).tolist() == [[0, 0, 255, 255]]


def test_an_order_depends_on_names_and_key_alone() -> None:
    some = [str(i) for i in range(50)]
    assert layout.shuffle_names(some, 1) == layout.shuffle_names(some[::-1], 1)
    assert sorted(layout.shuffle_names(some, 1)) == sorted(some)
    assert layout.shuffle_names(some, 1) != layout.shuffle_names(some, 2)
