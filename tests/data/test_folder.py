"""The images, masks and splits of a folder or an archive, and what they are called."""

import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from data_made import Content, mask, names, picture, write_folder
from redoseg.data.archive import Entry
from redoseg.data.folder import scan
from redoseg.errors import DataError
from refusals import refusal

Written = Callable[[Content], Path]


def test_all_images_are_found_by_name(written: Written) -> None:
    content = {"b.JPG": picture(1, kind="JPEG"), "sub/deep/a.webp": picture(2, kind="WEBP"), "c.txt": b"no"}
    listing = scan(written(content))
    assert names(listing) == ["b", "sub/deep/a"]
    assert [ref.suffix for ref in listing.images] == [".JPG", ".webp"]
    for ref in listing.images:
        with ref.open() as file:
            assert file.read() == content[ref.name + ref.suffix]


def test_a_single_top_folder_is_stripped(written: Written) -> None:
    listing = scan(written({"top/a.png": picture(), "top/x/b.png": picture(), "README": b"hello"}))
    assert names(listing) == ["a", "x/b"]
    assert listing.stem == "set"


def test_images_masks_and_splits(written: Written) -> None:
    content = {
        "top/images/x/a.png": picture(),
        "top/images/b.jpg": picture(kind="JPEG"),
        "top/masks/x/a.png": mask(0, 1),
        "top/splits.csv": b"name,who,split\nx/a,me,val\nb,you,test\n",
        "top/cover.png": picture(),
    }
    listing = scan(written(content))
    assert names(listing) == ["b", "x/a"]
    assert listing.masks.keys() == {"x/a"}
    assert listing.splits == {"x/a": "val", "b": "test"}
    with listing.masks["x/a"].open() as file:
        assert file.read() == mask(0, 1)


def test_without_images_folder_everything_but_masks_counts(written: Written) -> None:
    listing = scan(written({"a.png": picture(), "x/b.png": picture(), "masks/a.png": mask(0)}))
    assert names(listing) == ["a", "x/b"]
    assert listing.masks.keys() == {"a"}
    assert listing.splits == {}


def test_a_lone_images_folder_is_no_top_folder(written: Written) -> None:
    assert names(scan(written({"images/images/a.png": picture(), "images/b.png": picture()}))) == [
        "b",
        "images/a",
    ]


def test_masks_of_photos_in_one_folder_match_with_and_without_it(tmp_path: Path) -> None:
    """A folder of one folder is stripped: what `segment` wrote beside it must still match."""
    content = {"cats/a.jpg": picture(kind="JPEG"), "cats/b.jpg": picture(kind="JPEG")}
    masks = {"masks/a.png": mask(0), "masks/cats/b.png": mask(0)}
    listing = scan(write_folder(tmp_path, content | masks))
    assert listing.masks.keys() == {"a", "b"} == set(names(listing))


def test_equal_stems_keep_their_suffix(written: Written, caplog: pytest.LogCaptureFixture) -> None:
    content = {
        "a.jpg": picture(kind="JPEG"),
        "a.png": picture(),
        "b.png": picture(),
        "a.jpg.png": picture(),
        "sub/a.png": picture(),
        "masks/a.jpg.png.png": mask(0),
        "masks/a.png.png": mask(1),
        "masks/a.png": mask(2),
        "splits.csv": b"name,split\na,val\nb,test\nsub/a.png,test\n",
    }
    listing = scan(written(content))
    assert names(listing) == ["a.jpg", "a.jpg.png", "a.png", "b", "sub/a"]
    assert listing.masks.keys() == {"a.jpg.png", "a.png"}
    assert "1 masks have no image of their name: a" in caplog.text
    assert listing.splits["a.jpg"] == listing.splits["a.png"] == "val"
    assert listing.splits["sub/a"] == "test"
    assert listing.splits["a.jpg.png"] == "train"


def test_a_mask_with_the_photos_suffix_matches(tmp_path: Path) -> None:
    listing = scan(write_folder(tmp_path, {"a.jpg": picture(kind="JPEG"), "masks/a.jpg.png": mask(0)}))
    assert listing.masks.keys() == {"a"}


def test_jpeg_masks_are_named_and_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    listing = scan(write_folder(tmp_path, {"a.png": picture(), "masks/a.jpg": picture(kind="JPEG")}))
    assert listing.masks == {}
    assert "masks must be PNG" in caplog.text


def test_junk_is_ignored(written: Written) -> None:
    junk = ["__MACOSX/a.png", "__MACOSX/._a.png", "._a.png", ".hidden/b.png", ".DS_Store", "sub/._b.png"]
    assert names(scan(written({"sub/b.png": picture()} | dict.fromkeys(junk, b"junk")))) == ["b"]


def test_one_image_file(tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(picture())
    assert names(scan(tmp_path / "photo.png")) == ["photo"]
    assert scan(str(tmp_path / "photo.png")).stem == "photo"


@pytest.mark.parametrize("content", [{"a.txt": b""}, {"masks/a.png": mask(0)}, {"notes/b.md": b""}])
def test_no_images_is_one_error(written: Written, content: Content) -> None:
    with refusal(DataError, match="holds no images"):
        scan(written(content))


def test_refs_open_from_several_threads(written: Written) -> None:
    content = {f"{i}.png": picture(i) for i in range(8)}
    refs = scan(written(content)).images
    wrong: list[str] = []

    def read_all() -> None:
        for ref in refs:
            with ref.open() as file:
                if file.read() != content[f"{ref.name}.png"]:
                    wrong.append(ref.name)

    threads = [threading.Thread(target=read_all) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_links_in_folders_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    write_folder(tmp_path / "else", {"b.png": picture()})
    write_folder(tmp_path / "set", {"a.png": picture()})
    (tmp_path / "set" / "linked.png").symlink_to(tmp_path / "else" / "b.png")
    (tmp_path / "set" / "more").symlink_to(tmp_path / "else")
    (tmp_path / "else" / "back").symlink_to(tmp_path / "set")
    found = names(scan(tmp_path / "set"))
    assert {"a", "linked", "more/b"} <= set(found)
    assert len(found) < 20


def test_pipes_are_no_images(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a.png": picture()})
    os.mkfifo(tmp_path / "b.png")
    assert names(scan(tmp_path)) == ["a"]


def test_relative_paths_stay_good_when_the_folder_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_folder(tmp_path / "set", {"a.png": picture()})
    monkeypatch.chdir(tmp_path)
    (ref,) = scan("set").images
    monkeypatch.chdir("/")
    with ref.open() as file:
        assert file.read() == picture()


# splits.csv


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (b"", "columns"),
        (b"name,set\na,train\n", "columns"),
        (b"name,split\na\n", "row 1"),
        (b"name,split\na,\n", "row 1"),
        (b"name,split\n,val\n", "row 1"),
        (b"name,split\na,val\na,test\n", "two splits"),
        (b'name,split\n"a,val\n', "read"),
        (b"name,split\n\xff\xfe,val\n", "read"),
    ],
)
def test_broken_splits_are_one_error(tmp_path: Path, text: bytes, complaint: str) -> None:
    write_folder(tmp_path, {"a.png": picture(), "splits.csv": text})
    with refusal(DataError, match=complaint) as caught:
        scan(tmp_path)
    assert "splits.csv" in str(caught.value)


def test_splits_as_excel_writes_them(tmp_path: Path) -> None:
    text = b'\xef\xbb\xbfsplit,name,extra\r\nval,"a, b",1\r\n'
    assert scan(write_folder(tmp_path, {"a, b.png": picture(), "splits.csv": text})).splits == {"a, b": "val"}


def test_images_without_a_split_are_train_and_named_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    content = {f"{i}.png": picture() for i in range(9)} | {"splits.csv": b"name,split\n0,val\n"}
    listing = scan(write_folder(tmp_path, content))
    assert [listing.splits[str(i)] for i in range(9)] == ["val"] + ["train"] * 8
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("redoseg.data", logging.WARNING)
    assert "8 images, now in `train`: 1, 2, 3, 4, 5 and 3 more" in record.getMessage()


def test_sidecars_can_be_left_alone(tmp_path: Path) -> None:
    content = {"a.png": picture(), "masks/a.png": mask(0), "splits.csv": b"broken"}
    listing = scan(write_folder(tmp_path, content), sidecars=False)
    assert names(listing) == ["a"]
    assert listing.masks == {}
    assert listing.splits == {}


def test_many_files_are_listed_without_opening_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "0.png").write_bytes(picture())
    for i in range(1, 10_000):
        os.link(tmp_path / "0.png", tmp_path / f"{i}.png")
    monkeypatch.setattr(Entry, "open", lambda entry: pytest.fail(f"{entry.path} was opened"))
    assert len(scan(tmp_path).images) == 10_000
