"""What a Segmenter returns: an array as before, that also says what it found."""

import pickle
from typing import Any

import numpy as np
import pytest
import supervision
from PIL import Image

from redoseg.errors import DataError
from redoseg.segmentation.result import PhotoMasks
from redoseg.segmentation.segment import segment_files
from redoseg.segmentation.segmenter import Segmenter
from refusals import refusal


@pytest.fixture(scope="module")
def photo():
    """A bright disc on dark ground, right of the middle."""
    y, x = np.mgrid[:80, :120]
    inside = np.hypot(y - 40, x - 70) < 24
    noise = np.random.default_rng(0).integers(0, 30, (80, 120, 3))
    return (np.where(inside[..., None], (220, 190, 60), (30, 70, 40)) + noise).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def segmenter():
    return Segmenter.from_pretrained("flowers")


@pytest.fixture(scope="module")
def found(photo, segmenter) -> PhotoMasks:
    return segmenter(photo)


def test_it_is_the_array_that_it_was(found, photo, segmenter):
    assert (found.shape, found.dtype) == ((2, 80, 120), np.float32)
    np.testing.assert_allclose(found.sum(0), 1, atol=1e-5)
    plain = np.asarray(found)
    for computed in (found > 0.5, found[1], found + 1, found.sum(0), np.sqrt(found), found[:, 10:20]):
        assert type(computed) is np.ndarray
    assert type(found.max()) is np.float32
    assert np.array_equal(found[1] > 0.5, plain[1] > 0.5)
    several: Any = segmenter([photo])
    assert np.array_equal(several[0], plain)
    assert several[0].doubt == found.doubt


def test_what_it_says_is_what_segment_writes(found, photo, segmenter, tmp_path):
    Image.fromarray(photo).save(tmp_path / "photo.png")
    written: list = []
    segment_files(
        segmenter, [tmp_path / "photo.png"], tmp_path / "out", each=written.append, cutouts=tmp_path / "cut"
    )
    mask = np.asarray(Image.open(tmp_path / "out" / "photo.png"))
    assert np.array_equal(found.mask, mask == 255)
    assert np.array_equal(found.labels, mask // 255)
    assert found.doubt == written[0].doubt
    assert found.area == pytest.approx(written[0].area)
    assert found.boxes == [written[0].box]
    left, top, right, bottom = found.boxes[0]
    whole = np.asarray(Image.open(tmp_path / "cut" / "photo.png"))
    assert np.array_equal(np.asarray(found.cutout()), whole[top:bottom, left:right])
    assert np.array_equal(found.soft, 1 - np.asarray(found)[0])


def test_of_a_file_the_photo_is_read_again(found, photo, segmenter, tmp_path):
    file = tmp_path / "photo.png"
    Image.fromarray(photo).save(file)
    of_file = segmenter(file)
    assert np.array_equal(np.asarray(of_file.photo), photo)
    assert np.array_equal(np.asarray(of_file.cutout()), np.asarray(found.cutout()))
    file.unlink()
    with refusal(DataError, r"there is no .*photo\.png"):
        of_file.cutout()


def test_another_photo_in_its_place_is_noticed(photo, segmenter, tmp_path):
    file = tmp_path / "photo.png"
    Image.fromarray(photo).save(file)
    found = segmenter(file)
    Image.fromarray(photo[:40]).save(file)
    with refusal(DataError, "the photo was 120 x 80 and is 120 x 40 now: segment it again"):
        found.cutout()
    assert found._repr_html_() is None
    with refusal(DataError, r"no masks \(n, H, W\) any more"):
        found.reshape(2, -1).labels  # noqa: B018


def test_an_overlay_leaves_the_ground_as_it_was(found, photo):
    shown = np.asarray(found.overlay())
    assert np.array_equal(shown[~found.mask], photo[~found.mask])
    assert (shown[found.mask] != photo[found.mask]).any(-1).mean() > 0.9


def test_pickled_and_copied_it_is_the_same_array_without_its_photo(found):
    again = pickle.loads(pickle.dumps(found))
    assert np.array_equal(again, found)
    assert again.doubt == found.doubt
    assert np.isnan(found.copy().doubt)
    with refusal(DataError, "don't know their photo"):
        again.cutout()
    assert again._repr_html_() is None


def test_a_notebook_shows_overlay_and_cut_out(found):
    html = found._repr_html_()
    assert html.count('<img src="data:image/png;base64,') == 2
    assert f"doubt {found.doubt:.2f}" in html


def test_supervision_reads_it(found):
    detections = found.to_supervision()
    assert isinstance(detections, supervision.Detections)
    assert np.array_equal(detections.mask[0], found.mask)
    assert detections.xyxy.tolist() == [list(map(float, found.boxes[0]))]
    assert detections.confidence[0] == pytest.approx(1 - found.doubt)


def test_without_an_object_there_is_nothing_and_no_error(photo):
    masks = np.zeros((3, 80, 120), np.float32)
    masks[0] = 1
    empty = PhotoMasks(masks, 1.0, lambda: Image.fromarray(photo))
    assert (empty.boxes, empty.area) == ([], 0)
    assert empty.cutout().size == (1, 1)
    assert len(empty.to_supervision()) == 0
    masks[:, 10:20, 5:15] = np.array([0, 0, 1], np.float32)[:, None, None]
    one = PhotoMasks(masks, 0.5)
    assert one.boxes == [(5, 10, 15, 20)]
    assert one.to_supervision().class_id.tolist() == [1]
