"""Pictures that redoseg writes know it, and nothing else is written over."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from redoseg.errors import DataError
from redoseg.figures.own_png import check_replaceable, is_own, save_own_png
from refusals import refusal

MASK = Image.fromarray(np.pad(np.full((8, 8), 255, np.uint8), 6))


def test_what_it_wrote_it_knows_and_everyone_can_read(tmp_path: Path) -> None:
    save_own_png(MASK, tmp_path / "a.png")
    assert is_own(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        image.load()
        assert image.info["Software"].startswith("redoseg ")
        assert np.array_equal(np.asarray(image), np.asarray(MASK))


@pytest.mark.parametrize("change", ["saved again", "a byte", "cut short", "empty"])
def test_what_was_changed_is_no_longer_its_own(tmp_path: Path, change: str) -> None:
    file = tmp_path / "a.png"
    save_own_png(MASK, file)
    content = file.read_bytes()
    if change == "saved again":
        with Image.open(file) as image:
            image.load()
        image.save(file)
    else:
        damaged = {"a byte": content[:50] + b"\xaa" + content[51:], "cut short": content[:-20], "empty": b""}
        file.write_bytes(damaged[change])
    assert not is_own(file)


def test_only_its_own_is_replaced_and_with_overwrite_masks(tmp_path: Path) -> None:
    save_own_png(MASK, tmp_path / "own.png")
    MASK.save(tmp_path / "mask.png")
    Image.effect_noise((20, 20), 80).convert("RGB").save(tmp_path / "photo.png")
    check_replaceable([tmp_path / "own.png", tmp_path / "new.png"])
    check_replaceable([tmp_path / "own.png", tmp_path / "mask.png"], overwrite=True)
    with refusal(
        DataError, match="mask.png is there and was not written by redoseg.*let --overwrite replace"
    ):
        check_replaceable([tmp_path / "mask.png"], overwrite=False)
    with refusal(DataError, match=r"has been changed since: choose another --out$"):
        check_replaceable([tmp_path / "mask.png"])
    for overwrite in (False, True):
        with refusal(DataError, match="photo.png is there and was not written by redoseg"):
            check_replaceable([tmp_path / "photo.png"], overwrite=overwrite)


def test_links_are_not_followed(tmp_path: Path) -> None:
    save_own_png(MASK, tmp_path / "own.png")
    for name, to in (("link.png", "own.png"), ("nowhere.png", "nothing")):
        (tmp_path / name).symlink_to(tmp_path / to)
        with refusal(DataError, match=name):
            check_replaceable([tmp_path / name], overwrite=True)
