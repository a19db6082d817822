"""Masks that were corrected elsewhere: each form gives the labels that were drawn, for the right photo."""

import json
import zipfile

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from data_made import write_folder
from redoseg.data.corrections import find_corrections, said
from redoseg.data.folder import scan
from redoseg.errors import DataError
from redoseg.segmentation.annotations.formats import coco_annotations, coco_lines, labelme_text
from redoseg.segmentation.annotations.shapes import shapes_in
from refusals import refusal

NAMES = ("a", "b", "inner/a", "c.d")


@pytest.fixture
def photos(tmp_path):
    for name in NAMES:
        file = tmp_path / "photos" / f"{name}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((30, 40, 3), 90, np.uint8)).save(file)
    return scan(tmp_path / "photos", sidecars=False).images


@pytest.fixture
def labels():
    """A blob with a hole, and a second one, on 30 x 40 pixels."""
    drawn = np.zeros((30, 40), np.uint8)
    drawn[4:20, 6:25] = 1
    drawn[8:12, 10:15] = 0
    drawn[22:28, 30:40] = 1
    return drawn


def png(folder, name, labels):
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(labels).save(file)


def read(corrections):
    return {one.photo.name: one.read() for one in corrections.found}


def coco_of(images, annotations, categories=({"id": 1, "name": "object"},)):
    return json.dumps({"images": images, "annotations": annotations, "categories": list(categories)})


def image(number, name):
    return {"id": number, "file_name": name, "width": 40, "height": 30}


def test_mask_files_belong_to_the_photos_of_their_names(photos, labels, tmp_path):
    masks = tmp_path / "masks"
    for name in ("b.png", "inner/a.jpg.png", "C.D.png", "nobody.png"):
        png(masks, name, 255 * labels)
    found = find_corrections(masks, photos, 2)
    assert read(found).keys() == {"b", "inner/a", "c.d"}
    assert all(np.array_equal(one, labels) for one in read(found).values())
    assert found.unknown == ["nobody.png"]
    assert list(said(found)) == [
        "1 of mask files are of no photo of the run, or could be of several: nobody.png"
    ]
    assert not any(one.outlined for one in found.found)


def test_a_name_that_could_be_of_several_is_of_none(photos, labels, tmp_path):
    flat = tmp_path / "flat"
    png(flat, "x/a.png", 255 * labels)  # a or inner/a?
    assert find_corrections(flat, photos, 2).unknown == ["x/a.png"]


def test_masks_of_an_archive(photos, labels, tmp_path):
    png(tmp_path, "one.png", 255 * labels)
    with zipfile.ZipFile(tmp_path / "masks.zip", "w") as archive:
        archive.write(tmp_path / "one.png", "masks/b.png")
    found = find_corrections(tmp_path / "masks.zip", photos, 2)
    assert np.array_equal(read(found)["b"], labels)


def test_what_segment_writes_as_coco_is_read_back_exactly(photos, labels, tmp_path):
    shapes = shapes_in(labels)
    for exact in (True, False):
        parts = [json.dumps(one) for one in coco_annotations(shapes, ["object"], exact)]
        file = tmp_path / "coco.json"
        entry = {"file_name": "photos/b.jpg", "width": 40, "height": 30}
        file.write_text("".join(coco_lines([(entry, parts)], ["object"])))
        assert np.array_equal(read(find_corrections(file, photos, 2))["b"], labels)


def test_what_segment_writes_for_labelme_is_read_back_exactly(photos, labels, tmp_path):
    text = labelme_text(shapes_in(labels), "../photos/b.jpg", ["object"])
    write_folder(tmp_path / "labelme", {"b.json": text.encode()})
    assert np.array_equal(read(find_corrections(tmp_path / "labelme", photos, 2))["b"], labels)
    assert np.array_equal(read(find_corrections(tmp_path / "labelme" / "b.json", photos, 2))["b"], labels)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools' own
def test_polygons_are_filled_as_pycocotools_fills_them(photos, tmp_path):
    """But for pixels whose centres lie on the line itself."""
    polygon = [3.2, 2.1, 35.7, 6.4, 22.3, 27.9, 8.8, 19.6]
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [polygon]}
    (tmp_path / "coco.json").write_text(coco_of([image(1, "b.jpg")], [annotation]))
    ours = read(find_corrections(tmp_path / "coco.json", photos, 2))["b"]
    theirs = coco_mask.decode(coco_mask.frPyObjects([polygon], 30, 40))[..., 0]
    assert (ours != theirs).sum() <= 30  # they round to the corners of pixels
    assert abs(int(ours.sum()) - int(theirs.sum())) < 0.05 * theirs.sum()


def test_compressed_run_lengths(photos, labels, tmp_path):
    runs = coco_mask.encode(np.asfortranarray(labels))
    segmentation = {"size": runs["size"], "counts": runs["counts"].decode()}
    annotation = {"id": 1, "image_id": 7, "category_id": 1, "segmentation": segmentation}
    (tmp_path / "coco.json").write_text(coco_of([image(7, "b.jpg"), image(8, "a.jpg")], [annotation]))
    found = find_corrections(tmp_path / "coco.json", photos, 2)
    assert np.array_equal(read(found)["b"], labels)
    assert found.unknown == ["a.jpg"]  # it could be of inner/a


def test_a_photo_without_an_outline_counts_as_not_corrected(photos, tmp_path):
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[0, 0, 10, 0, 10, 10]]}
    (tmp_path / "coco.json").write_text(coco_of([image(1, "b.jpg"), image(2, "c.d.jpg")], [annotation]))
    found = find_corrections(tmp_path / "coco.json", photos, 2)
    assert [one.photo.name for one in found.found] == ["b"]
    assert found.empty == ["c.d.jpg"]


def test_photos_beside_labelmes_files_are_no_masks(tmp_path):
    """As labelme itself leaves a folder; a mask of another photo may lie there, too."""
    for name in ("a", "b", "c"):
        png(tmp_path / "photos", f"{name}.png", np.full((30, 40), 90, np.uint8))
    photos = scan(tmp_path / "photos", sidecars=False).images
    given = tmp_path / "given"
    png(given, "a.png", np.full((30, 40), 90, np.uint8))
    png(given, "c.png", np.full((30, 40), 255, np.uint8))
    shape = {"label": "x", "shape_type": "rectangle", "points": [[0, 0], [10, 5]]}
    content = {"imagePath": "a.png", "imageWidth": 40, "imageHeight": 30, "shapes": [shape]}
    (given / "a.json").write_text(json.dumps(content))
    found = read(find_corrections(given, photos, 2))
    assert found.keys() == {"a", "c"}
    assert found["a"].sum() == 50
    assert found["c"].all()


def test_what_has_no_area_is_no_outline(photos, tmp_path):
    annotations = [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 5, 5], "segmentation": []}]
    (tmp_path / "coco.json").write_text(coco_of([image(1, "b.jpg")], annotations))
    assert find_corrections(tmp_path / "coco.json", photos, 2).empty == ["b.jpg"]
    shapes = [{"label": "x", "shape_type": "polygon", "points": [[0, 0], [9, 9]]}]
    content = {"imagePath": "b.jpg", "imageWidth": 40, "imageHeight": 30, "shapes": shapes}
    write_folder(tmp_path / "l", {"b.json": json.dumps(content).encode()})
    assert find_corrections(tmp_path / "l", photos, 2).empty == ["b.json"]


def test_rectangles_and_circles_of_labelme(photos, tmp_path):
    shapes = [
        {"label": "thing", "shape_type": "rectangle", "points": [[20, 12], [10, 4]]},
        {"label": "thing", "shape_type": "circle", "points": [[30, 20], [30, 25]]},
    ]
    content = {"imagePath": "b.jpg", "imageWidth": 40, "imageHeight": 30, "shapes": shapes}
    write_folder(tmp_path / "l", {"anything.json": json.dumps(content).encode()})
    drawn = read(find_corrections(tmp_path / "l", photos, 2))["b"]
    assert drawn[4:12, 10:20].all()
    assert drawn.sum() == pytest.approx(80 + np.pi * 25, abs=4)


def test_categories_are_regions_where_there_are_several(photos, tmp_path):
    square = [[0, 0, 10, 0, 10, 10, 0, 10]]
    annotations = [
        {"id": 1, "image_id": 1, "category_id": 5, "segmentation": square},
        {"id": 2, "image_id": 1, "category_id": 1, "segmentation": [[20, 0, 30, 0, 30, 10, 20, 10]]},
    ]
    categories = [{"id": 5, "name": "object 2"}, {"id": 1, "name": "hat"}]
    (tmp_path / "coco.json").write_text(coco_of([image(1, "b.jpg")], annotations, categories))
    drawn = read(find_corrections(tmp_path / "coco.json", photos, 3))["b"]
    assert (drawn[5, 5], drawn[5, 25], drawn[20, 20]) == (2, 1, 0)
    categories[0]["name"] = "coat 7"
    (tmp_path / "coco.json").write_text(coco_of([image(1, "b.jpg")], annotations, categories))
    with refusal(DataError, "the category coat 7 is none of the regions 1 to 2"):
        find_corrections(tmp_path / "coco.json", photos, 3)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("coco.json", b"{broken", "coco.json is no sound JSON, export it again"),
        ("coco.json", b'{"images": [{"id": 1}], "annotations": []}', "isn't as COCO or labelme write it"),
        ("coco.json", b'{"images": 3, "annotations": []}', "isn't as COCO or labelme write it"),
        ("coco.json", b'{"images": [], "annotations": [3]}', "isn't as COCO or labelme write it"),
        ("coco.json", b'["a list"]', "isn't as COCO or labelme write it"),
        ("l/b.json", b'{"imagePath": "b.jpg"}', "isn't as COCO or labelme write it"),
        ("l/notes.txt", b"nothing", "holds no masks"),
    ],
)
def test_what_is_no_list_of_masks_is_refused_in_a_line(photos, tmp_path, name, content, said):
    write_folder(tmp_path / "given", {name: content})
    source = tmp_path / "given" / name
    with refusal(DataError, said):
        find_corrections(source if name == "coco.json" else source.parent, photos, 2)


@pytest.mark.parametrize(
    ("size", "segmentation"),
    [
        ((10**6, 10**6), [[0, 0, 9, 0, 9, 9]]),
        ((-40, 30), [[0, 0, 9, 0, 9, 9]]),
        ((40, 30), {"size": [30, 40], "counts": [5, 10**15]}),
        ((40, 30), {"size": [30, 40], "counts": [-5, 1205]}),
        ((40, 30), {"size": [30, 40], "counts": None}),
        ((40, 30), [[0, 0, 9]]),
        ((40, 30), [["a", "b"]]),
        ((40, 30), 7),
    ],
)
def test_numbers_that_cannot_be_meant_are_refused_when_they_are_read(photos, tmp_path, size, segmentation):
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": segmentation}
    entry = {"id": 1, "file_name": "b.jpg", "width": size[0], "height": size[1]}
    (tmp_path / "coco.json").write_text(coco_of([entry], [annotation]))
    found = find_corrections(tmp_path / "coco.json", photos, 2)
    with refusal(DataError, "isn't as COCO or labelme write it"):
        found.found[0].read()


def test_a_polygon_of_very_many_sides(photos, tmp_path):
    turn = np.linspace(0, 2 * np.pi, 5000, endpoint=False)
    flat = np.stack((20 + 10 * np.cos(turn), 15 + 10 * np.sin(turn)), 1).ravel().tolist()
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [flat]}
    (tmp_path / "coco.json").write_text(coco_of([image(1, "b.jpg")], [annotation]))
    y, x = np.mgrid[:30, :40] + 0.5
    drawn = read(find_corrections(tmp_path / "coco.json", photos, 2))["b"]
    assert np.array_equal(drawn, np.hypot(x - 20, y - 15) < 10)


def test_a_shape_without_an_inside_is_refused_when_it_is_read(photos, tmp_path):
    shapes = [{"label": "x", "shape_type": "line", "points": [[1, 2], [3, 4]]}]
    content = {"imagePath": "b.jpg", "imageWidth": 40, "imageHeight": 30, "shapes": shapes}
    write_folder(tmp_path / "l", {"b.json": json.dumps(content).encode()})
    found = find_corrections(tmp_path / "l", photos, 2)
    with refusal(DataError, "a shape of the kind line: only areas"):
        found.found[0].read()
    with refusal(DataError, "there is no .*nowhere"):
        find_corrections(tmp_path / "nowhere", photos, 2)
