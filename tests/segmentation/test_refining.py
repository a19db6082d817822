"""Refined masks: on the photo's own outlines, the same every time, and with a doubt that orders them."""

import csv
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from masknetworks import network
from redoseg.cli import main
from redoseg.errors import ConfigError, ModelError
from redoseg.exporting.onnx import save_model
from redoseg.segmentation.guided_filter import GuidedFilter
from redoseg.segmentation.refining import Refining, doubt
from redoseg.segmentation.segment import WrittenMask, segment_files
from redoseg.segmentation.segmenter import Masks, Segmenter
from refusals import refusal

S, SIDE = 32, 200
Arrays = NDArray[np.float32]


def scene(seed: int = 0, radius: float = 0.3, centre: tuple[float, float] = (0.5, 0.5)) -> NDArray[np.bool_]:
    """A red flower of four petals on noisy green: whether a pixel is its own, (SIDE, SIDE) bool."""
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE - np.reshape(centre, (2, 1, 1))
    return np.asarray(np.hypot(x, y) < radius * (0.75 + 0.25 * np.cos(4 * np.arctan2(y, x) + seed)), bool)


def photo_of(flower: NDArray[np.bool_], seed: int = 0) -> NDArray[np.uint8]:
    pixels = np.where(flower[..., None], (190, 50, 60), (60, 120, 70)).astype(float)
    pixels += np.random.default_rng(seed).normal(0, 12, pixels.shape)
    return np.asarray(pixels.clip(0, 255), np.uint8)


def blob(images: Arrays, at: tuple[float, float] = (0.5, 0.5), radius: float = 0.3, n: int = 2) -> Masks:
    """What a small network sees of it: a soft disc."""
    height, width = images.shape[2:]
    y, x = (np.arange(side)[:, None] + 0.5 for side in (height, width))
    far = np.hypot(y / height - at[0], x.T / width - at[1])
    soft = 1 / (1 + np.exp((far - radius) * 25))
    rest = [np.zeros_like(soft)] * (n - 2)
    return np.broadcast_to(np.stack([1 - soft, soft, *rest]), (len(images), n, height, width)).astype(
        np.float32
    )


def refiner(n: int = 2, backend: Callable[[Arrays], Masks] | None = None, size: int = 256) -> Segmenter:
    return Segmenter(backend or partial(blob, n=n), n=n, size=S, refine=Refining(size=size))


def iou(ones: NDArray[np.bool_], others: NDArray[np.bool_]) -> float:
    return float((ones & others).sum() / (ones | others).sum())


# The outline


@pytest.mark.parametrize("n", [2, 3])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_petals_are_found_where_the_network_sees_a_disc(n: int, seed: int) -> None:
    flower = scene(seed)
    plain = Segmenter(partial(blob, n=n), n=n, size=S)(photo_of(flower, seed))
    masks = refiner(n)(photo_of(flower, seed))
    assert (masks.shape, masks.dtype) == ((n, SIDE, SIDE), np.dtype(np.float32))
    assert iou(masks[0] < 0.5, flower) > 0.98
    assert iou(plain[0] < 0.5, flower) < 0.9, "a test that could fail"


@pytest.mark.parametrize("side", [128, 600])
def test_petals_are_found_at_any_size(side: int) -> None:
    """Beyond 128 px the border follows the photo's edges; the network's grid would be steps of 18 pixels."""
    flower = np.asarray(Image.fromarray(scene()).resize((side, side)))
    large = np.asarray(Image.fromarray(photo_of(scene())).resize((side, side), Image.Resampling.BICUBIC))
    masks = refiner(size=128)(large)
    assert masks.shape == (2, side, side)
    assert iou(masks[1] > 0.5, flower) > 0.97


def test_a_grey_photo_is_refined_too() -> None:
    grey = np.asarray(Image.fromarray(photo_of(scene())).convert("L"))
    grey = np.where(scene(), grey // 2, grey + 60).astype(np.uint8)
    masks = refiner()(np.stack([grey] * 3, -1))
    assert iou(masks[1] > 0.5, scene()) > 0.97


@pytest.mark.parametrize("n", [2, 4])
@pytest.mark.parametrize("shape", [(250, 250), (90, 200), (33, 32), (20, 41), (1, 1), (2, 900), (300, 7)])
def test_masks_have_the_photos_size_and_sum_to_one(n: int, shape: tuple[int, int]) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    (found,) = refiner(n).segment([photo])
    assert (found.masks.shape, found.masks.dtype) == ((n, *shape), np.dtype(np.float32))
    assert 0 <= found.masks.min() <= found.masks.max() <= 1
    np.testing.assert_allclose(found.masks.sum(0), 1, atol=1e-5)
    assert 0 <= found.doubt <= 1


@pytest.mark.parametrize(
    ("photo", "value"),
    [
        (np.full((SIDE, SIDE, 3), 90, np.uint8), None),
        (photo_of(scene()), 0.0),
        (photo_of(scene()), 1.0),
    ],
    ids=["of one colour", "no object", "nothing else"],
)
def test_where_there_is_nothing_to_go_by_the_networks_mask_stays(
    photo: NDArray[np.uint8], value: float | None
) -> None:
    def backend(images: Arrays) -> Masks:
        masks = blob(images)
        return masks if value is None else np.stack([1 - masks[:, 1] * 0 - value, masks[:, 1] * 0 + value], 1)

    (found,) = refiner(backend=backend).segment([photo])
    plain = Segmenter(backend, n=2, size=S)(photo)
    np.testing.assert_allclose(found.masks, plain, atol=0.1)
    np.testing.assert_array_equal(found.masks[1] > 0.5, plain[1] > 0.5)
    assert found.doubt == 1


def test_an_object_that_refining_would_lose_stays_as_the_network_sees_it() -> None:
    """Lines of a pixel on noise, which the surroundings outvote."""
    noise = np.random.default_rng(0).integers(0, 256, (S, S, 3), dtype=np.uint8)

    def stripes(images: Arrays) -> Masks:
        lines = np.zeros((len(images), S, S), np.float32)
        lines[:, 8:24:5, 6:26] = 0.9
        return np.stack([1 - lines, lines], 1)

    (found,) = refiner(backend=stripes).segment([noise])
    np.testing.assert_array_equal(found.masks, Segmenter(stripes, n=2, size=S)(noise))
    assert found.doubt == 1


def test_the_same_photo_gets_the_same_masks() -> None:
    first, again = (refiner()(photo_of(scene())) for _ in range(2))
    np.testing.assert_array_equal(first, again)


def test_the_filter_is_linear_and_leaves_plain_masks() -> None:
    photo = photo_of(scene())
    filter_ = GuidedFilter(photo, 5, 1e-3)
    ones, others = (np.random.default_rng(k).random((SIDE, SIDE), np.float32) for k in range(2))
    np.testing.assert_allclose(
        filter_(0.3 * ones + 0.7 * others), 0.3 * filter_(ones) + 0.7 * filter_(others), atol=1e-4
    )
    np.testing.assert_allclose(filter_(np.ones_like(ones)), 1, atol=1e-4)
    np.testing.assert_allclose(filter_.on_photo(ones, photo), filter_(ones), atol=1e-5)


# Doubt


def test_doubt_is_what_the_starts_dispute() -> None:
    agreed = np.zeros((2, 10, 10), np.float32)
    agreed[0], agreed[:, :5, :4] = 1, np.reshape((0, 1), (2, 1, 1))
    assert doubt(agreed) == 0
    disputed = agreed.copy()
    disputed[:, 0, :4] = np.reshape((0.25, 0.75), (2, 1))  # 4 of 20 pixels, a quarter of the votes
    assert doubt(disputed) == pytest.approx(2 * 4 * 0.25 / 20)
    assert doubt(np.full((2, 5, 5), 0.5, np.float32)) == 1


def test_a_mask_beside_the_object_is_more_doubtful_than_one_on_it() -> None:
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE - 0.5
    photo = photo_of(np.hypot(x, y) < 0.3)
    on_it, half_beside = (
        refiner(backend=partial(blob, at=(0.5, x))).segment([photo])[0].doubt for x in (0.5, 0.75)
    )
    assert on_it < 0.1
    assert half_beside > 0.2


def test_doubt_without_refining_is_that_of_the_networks_mask() -> None:
    (found,) = Segmenter(blob, n=2, size=S).segment([photo_of(scene())])
    assert found.doubt == doubt(blob(np.zeros((1, 3, S, S), np.float32))[0])


# Options


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"refine": "always"}, "--refine is always: choose from auto, off"),
        ({"refine_size": 32}, "--refine-size is 32: use 64 to 1024"),
        (
            {"refine": "off", "refine_size": 256},
            "--refine-size is for refined masks, and --refine off refines",
        ),
        (
            {"edges": "guided", "refine_size": 64},
            "--refine-size is for refined masks, and --edges refines none",
        ),
        ({"refine": Refining(), "edges": "guided"}, "refined masks follow the photo's edges"),
    ],
)
def test_what_cant_be_asked_for(tmp_path: Path, options: dict[str, object], said: str) -> None:
    network().save_pretrained(tmp_path / "model")
    with refusal(ConfigError, match=said):
        Segmenter.from_pretrained(tmp_path / "model", device="cpu", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("thresholds", [(), (0.0,), (0.5, 1.0)])
def test_thresholds_that_cut_off_nothing(thresholds: tuple[float, ...]) -> None:
    with refusal(ConfigError, match="each above 0 and below 1"):
        Refining(thresholds)


@pytest.mark.parametrize("backend", ["torch", "onnx"])
def test_a_model_brings_its_starts(tmp_path: Path, backend: str) -> None:
    save_model(network(), tmp_path / "model", starts=(0.2, 0.3))
    for model in (tmp_path / "model", tmp_path / "model" / "mask.onnx"):
        if backend == "torch" and model.suffix:
            continue
        found = Segmenter.from_pretrained(model, device="cpu", backend=backend)  # type: ignore[arg-type]
        assert found.refining == Refining((0.2, 0.3))
    assert Segmenter.from_pretrained(tmp_path / "model", device="cpu", edges="guided").refining is None


def test_a_model_without_starts_has_the_usual_ones(tmp_path: Path) -> None:
    network().save_pretrained(tmp_path / "model")
    assert Segmenter.from_pretrained(tmp_path / "model", device="cpu").refining == Refining()


@pytest.mark.parametrize(
    "content", ["{}", "[]", '{"starts": [1, "x"]}', '{"starts": []}', '{"starts": [0.5, 1]}', "not JSON"]
)
def test_damaged_starts_are_one_line(tmp_path: Path, content: str) -> None:
    save_model(network(), tmp_path / "model", starts=(0.2, 0.3))
    (tmp_path / "model" / "refining.json").write_text(content)
    with refusal(ModelError, match=r"refining\.json"):
        Segmenter.from_pretrained(tmp_path / "model", device="cpu")


# Files


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for k, centre in enumerate([(0.5, 0.5), (0.45, 0.55)]):
        Image.fromarray(photo_of(scene(k, centre=centre), k)).save(folder / f"{k}.png")
    Image.new("RGB", (50, 40), "blue").save(folder / "plain.png")
    return folder


@pytest.mark.parametrize("n", [2, 3])
def test_files_get_the_same_masks(photos: Path, tmp_path: Path, n: int) -> None:
    told: list[WrittenMask] = []
    report = segment_files(refiner(n), [photos], tmp_path / "out", each=told.append)
    assert (report.written, report.failed) == (3, [])
    for mask in told:
        (expected,) = refiner(n).segment([mask.photo])
        regions = expected.masks.argmax(0) if n > 2 else expected.masks[1] > 0.5
        written = np.asarray(Image.open(mask.mask))
        np.testing.assert_array_equal(written, regions * (255 if n == 2 else 1))
        assert mask.doubt == expected.doubt
        assert mask.area == (regions > 0).mean()
        rows, columns = np.nonzero(regions)
        assert mask.box == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)


def test_json_and_csv_say_the_same_of_each_mask(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_model(network(), tmp_path / "model")
    (photos / "broken.png").write_bytes(b"no photo")
    line = ["segment", str(tmp_path / "model"), str(photos), "--out", str(tmp_path / "out"), "--json"]
    assert main([*line, "--csv", str(tmp_path / "new" / "masks.csv")]) == 1  # the broken photo
    printed, complained = capsys.readouterr()
    *lines, failed = [json.loads(text) for text in printed.splitlines()]
    broken = str(photos / "broken.png")
    assert failed == {"photo": broken, "error": "not an image, or damaged from its first bytes on"}
    assert [Path(one["photo"]).name for one in lines] == ["0.png", "1.png", "plain.png"]
    assert all(list(one) == ["photo", "mask", "doubt", "area", "box"] for one in lines)
    assert "3 masks in" in complained
    with (tmp_path / "new" / "masks.csv").open(newline="") as file:
        *rows, last = csv.DictReader(file)
    assert {name: value for name, value in last.items() if value} == failed
    for row, one in zip(rows, lines, strict=True):
        assert (row["photo"], row["mask"]) == (one["photo"], one["mask"])
        assert [float(row["doubt"]), float(row["area"])] == [one["doubt"], one["area"]]
        box = [row[side] for side in ("left", "top", "right", "bottom")]
        assert box == ([""] * 4 if one["box"] is None else [str(side) for side in one["box"]])
        assert row["error"] == ""


def test_where_every_photo_fails_a_new_table_says_so(photos: Path, tmp_path: Path) -> None:
    save_model(network(), tmp_path / "model")
    (tmp_path / "broken.png").write_bytes(b"no photo")
    line = ["segment", str(tmp_path / "model"), str(tmp_path / "broken.png"), "--out", str(tmp_path / "out")]
    assert main([*line, "--csv", str(tmp_path / "masks.csv")]) == 1
    with (tmp_path / "masks.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["photo"], row["mask"]) == (str(tmp_path / "broken.png"), "")
    assert row["error"].startswith("not an image")


@pytest.mark.parametrize("table", ["photos/0.png", "photos", "config.json", "a.csv"])
def test_a_table_by_the_name_of_something_else_is_refused(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], table: str
) -> None:
    save_model(network(), tmp_path / "model")
    (tmp_path / "a.csv").mkdir()
    before = (photos / "0.png").read_bytes()
    line = ["segment", str(tmp_path / "model"), str(photos), "--out", str(tmp_path / "out")]
    assert main([*line, "--csv", str(tmp_path / table)]) == 1
    complained = capsys.readouterr().err
    assert "is no name for a table: choose a file that ends in .csv" in complained
    assert complained.count("\n") == 1
    assert (photos / "0.png").read_bytes() == before
    assert not (tmp_path / "out").exists()


def test_a_table_stays_where_nothing_is_segmented(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_model(network(), tmp_path / "model")
    (tmp_path / "masks.csv").write_text("an earlier one")
    for inputs, out in ((tmp_path / "nowhere", tmp_path / "out"), (photos, photos)):
        line = ["segment", str(tmp_path / "model"), str(inputs), "--out", str(out)]
        assert main([*line, "--csv", str(tmp_path / "masks.csv")]) == 1
        assert (tmp_path / "masks.csv").read_text() == "an earlier one"
    assert capsys.readouterr().err
    assert not list(tmp_path.glob(".masks*"))


def test_interrupted_the_table_holds_what_was_written(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_model(network(), tmp_path / "model")
    real = WrittenMask.as_dict

    def as_dict(self: WrittenMask) -> dict[str, object]:
        if Path(self.photo).name == "1.png":
            raise KeyboardInterrupt
        return real(self)

    monkeypatch.setattr(WrittenMask, "as_dict", as_dict)
    line = ["segment", str(tmp_path / "model"), str(photos), "--out", str(tmp_path / "out")]
    assert main([*line, "--csv", str(tmp_path / "masks.csv")]) == 130
    with (tmp_path / "masks.csv").open(newline="") as file:
        assert [Path(row["photo"]).name for row in csv.DictReader(file)] == ["0.png"]
