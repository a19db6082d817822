"""Measurements of drawn shapes against what geometry says, and against scikit-image."""

import csv
import math

import numpy as np
import pytest
from PIL import Image
from skimage.measure import label, perimeter_crofton, regionprops

from redoseg import segment_files
from redoseg.errors import ConfigError
from redoseg.segmentation.measuring import COLUMNS as NAMES
from redoseg.segmentation.measuring import measure
from refusals import refusal
from shapes import BRIGHT, COLOURS, asked, box, disc, photo, save

ROWS, COLUMNS = np.mgrid[:400, :600]


def of(inside, colour=(10, 20, 30)):
    (found,) = measure(inside.astype(np.uint8), Image.new("RGB", inside.shape[::-1], colour))
    return found


def ellipse(x, y, half_major, half_minor, degrees):
    """Turned counter-clockwise, as a person sees it."""
    angle = math.radians(degrees)
    along = (COLUMNS - x) * math.cos(angle) - (ROWS - y) * math.sin(angle)
    across = (COLUMNS - x) * math.sin(angle) + (ROWS - y) * math.cos(angle)
    return (along / half_major) ** 2 + (across / half_minor) ** 2 <= 1


def test_a_disc():
    found = of((ROWS - 180) ** 2 + (COLUMNS - 320) ** 2 <= 100**2)
    assert found.area == pytest.approx(math.pi * 100**2, rel=1e-3)
    assert found.share == found.area / (400 * 600)
    assert (found.x, found.y) == (320, 180)
    assert (found.left, found.top, found.right, found.bottom) == (220, 80, 421, 281)
    assert found.major_axis == pytest.approx(200, rel=2e-3)
    assert found.minor_axis == pytest.approx(200, rel=2e-3)
    assert found.perimeter == pytest.approx(2 * math.pi * 100, rel=0.01)
    assert (found.red, found.green, found.blue) == (10, 20, 30)
    assert (found.pieces, found.touches_border) == (1, False)


@pytest.mark.parametrize("degrees", [-60, -30, 0, 15, 45, 80, 90])
def test_an_ellipse(degrees):
    found = of(ellipse(300, 200, 150, 60, degrees))
    assert found.area == pytest.approx(math.pi * 150 * 60, rel=2e-3)
    assert (found.x, found.y) == pytest.approx((300, 200), abs=0.05)
    assert (found.major_axis, found.minor_axis) == pytest.approx((300, 120), rel=3e-3)
    assert found.orientation == pytest.approx(degrees, abs=0.2)
    h = ((150 - 60) / (150 + 60)) ** 2  # Ramanujan's approximation
    around = math.pi * (150 + 60) * (1 + 3 * h / (10 + math.sqrt(4 - 3 * h)))
    assert found.perimeter == pytest.approx(around, rel=0.03)


def test_a_rectangle():
    inside = (ROWS >= 100) & (ROWS < 140) & (COLUMNS >= 50) & (COLUMNS < 350)
    found = of(inside)
    assert found.area == 40 * 300
    assert (found.left, found.top, found.right, found.bottom) == (50, 100, 350, 140)
    assert (found.x, found.y) == (199.5, 119.5)
    # Of a rectangle of sides a and b the second moments are a^2 / 12 and b^2 / 12.
    assert found.major_axis == pytest.approx(4 * 300 / math.sqrt(12))
    assert found.minor_axis == pytest.approx(4 * 40 / math.sqrt(12))
    assert found.orientation == 0
    assert found.perimeter == pytest.approx(2 * (300 + 40), rel=0.055)
    assert of(inside.T).orientation == 90


def test_border_and_pieces():
    two = np.zeros((20, 30), bool)
    two[3:6, 4:9] = two[10:12, 12:20] = True
    assert (of(two).pieces, of(two).touches_border) == (2, False)
    for edge in (np.s_[0, 5], np.s_[-1, 5], np.s_[5, 0], np.s_[5, -1]):
        touching = two.copy()
        touching[edge] = True
        assert of(touching).touches_border
    one = np.zeros((5, 5), bool)
    one[2, 3] = True
    assert of(one).major_axis == of(one).minor_axis == pytest.approx(4 / math.sqrt(12))


@pytest.mark.parametrize("seed", range(5))
def test_any_mask_is_measured_as_scikit_image_does(seed):
    rng = np.random.default_rng(seed)
    noise = rng.random((50, 70))
    for _ in range(3):
        noise = (noise + np.roll(noise, 1, 0) + np.roll(noise, 1, 1) + np.roll(noise, (1, 1), (0, 1))) / 4
    inside = noise > np.quantile(noise, 0.6)
    pixels = rng.integers(0, 256, (50, 70, 3), dtype=np.uint8)
    (found,) = measure(inside.astype(np.uint8), Image.fromarray(pixels))
    (other,) = regionprops(inside.astype(int), intensity_image=pixels)
    assert found.area == other.area
    assert (found.top, found.left, found.bottom, found.right) == other.bbox
    assert (found.y, found.x) == pytest.approx(other.centroid)
    # scikit-image takes a pixel for a point: its second moments lack a square's own, 1/12.
    lengths = [math.sqrt(axis**2 - 16 / 12) for axis in (found.major_axis, found.minor_axis)]
    assert lengths == pytest.approx([other.axis_major_length, other.axis_minor_length])
    assert math.sin(math.radians(found.orientation - 90) - other.orientation) == pytest.approx(0, abs=1e-9)
    assert found.perimeter == pytest.approx(perimeter_crofton(inside, directions=4))
    assert (found.red, found.green, found.blue) == pytest.approx(tuple(other.intensity_mean))
    assert found.pieces == label(inside, connectivity=2).max()


# The table


def rows_of(file):
    with file.open(newline="") as table:
        return list(csv.DictReader(table))


def test_the_table_has_a_row_an_object_and_names_photos_without(tmp_path):
    save(tmp_path / "photos" / "a.png", photo(disc(20, 30, 10), box(60, 10, 90, 60)))
    save(tmp_path / "photos" / "b.png", photo())
    told: list = []
    table = tmp_path / "new" / "measured.csv"
    config = asked(measurements=table, instances=0.01)
    segment_files(BRIGHT, [tmp_path / "photos"], tmp_path / "out", config=config, each=told.append)
    rows = rows_of(table)
    assert list(rows[0]) == ["photo", *NAMES, "doubt"]
    assert [(row["object"], row["area"]) for row in rows] == [("1", "1500"), ("2", "317"), ("0", "0")]
    assert [row["photo"] for row in rows] == [told[0].photo, told[0].photo, told[1].photo]
    assert (rows[0]["x"], rows[0]["y"], rows[0]["touches_border"]) == ("74.5", "34.5", "false")
    assert rows[0]["red"] == "255.0"
    assert rows[2]["x"] == ""
    assert [float(row["doubt"]) for row in rows] == [round(told[i].doubt, 4) for i in (0, 0, 1)]


def test_regions_have_rows_of_their_own(tmp_path):
    save(tmp_path / "a.png", photo(disc(20, 30, 10)) | photo(box(60, 10, 90, 60), colour=1))
    segment_files(
        COLOURS, [tmp_path / "a.png"], tmp_path / "out", config=asked(measurements=tmp_path / "m.csv")
    )
    assert [(row["object"], row["area"]) for row in rows_of(tmp_path / "m.csv")] == [
        ("1", "317"),
        ("2", "1500"),
    ]


@pytest.mark.parametrize("name", ["a.png", "photos", "m.json"])
def test_a_table_by_the_name_of_something_else_is_refused(tmp_path, name):
    file = save(tmp_path / "photos" / "a.png", photo())
    with refusal(ConfigError, match="is no name for a table: choose a file that ends in .csv"):
        segment_files(BRIGHT, [file], tmp_path / "out", config=asked(measurements=tmp_path / name))
    assert not (tmp_path / "out").exists()
