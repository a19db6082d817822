"""Annotations, read back by the libraries whose forms they are: pycocotools and supervision."""

import json
import shutil
import sys
import tarfile
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO

from dead_process import of_a_dead_process
from redoseg import segment_files
from redoseg.errors import ConfigError, DataError
from redoseg.segmentation.annotations.own_text import NAME
from redoseg.segmentation.annotations.shapes import run_lengths, shapes_in
from refusals import refusal
from shapes import BRIGHT, COLOURS, HEIGHT, WIDTH, asked, box, disc, overlap, photo, read, save

# pycocotools 2.0.11 with NumPy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't:DeprecationWarning")

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import supervision

DISC, BOX = disc(40, 30, 18), box(70, 5, 90, 60)
RING = disc(40, 30, 24) & ~disc(40, 30, 11)
ELLIPSE = ((np.mgrid[:HEIGHT, :WIDTH][1] - 48) / 40) ** 2 + (
    (np.mgrid[:HEIGHT, :WIDTH][0] - 32) / 20
) ** 2 <= 1
SHAPES = {"disc": DISC, "box": BOX, "both": DISC | BOX, "ring": RING, "ellipse": ELLIPSE}


@pytest.fixture
def photos(tmp_path):
    for name, inside in SHAPES.items():
        save(tmp_path / "photos" / f"{name}.png", photo(inside))
    save(tmp_path / "photos" / "none.png", photo())
    return tmp_path / "photos"


def annotate(tmp_path, inputs, segmenter=BRIGHT, **options):
    report = segment_files(segmenter, [inputs], tmp_path / "out", config=asked(**options))
    assert report.failed == []
    return tmp_path / "out"


def coco_of(out, capsys):
    found = COCO(str(out / "coco.json"))
    capsys.readouterr()
    return found


def masks_of(coco):
    """Photo -> category -> mask, as pycocotools decodes it."""
    found: dict = {image["file_name"]: {} for image in coco.loadImgs(coco.getImgIds())}
    for annotation in coco.loadAnns(coco.getAnnIds()):
        name = coco.loadImgs(annotation["image_id"])[0]["file_name"]
        category = coco.loadCats(annotation["category_id"])[0]["name"]
        mask = coco.annToMask(annotation).astype(bool)
        found[name][category] = found[name].get(category, False) | mask
    return found


def test_coco_by_run_lengths_is_exactly_the_mask(photos, tmp_path, capsys):
    out = annotate(tmp_path, photos, annotations="coco-rle", category="thing")
    coco = coco_of(out, capsys)
    found = masks_of(coco)
    assert found.pop("none.png") == {}
    for name, inside in SHAPES.items():
        np.testing.assert_array_equal(found.pop(f"{name}.png")["thing"], inside)
    assert found == {}
    for annotation in coco.loadAnns(coco.getAnnIds()):
        inside = coco.annToMask(annotation)
        rows, columns = np.nonzero(inside)
        assert annotation["area"] == inside.sum()
        left, top = columns.min(), rows.min()
        assert annotation["bbox"] == [left, top, columns.max() + 1 - left, rows.max() + 1 - top]
    assert len({annotation["id"] for annotation in coco.dataset["annotations"]}) == 5


def test_coco_has_polygons_of_what_has_no_hole(photos, tmp_path, capsys):
    coco = coco_of(annotate(tmp_path, photos, annotations="coco"), capsys)
    found = masks_of(coco)
    for name, inside in SHAPES.items():
        assert overlap(found[f"{name}.png"]["object"], inside) >= 0.98, name
    np.testing.assert_array_equal(found["ring.png"]["object"], RING)
    kinds = {type(annotation["segmentation"]) for annotation in coco.dataset["annotations"]}
    assert kinds == {list, dict}
    assert sum(len(a["segmentation"]) for a in coco.dataset["annotations"] if a["image_id"] == 1) == 2  # both


def test_instances_are_annotations_of_one_category(photos, tmp_path, capsys):
    coco = coco_of(annotate(tmp_path, photos / "both.png", annotations="coco-rle", instances=0.01), capsys)
    one, other = (coco.annToMask(annotation) for annotation in coco.loadAnns(coco.getAnnIds()))
    larger, smaller = sorted((DISC, BOX), key=np.sum, reverse=True)
    np.testing.assert_array_equal(one, larger)
    np.testing.assert_array_equal(other, smaller)
    assert [category["name"] for category in coco.dataset["categories"]] == ["object"]


def test_regions_are_categories(tmp_path, capsys):
    save(tmp_path / "photos" / "a.png", photo(DISC) | photo(BOX, colour=1))
    out = annotate(tmp_path, tmp_path / "photos", COLOURS, annotations=("coco-rle", "yolo", "labelme"))
    found = masks_of(coco_of(out, capsys))["a.png"]
    np.testing.assert_array_equal(found["object 1"], DISC)
    np.testing.assert_array_equal(found["object 2"], BOX)
    lines = (out / "yolo" / "labels" / "a.txt").read_text().splitlines()
    assert [line.split()[0] for line in lines] == ["0", "1"]
    labels = [shape["label"] for shape in json.loads((out / "labelme" / "a.json").read_text())["shapes"]]
    assert labels == ["object 1", "object 2"]


def test_supervision_reads_coco_and_yolo(photos, tmp_path):
    out = annotate(tmp_path, photos, annotations=("coco", "yolo"), category="thing")
    coco = supervision.DetectionDataset.from_coco(str(photos), str(out / "coco.json"), force_masks=True)
    yolo = supervision.DetectionDataset.from_yolo(
        str(photos), str(out / "yolo" / "labels"), str(out / "yolo" / "data.yaml"), force_masks=True
    )
    for data in (coco, yolo):
        assert data.classes == ["thing"]
        seen = 0
        for path, _, detections in data:
            name = Path(path).stem
            if name == "none":
                assert len(detections) == 0
                continue
            seen += 1
            read = np.asarray(detections.mask).any(0)
            exact = data is coco and name == "ring"  # the one with run lengths
            assert overlap(read, SHAPES[name] if exact else as_opencv_fills(SHAPES[name])) >= 0.97, name
        assert seen == len(SHAPES)


def as_opencv_fills(inside):
    """supervision fills polygons with OpenCV, to which corners are pixels, right and lower ones included."""
    return cv2.dilate(inside.astype(np.uint8), np.ones((2, 2), np.uint8), anchor=(1, 1))


def test_yolo_is_a_line_a_piece_in_shares(photos, tmp_path):
    out = annotate(tmp_path, photos, annotations="yolo")
    for name, inside in SHAPES.items():
        drawn = np.zeros((HEIGHT, WIDTH), np.uint8)
        lines = (out / "yolo" / "labels" / f"{name}.txt").read_text().splitlines()
        assert len(lines) == (2 if name == "both" else 1)
        for line in lines:
            number, *values = line.split()
            points = np.array(values, float).reshape(-1, 2)
            assert number == "0"
            assert points.min() >= 0
            assert points.max() <= 1
            drawn |= fill(points * (WIDTH, HEIGHT))
        assert overlap(drawn, inside) >= 0.98, name
    assert (out / "yolo" / "labels" / "none.txt").read_text() == ""


def fill(points):
    """The pixels whose centre is inside a polygon (N, 2), by the even-odd rule: an independent reading."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    inside = np.zeros((HEIGHT, WIDTH), bool)
    for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, 0), strict=True):
        if y0 != y1:
            crossing = x0 + (rows - y0) * (x1 - x0) / (y1 - y0)
            inside ^= ((y0 > rows) != (y1 > rows)) & (columns < crossing)
    return inside.astype(np.uint8)


def test_two_photos_of_one_yolo_file_are_refused(tmp_path):
    for name in ("a.png", "a.jpg"):
        save(tmp_path / "photos" / name, photo(DISC))
    with refusal(DataError, match=r"YOLO has one a\.txt for .*a\.(png|jpg) and .*a\.(png|jpg): give one"):
        annotate(tmp_path, tmp_path / "photos", annotations="yolo")
    assert not (tmp_path / "out").exists()


def test_labelme_files_have_every_field_and_name_their_photo(photos, tmp_path):
    """labelme's own reader imports Qt: these are the fields that its LabelFile.load asks for."""
    out = annotate(tmp_path, photos, annotations="labelme")
    for name, inside in SHAPES.items():
        file = out / "labelme" / f"{name}.json"
        content = json.loads(file.read_text())
        assert content["imageData"] is None
        assert (content["imageHeight"], content["imageWidth"]) == (HEIGHT, WIDTH)
        assert not Path(content["imagePath"]).is_absolute()
        assert (file.parent / content["imagePath"]).resolve() == (photos / f"{name}.png").resolve()
        drawn = np.zeros((HEIGHT, WIDTH), np.uint8)
        for shape in content["shapes"]:
            assert (shape["label"], shape["shape_type"], shape["group_id"]) == ("object", "polygon", 1)
            assert (shape["flags"], shape["description"], shape["mask"]) == ({}, "", None)
            assert all(len(point) == 2 for point in shape["points"])
            drawn |= fill(np.array(shape["points"], float))
        assert overlap(drawn, inside) >= 0.98, name
    assert json.loads((out / "labelme" / "none.json").read_text())["shapes"] == []


def test_a_photo_in_an_archive_is_named_as_if_it_lay_there(photos, tmp_path):
    with tarfile.open(tmp_path / "photos.tar.gz", "w:gz") as tar:
        tar.add(photos, "set")
    out = annotate(tmp_path, tmp_path / "photos.tar.gz", annotations=("labelme", "coco"))
    assert json.loads((out / "labelme" / "disc.json").read_text())["imagePath"] == "disc.png"
    names = [image["file_name"] for image in json.loads((out / "coco.json").read_text())["images"]]
    assert names == sorted(f"{name}.png" for name in [*SHAPES, "none"])


def test_colmap_masks_are_called_after_the_whole_name(tmp_path):
    save(tmp_path / "photos" / "a" / "012.jpg", photo(DISC))
    save(tmp_path / "photos" / "013.png", photo(BOX))
    out = annotate(tmp_path, tmp_path / "photos", annotations="colmap")
    masks = out / "colmap" / "masks"
    np.testing.assert_array_equal(read(masks / "013.png.png"), 255 * BOX)
    assert overlap(read(masks / "a" / "012.jpg.png"), DISC) > 0.9
    out = annotate(tmp_path, tmp_path / "photos", annotations="colmap", instances=0.01)
    np.testing.assert_array_equal(read(masks / "013.png.png"), 255 * BOX)


# What is there already


def test_annotations_replace_themselves_and_nothing_corrected(photos, tmp_path):
    options = {"annotations": ("coco", "labelme", "yolo", "colmap")}
    for _ in range(2):
        out = annotate(tmp_path, photos, **options)
    for name in ("labelme/disc.json", "coco.json", "yolo/labels/disc.txt", "yolo/data.yaml"):
        file = out / name
        made = file.read_text()
        corrected = made.replace("object", "other") + (
            "0 0.1 0.1 0.2 0.1 0.2 0.2\n" if ".txt" in name else ""
        )
        file.write_text(corrected)
        with refusal(DataError, match=rf"{file.name} is there and was not written by redoseg.*annotation$"):
            annotate(tmp_path, photos, **options)
        assert file.read_text() == corrected
        segment_files(BRIGHT, [photos], out, config=asked(**options), overwrite=True)
        assert file.read_text() == made


def test_a_note_that_a_full_disk_has_cut_off_spoils_no_other(photos, tmp_path):
    options = {"annotations": ("labelme",)}
    out = annotate(tmp_path, photos, **options)
    noted = out / NAME
    (out / "labelme" / "ring.json").unlink()
    noted.write_text("".join(noted.read_text().splitlines(keepends=True)[:-1]) + "0123456789")
    for _ in range(2):
        annotate(tmp_path, photos, **options)
    assert "0123456789" in noted.read_text().splitlines()


def test_what_a_killed_call_was_writing_is_removed(photos, tmp_path):
    options = {"annotations": ("coco", "labelme", "yolo")}
    out = annotate(tmp_path, photos, **options)
    names = ("coco.json", "labelme/disc.json", "yolo/labels/disc.txt", "yolo/data.yaml")
    torn = [of_a_dead_process(out / name) for name in names]
    for file in torn:
        file.write_text("half")
    annotate(tmp_path, photos, **options)
    assert not any(file.exists() for file in torn)


def test_what_is_no_annotation_is_never_replaced(photos, tmp_path):
    for name, form in (
        ("coco.json", "coco"),
        ("yolo/labels/disc.txt", "yolo"),
        ("labelme/disc.json", "labelme"),
    ):
        file = tmp_path / "out" / name
        file.parent.mkdir(parents=True)
        file.write_text('{"my": "notes"}')
        with refusal(DataError, match="is there and was not written by redoseg"):
            segment_files(BRIGHT, [photos], tmp_path / "out", config=asked(annotations=form), overwrite=True)
        shutil.rmtree(tmp_path / "out")


def test_after_ctrl_c_coco_holds_what_was_done(photos, tmp_path, capsys):
    def stop(mask):
        if mask.photo.endswith("ellipse.png"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        segment_files(BRIGHT, [photos], tmp_path / "out", each=stop, config=asked(annotations="coco"))
    names = {image["file_name"] for image in coco_of(tmp_path / "out", capsys).dataset["images"]}
    assert {"both.png", "box.png", "disc.png"} <= names


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"annotations": ("coco", "coco-rle")}, "coco and coco-rle are one file"),
        ({"annotations": "voc"}, "--annotations is voc: choose from coco, coco-rle, labelme, yolo, colmap"),
        ({"annotations": "coco", "category": " "}, "--category names nothing"),
    ],
)
def test_what_cannot_be_is_one_line(options, said):
    with refusal(ConfigError, match=said):
        asked(**options)


# Outlines


@pytest.mark.parametrize("seed", range(6))
def test_outlines_and_run_lengths_of_any_mask_are_exact_where_nothing_is_simplified(seed, monkeypatch):
    monkeypatch.setattr("redoseg.segmentation.annotations.shapes._LEAST", 0.0)
    monkeypatch.setattr("redoseg.segmentation.annotations.shapes._MOST", 0.0)
    labels = (np.random.default_rng(seed).random((HEIGHT, WIDTH)) < 0.2 + 0.1 * seed).astype(np.uint8)
    labels = labels if seed % 2 else cv2.medianBlur(labels, 5)
    (shape,) = shapes_in(labels).shapes
    drawn = np.zeros((HEIGHT, WIDTH), np.uint8)
    for piece in shape.pieces:
        drawn ^= fill(np.array(piece.as_one(), float))
    np.testing.assert_array_equal(drawn, labels)
    values = np.arange(len(shape.counts)) % 2
    np.testing.assert_array_equal(np.repeat(values, shape.counts).reshape(WIDTH, HEIGHT).T, labels)


def test_a_single_pixel_is_a_square_and_its_run_lengths_are_right():
    labels = np.zeros((3, 4), np.uint8)
    labels[1, 2] = 1
    (shape,) = shapes_in(labels).shapes
    assert sorted(shape.pieces[0].outline) == [[2, 1], [2, 2], [3, 1], [3, 2]]
    assert shape.counts == [7, 1, 4]
    assert run_lengths(np.ones((2, 2), bool)) == [0, 4]


def test_a_large_photo_has_few_corners(tmp_path):
    rows, columns = np.mgrid[:1500, :2000]
    labels = ((rows - 700) ** 2 + (columns - 900) ** 2 < 500**2).astype(np.uint8)
    (shape,) = shapes_in(labels).shapes
    ring = np.array(shape.pieces[0].outline, np.int32)
    assert len(ring) < 300
    area = abs(cv2.contourArea(ring))
    assert area == pytest.approx(labels.sum(), rel=0.005)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="names of bytes")
def test_a_name_that_is_not_utf_8_leaves_every_file_readable(tmp_path):
    for name in ("ok.png", "caf\udce9.png"):
        save(tmp_path / "photos" / name, photo(DISC))
    table = tmp_path / "keep.csv"
    out = annotate(tmp_path, tmp_path / "photos", annotations=("coco", "labelme"), measurements=table)
    coco = json.loads((out / "coco.json").read_text(encoding="utf-8"))
    assert sorted(image["file_name"] for image in coco["images"]) == ["caf\udce9.png", "ok.png"]
    assert len([json.loads(file.read_text(encoding="utf-8")) for file in (out / "labelme").iterdir()]) == 2
    assert "caf\\udce9.png" in table.read_text(encoding="utf-8")


def test_annotations_that_cannot_be_written_are_of_one_photo(tmp_path):
    for name in ("a" * 251, "b"):
        save(tmp_path / "photo.png", photo(DISC))
        (tmp_path / "photos").mkdir(exist_ok=True)
        (tmp_path / "photo.png").rename(tmp_path / "photos" / f"{name}.jpg")
    report = segment_files(
        BRIGHT, [tmp_path / "photos"], tmp_path / "out", config=asked(annotations=("labelme",))
    )
    assert report.written == 1
    assert [(name.rpartition("/")[2][:3], reason) for name, reason in report.failed] == [
        ("aaa", "its annotations can't be written: File name too long")
    ]
    assert (tmp_path / "out" / "labelme" / "b.json").is_file()


def test_a_table_of_someone_elses_is_left_alone(tmp_path):
    save(tmp_path / "a.png", photo(DISC))
    table = tmp_path / "mine.csv"
    table.write_text("name,price\napple,3\n")
    with pytest.raises(ConfigError, match=r"mine\.csv is there and is no table of redoseg's: choose another"):
        segment_files(BRIGHT, [tmp_path / "a.png"], tmp_path / "out", config=asked(measurements=table))
    assert table.read_text() == "name,price\napple,3\n"
