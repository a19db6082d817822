"""With --trim the object is looked for within a photo's frame, and what is written is of the whole photo."""

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from redoseg.config.segment import SegmentConfig
from redoseg.data.frames import inner_box, trim_photos
from redoseg.errors import ConfigError, DataError
from redoseg.segmentation.framed import Frame, read_within
from redoseg.segmentation.refining import Refining
from redoseg.segmentation.segment import segment_files
from redoseg.segmentation.segmenter import Segmenter
from redoseg.segmentation.written import WrittenMask
from refusals import refusal

TRIM = SegmentConfig(trim=True)
INSIDE = (30, 24, 172, 120)  # of a photo of 200 x 150, cut off a pixel within the frame's edge


def bright(images: NDArray[np.float32]) -> NDArray[np.float32]:
    mask = ((images.mean(1) + 1) / 2).astype(np.float32)
    return np.stack([1 - mask, mask], 1)


BRIGHT = Segmenter(bright, n=2, size=32)
REFINED = Segmenter(bright, n=2, size=32, refine=Refining(size=64))


def scene(width: int, height: int) -> Image.Image:
    """A bright disc on rough dark ground, without a plain line."""
    y, x = np.mgrid[:height, :width]
    disc = (y - height / 2) ** 2 + (x - width / 2) ** 2 < (height / 4) ** 2
    rough = np.random.default_rng(0).integers(0, 120, (height // 4, width // 4, 3), np.uint8)
    ground = np.asarray(Image.fromarray(rough).resize((width, height), Image.Resampling.BICUBIC))
    return Image.fromarray(np.where(disc[..., None], 230, ground).astype(np.uint8))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """One photo in a white frame, one in two frames, one without any."""
    folder = tmp_path / "photos"
    folder.mkdir()
    left, upper, right, lower = INSIDE
    framed = Image.new("RGB", (200, 150), "white")
    framed.paste(scene(right - left + 2, lower - upper + 2), (left - 1, upper - 1))
    framed.save(folder / "framed.png")
    twice = Image.new("RGB", (240, 180), "black")
    twice.paste(framed, (20, 15))
    twice.save(folder / "twice.png")
    scene(120, 90).save(folder / "plain.png")
    return folder


def pixels_of(file: Path) -> NDArray[np.uint8]:
    with Image.open(file) as picture:
        return np.asarray(picture)


def masks_in(folder: Path) -> dict[str, NDArray[np.uint8]]:
    return {file.name: pixels_of(file) for file in sorted(folder.glob("*.png"))}


@pytest.mark.parametrize("segmenter", [BRIGHT, REFINED], ids=["enlarged", "refined"])
def test_a_mask_is_that_of_what_lies_within_in_the_whole_photo(
    photos: Path, tmp_path: Path, segmenter: Segmenter
) -> None:
    trim_photos(photos, tmp_path / "trimmed")
    heard: list[WrittenMask] = []
    report = segment_files(segmenter, [photos], tmp_path / "masks", config=TRIM, each=heard.append)
    segment_files(segmenter, [tmp_path / "trimmed"], tmp_path / "of-trimmed")
    assert (report.written, report.trimmed) == (3, 2)
    assert {Path(mask.photo).name: mask.trimmed for mask in heard} == {
        "framed.png": True, "twice.png": True, "plain.png": False,
    }  # fmt: skip
    whole, within = masks_in(tmp_path / "masks"), masks_in(tmp_path / "of-trimmed")
    for name, mask in whole.items():
        with Image.open(photos / name) as photo:
            assert mask.shape == photo.size[::-1]
            left, upper, right, lower = inner_box(photo.convert("RGB")) or (0, 0, *photo.size)
        assert np.array_equal(mask[upper:lower, left:right], within[name])
        assert mask.sum() == within[name].sum() > 0


def test_without_a_frame_nothing_is_another(photos: Path, tmp_path: Path) -> None:
    scene(1600, 1200).save(photos / "large.jpg", quality=90)  # otherwise decoded at a part of its size
    for name in ("framed.png", "twice.png"):
        (photos / name).unlink()
    segment_files(REFINED, [photos], tmp_path / "with", config=TRIM)
    segment_files(REFINED, [photos], tmp_path / "without")
    assert len(masks_in(tmp_path / "without")) == 2
    for name, mask in masks_in(tmp_path / "without").items():
        assert np.array_equal(masks_in(tmp_path / "with")[name], mask)


def test_boxes_pictures_and_annotations_are_of_the_whole_photo(photos: Path, tmp_path: Path) -> None:
    asked = SegmentConfig(
        type=("mask", "soft", "rgba", "cutout", "overlay"), annotations=("coco", "labelme", "yolo", "colmap"),
        trim=True,
        measurements=tmp_path / "table.csv",
    )  # fmt: skip
    heard: list[WrittenMask] = []
    segment_files(REFINED, [photos / "framed.png"], tmp_path / "out", config=asked, each=heard.append)
    mask = masks_in(tmp_path / "out" / "mask")["framed.png"] > 0
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    assert heard[0].box == box
    assert heard[0].area == pytest.approx(mask.mean())
    left, upper, right, lower = INSIDE
    assert left < box[0] < box[2] < right
    assert upper < box[1] < box[3] < lower
    pixels = pixels_of(photos / "framed.png")
    shown = pixels_of(tmp_path / "out" / "rgba" / "framed.png")
    assert np.array_equal(shown[..., 3] > 0, mask)
    assert np.array_equal(shown[mask][:, :3], pixels[mask])
    cut = pixels_of(tmp_path / "out" / "cutout" / "framed.png")
    assert cut.shape == (box[3] - box[1], box[2] - box[0], 4)
    soft = pixels_of(tmp_path / "out" / "soft" / "framed.png")
    assert soft.shape == mask.shape
    assert not soft[:upper].any()
    assert not soft[:, :left].any()
    assert np.array_equal(soft > 32768, mask)
    assert pixels_of(tmp_path / "out" / "overlay" / "framed.png").shape == (150, 200, 3)
    annotation = json.loads((tmp_path / "out" / "coco.json").read_text())["annotations"][0]
    assert annotation["bbox"] == [box[0], box[1], box[2] - box[0], box[3] - box[1]]
    labelme = json.loads((tmp_path / "out" / "labelme" / "framed.json").read_text())
    assert (labelme["imageWidth"], labelme["imageHeight"]) == (200, 150)
    corners = np.concatenate([np.array(shape["points"]) for shape in labelme["shapes"]])
    assert np.abs(corners.min(0) - box[:2]).max() <= 1
    assert np.abs(corners.max(0) - box[2:]).max() <= 1
    colmap = pixels_of(tmp_path / "out" / "colmap" / "masks" / "framed.png.png")
    assert np.array_equal(colmap > 0, mask)
    points = (tmp_path / "out" / "yolo" / "labels" / "framed.txt").read_text().split()[1:]
    across = 200 * np.array(points[::2], float)
    assert abs(across.min() - box[0]) <= 1
    assert abs(across.max() - box[2]) <= 1
    measured = (tmp_path / "table.csv").read_text().splitlines()
    row = dict(zip(measured[0].split(","), measured[1].split(","), strict=True))
    assert (int(row["left"]), int(row["bottom"])) == (box[0], box[3])


def test_photos_of_a_compressed_archive_are_looked_at_within_too(photos: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "photos.tar.gz", "w:gz") as archive:
        archive.add(photos, "photos")
    segment_files(REFINED, [tmp_path / "photos.tar.gz"], tmp_path / "packed", config=TRIM)
    segment_files(REFINED, [photos], tmp_path / "loose", config=TRIM)
    packed = {file.name: pixels_of(file) for file in sorted((tmp_path / "packed").rglob("*.png"))}
    loose = masks_in(tmp_path / "loose")
    assert packed.keys() == loose.keys()
    assert all(np.array_equal(packed[name], loose[name]) for name in loose)


def test_a_photo_that_changes_in_between_is_refused(photos: Path) -> None:
    with open(photos / "framed.png", "rb") as file:
        found = read_within(BRIGHT, file)
    assert found is not None
    assert found[1] == Frame(INSIDE, (200, 150))
    assert found[0].size == (INSIDE[2] - INSIDE[0], INSIDE[3] - INSIDE[1])
    with (
        Image.open(photos / "plain.png") as other,
        refusal(DataError, match="it is 120x90 and was 200x150 a moment ago"),
    ):
        found[1].cut(other)


def test_the_background_alone_cant_be_asked_for() -> None:
    with refusal(ConfigError, match="--trim takes a frame for background, which --region 0 asks for"):
        SegmentConfig(trim=True, region=0)


def test_a_photo_that_cant_be_read_is_named(photos: Path, tmp_path: Path) -> None:
    (photos / "broken.png").write_bytes(b"no photo")
    report = segment_files(BRIGHT, [photos], tmp_path / "out", config=TRIM)
    assert report.written == 3
    assert [(Path(name).name, "not an image" in why) for name, why in report.failed] == [("broken.png", True)]


def test_the_command_says_how_many_had_a_frame(photos: Path, tmp_path: Path, command) -> None:
    code, said, _ = command("segment", "flowers", photos, "--out", tmp_path / "out", "--trim")
    assert code == 0
    assert "3 photos, 0 left out: 3 masks in " in said
    assert said.endswith("; 2 of the photos within a frame (--trim)\n")
