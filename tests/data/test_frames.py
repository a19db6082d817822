"""Frames of one colour around photos: found, left alone where there is none, and cut off."""

import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageDraw

from redoseg.data.frames import content_box, share_framed, trim_photos
from redoseg.data.native.sources import list_source
from redoseg.errors import DataError
from redoseg.files import aside_of
from refusals import refusal, refused_command

SIDE = 120


def scene(seed=0, width=SIDE, height=SIDE):
    """Something without a plain line."""
    rough = np.random.default_rng(seed).integers(0, 200, (height // 4, width // 4, 3), np.uint8)
    return Image.fromarray(rough).resize((width, height), Image.Resampling.BICUBIC)


def framed(colour, left, upper, right, lower, seed=0):
    picture = Image.new("RGB", (SIDE, SIDE), colour)
    picture.paste(scene(seed, right - left, lower - upper), (left, upper))
    return picture


def box_of(picture):
    return content_box(np.asarray(picture))


@pytest.mark.parametrize("colour", ["white", "black", (90, 60, 200)])
@pytest.mark.parametrize(
    "inside", [(12, 20, 100, 104), (0, 16, 120, 104), (20, 0, 104, 120), (12, 0, 104, 100), (3, 3, 117, 117)]
)
def test_a_frame_is_found_to_the_pixel_and_a_blurred_one(colour, inside):
    found = box_of(framed(colour, *inside))
    assert found is not None
    for side, (edge, true) in enumerate(zip(found, inside, strict=True)):
        if true in (0, SIDE):
            assert edge == true
        else:
            assert edge - true == (1 if side < 2 else -1)


@pytest.mark.parametrize("margin", range(11, 26))  # a thinner one is lost in JPEG's blocks
@pytest.mark.parametrize("quality", [75, 90])
def test_jpeg_keeps_a_frame_one(tmp_path, margin, quality):
    picture = Image.new("RGB", (240, 180), "white")
    picture.paste(scene(margin, 240 - 2 * margin, 180 - 2 * margin), (margin, margin))
    picture.save(tmp_path / "a.jpg", quality=quality)
    left, upper, right, lower = box_of(Image.open(tmp_path / "a.jpg"))
    assert all(margin - 4 <= edge <= margin + 10 for edge in (left, upper, 240 - right, 180 - lower))


def test_odd_shapes_have_no_frame():
    for shape in ((1, 1), (2, 300), (300, 2), (5, 5)):
        assert content_box(np.full((*shape, 3), 200, np.uint8)) is None


def thing_on_ground(shape):
    picture = Image.new("RGB", (SIDE, SIDE), "white")
    getattr(ImageDraw.Draw(picture), shape)((10, 20, 110, 100), fill=(20, 90, 160))
    return picture


@pytest.mark.parametrize(
    "picture",
    [
        scene(),
        thing_on_ground("ellipse"),
        Image.new("RGB", (SIDE, SIDE), "white"),
        framed("white", 0, 20, 120, 120),  # a sky
        framed("white", 0, 20, 100, 120),  # two sides that aren't opposite
        framed("white", 50, 50, 70, 70),  # a small thing: less than half of the sides
        framed("white", 1, 1, 119, 119),  # a hair's breadth
    ],
)
def test_what_is_no_frame(picture):
    assert box_of(picture) is None


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    framed("white", 12, 20, 100, 104).save(folder / "a.jpg", quality=95)
    framed("black", 12, 20, 100, 104).save(folder / "more" / "b.webp", lossless=True)
    scene(3).save(folder / "c.jpg")
    framed("white", 12, 20, 100, 104).save(folder / "d.png")
    return folder


def test_photos_are_trimmed_or_copied_by_their_names(source, tmp_path, command):
    assert share_framed(list_source(source).images) == 0.75
    out = tmp_path / "trimmed"
    code, output, said = command("trim", source, "--out", out)
    assert (code, said) == (0, "")
    assert output == f"3 photos without their frames and 1 as they are in {out}\n"
    found = sorted(path.relative_to(out).as_posix() for path in out.rglob("*.*"))
    assert found == ["a.jpg", "c.jpg", "d.png", "more/b.webp.png"]
    assert (out / "c.jpg").read_bytes() == (source / "c.jpg").read_bytes()
    with Image.open(out / "d.png") as trimmed, Image.open(source / "d.png") as whole:
        assert np.array_equal(np.asarray(trimmed), np.asarray(whole.crop((13, 21, 99, 103))))
    assert share_framed(list_source(out).images) == 0


def test_names_stay_where_two_differ_by_their_suffix_alone(tmp_path):
    (tmp_path / "photos").mkdir()
    for name in ("a.jpg", "a.png"):
        framed("white", 12, 20, 100, 104).save(tmp_path / "photos" / name)
    assert trim_photos(tmp_path / "photos", tmp_path / "out").trimmed == 2
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.jpg", "a.png"]


def test_a_frame_in_a_frame_goes_too_and_the_profile_of_colours_stays(tmp_path):
    (tmp_path / "photos").mkdir()
    whole = Image.new("RGB", (160, 160), "black")
    whole.paste(framed("white", 12, 20, 100, 104), (20, 20))
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    whole.save(tmp_path / "photos" / "a.jpg", quality=95, icc_profile=profile)
    trim_photos(tmp_path / "photos", tmp_path / "out")
    with Image.open(tmp_path / "out" / "a.jpg") as trimmed:
        assert 70 < trimmed.width < 90
        assert box_of(trimmed) is None
        assert trimmed.info["icc_profile"] == profile


def test_photos_in_a_compressed_archive_are_trimmed_too(source, tmp_path):
    with tarfile.open(tmp_path / "photos.tar.gz", "w:gz") as archive:
        archive.add(source, "photos")
    assert share_framed(list_source(tmp_path / "photos.tar.gz").images) == 0.75
    done = trim_photos(tmp_path / "photos.tar.gz", tmp_path / "out")
    assert (done.trimmed, done.copied, done.failed) == (3, 1, [])


def test_what_cant_be_read_is_named_and_the_others_are_done(source, tmp_path, command):
    (source / "broken.jpg").write_bytes(b"no photo")
    (source / "notes.txt").write_text("mine")
    code, output, said = command("trim", source, "--out", tmp_path / "out")
    assert code == 1
    assert output.endswith(", 1 other files left out; 1 could not be read, they are named above\n")
    assert said.startswith("redoseg: ")
    assert "broken.jpg: not an image" in said
    assert not (tmp_path / "out" / "broken.jpg").exists()


def test_mistakes_are_one_line_and_nothing_is_lost(source, tmp_path, command):
    (tmp_path / "there").mkdir()
    refused_command(command, "there is there: name a new folder", "trim", source, "--out", tmp_path / "there")
    refused_command(command, "lies among the photos", "trim", source, "--out", source / "trimmed")
    refused_command(command, "nosuch", "trim", tmp_path / "nosuch", "--out", tmp_path / "out")
    broken = tmp_path / "link"
    broken.symlink_to(tmp_path / "gone")
    refused_command(command, "link is there: name a new folder", "trim", source, "--out", broken)
    Image.open(source / "more" / "b.webp").save(source / "more" / "b.webp.png")
    refused_command(
        command, "more/b.webp would become more/b.webp.png, and that is there", "trim", source, "--out", "n"
    )
    (source / "splits.csv").write_text("name,split\na,val\n")
    refused_command(command, "has masks or splits.csv", "trim", source, "--out", "n")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.jpg").write_bytes(b"no photo")
    refused_command(
        command, "none of its 1 photos can be read: a.jpg (not", "trim", tmp_path / "bad", "--out", "n"
    )
    assert not Path("n").exists()
    for kind in ("images", "masks"):
        (tmp_path / "set" / kind).mkdir(parents=True)
        scene().convert("L" if kind == "masks" else "RGB").save(tmp_path / "set" / kind / "a.png")
    refused_command(
        command,
        "has masks or splits.csv, which would no longer fit",
        "trim",
        tmp_path / "set",
        "--out",
        "new",
    )
    assert not (tmp_path / "out").exists()


def test_what_a_killed_one_has_left_goes(source, tmp_path):
    """Its own, of a process that is no more, and nothing of others."""
    ours, others = (
        f"{aside_of(tmp_path / name).name.rpartition('-')[0]}-999999999" for name in ("out", "out.v2")
    )
    for name in (ours, others, ".out.txt"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.png").touch()
    trim_photos(source, tmp_path / "out")
    assert {path.name for path in tmp_path.glob(".*")} == {others, ".out.txt"}


def test_stopped_there_is_no_folder(source, tmp_path):
    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trim_photos(source, tmp_path / "out", progress=stop)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos"]
    with refusal(DataError, match="there is no"):
        trim_photos(tmp_path / "nosuch", tmp_path / "out")
