"""What each --type holds, where it lies, and what it may replace."""

import numpy as np
import pytest
from PIL import Image

from redoseg import segment_files
from redoseg.errors import ConfigError, DataError
from refusals import refusal
from shapes import BRIGHT, COLOURS, HEIGHT, WIDTH, asked, box, disc, photo, read, save

DISC = disc(40, 30, 12)
TYPES = ("mask", "soft", "rgba", "cutout", "overlay")


@pytest.fixture
def photos(tmp_path):
    save(tmp_path / "photos" / "a.png", photo(DISC))
    save(tmp_path / "photos" / "b" / "c.png", photo(box(0, 0, 20, 30), value=200))
    return tmp_path / "photos"


def files_in(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("type", TYPES)
def test_one_type_lies_in_out(photos, tmp_path, type):
    assert segment_files(BRIGHT, [photos], tmp_path / "out", config=asked(type=type)).written == 2
    assert files_in(tmp_path / "out") == ["a.png", "b/c.png"]


def test_several_types_have_a_folder_each_and_are_all_told(photos, tmp_path):
    told: list = []
    segment_files(BRIGHT, [photos], tmp_path / "out", each=told.append, config=asked(type=TYPES))
    assert files_in(tmp_path / "out") == sorted(f"{type}/{n}" for type in TYPES for n in ("a.png", "b/c.png"))
    for mask in told:
        assert list(mask.files) == list(TYPES)
        assert mask.mask == mask.files["mask"]
        assert all(
            (tmp_path / "out" / type) in (tmp_path / file).parents for type, file in mask.files.items()
        )


def test_the_pictures_are_what_they_say(photos, tmp_path):
    out = tmp_path / "out"
    segment_files(BRIGHT, [photos / "a.png"], out, config=asked(type=TYPES))
    pixels = read(photos / "a.png")
    np.testing.assert_array_equal(read(out / "mask" / "a.png"), 255 * DISC)
    soft = read(out / "soft" / "a.png")
    assert soft.dtype == np.uint16
    np.testing.assert_array_equal(soft, 65535 * DISC.astype(np.uint16))
    rgba = read(out / "rgba" / "a.png")
    np.testing.assert_array_equal(rgba[..., 3], 255 * DISC)
    np.testing.assert_array_equal(rgba[..., :3], pixels * DISC[..., None])
    np.testing.assert_array_equal(read(out / "cutout" / "a.png"), rgba[18:43, 28:53])
    overlay = read(out / "overlay" / "a.png")
    np.testing.assert_array_equal(overlay[~DISC], pixels[~DISC])
    assert (overlay[DISC] != pixels[DISC]).any(1).all()


def test_the_soft_mask_keeps_how_sure_each_pixel_is_in_16_bits(tmp_path):
    ramp = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    ramp[..., 0] = np.linspace(0, 255, WIDTH).round()
    save(tmp_path / "a.png", ramp)
    segment_files(BRIGHT, [tmp_path / "a.png"], tmp_path / "out", config=asked(type="soft"))
    np.testing.assert_allclose(read(tmp_path / "out" / "a.png") / 65535, ramp[..., 0] / 255, atol=1e-5)
    segment_files(COLOURS, [tmp_path / "a.png"], tmp_path / "two", config=asked(type="soft", region=2))
    assert not read(tmp_path / "two" / "a.png").any()


def test_a_photo_without_an_object_has_an_empty_cut_out(tmp_path):
    save(tmp_path / "a.png", photo())
    segment_files(BRIGHT, [tmp_path / "a.png"], tmp_path / "out", config=asked(type="cutout"))
    assert read(tmp_path / "out" / "a.png").tolist() == [[[0, 0, 0, 0]]]


@pytest.mark.parametrize("type", TYPES)
def test_each_type_replaces_its_own_and_nothing_else(photos, tmp_path, type):
    config = asked(type=type)
    for _ in range(2):
        assert segment_files(BRIGHT, [photos], tmp_path / "out", config=config).written == 2
    file = save(tmp_path / "out" / "a.png", photo(DISC))
    before = file.read_bytes()
    for overwrite in (False, True):  # a photo is no mask
        with refusal(DataError, match=r"a\.png is there and was not written by redoseg"):
            segment_files(BRIGHT, [photos], tmp_path / "out", config=config, overwrite=overwrite)
    assert file.read_bytes() == before
    Image.fromarray(np.asarray(255 * DISC, np.uint8)).save(file)
    if type == "mask":
        segment_files(BRIGHT, [photos], tmp_path / "out", config=config, overwrite=True)
    else:
        with refusal(DataError, match=r"choose another --out$"):
            segment_files(BRIGHT, [photos], tmp_path / "out", config=config, overwrite=True)


def test_no_type_replaces_a_photo(tmp_path):
    file = save(tmp_path / "soft" / "a.png", photo(DISC))
    before = file.read_bytes()
    with refusal(DataError, match="would replace a photo"):
        segment_files(BRIGHT, [file], tmp_path, config=asked(type=("mask", "soft")))
    assert file.read_bytes() == before
    assert files_in(tmp_path) == ["soft/a.png"]


def test_a_pattern_that_no_shell_replaced_is_its_files(photos, tmp_path):
    save(photos / "x[1].png", photo(DISC))
    report = segment_files(BRIGHT, [f"{photos}/**/[ac].png", photos / "x[1].png"], tmp_path / "out")
    assert (report.written, report.failed) == (3, [])
    assert files_in(tmp_path / "out") == ["a.png", "c.png", "x[1].png"]
    ((name, reason),) = segment_files(BRIGHT, [f"{photos}/*.gif"], tmp_path / "out").failed
    assert name.endswith("*.gif")
    assert "there is no" in reason


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"type": ()}, "--type names nothing to write"),
        ({"type": ("mask", "masks")}, "--type is mask masks: choose from mask, soft, rgba, cutout, overlay"),
        ({"threshold": 1.0}, "--threshold is 1.0: it must be above 0 and below 1"),
        ({"threshold": float("nan")}, "--threshold is nan"),
        ({"region": -1}, "--region is -1: it must be at least 0"),
        ({"instances": 0.001}, "--instances is 0.001: it must be from 0.004 to 1"),
        ({"instances": 0.1, "largest": True}, "--largest keeps one piece and --instances numbers several"),
    ],
)
def test_what_cannot_be_is_one_line(wrong, said):
    with refusal(ConfigError, match=said):
        asked(**wrong)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"region": 3}, "--region is 3: the model's regions are 0 to 2"),
        ({"fill_holes": True}, "--fill-holes is for one region, the model has 1 to 2: choose a --region"),
        ({"instances": 0.1}, "--instances is for one region"),
    ],
)
def test_what_the_model_cannot_give_is_one_line_and_nothing_is_written(photos, tmp_path, options, said):
    with refusal(ConfigError, match=said):
        segment_files(COLOURS, [photos], tmp_path / "out", config=asked(**options))
    assert not (tmp_path / "out").exists()
