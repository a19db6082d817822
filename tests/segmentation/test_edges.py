"""Borders at the photo's full size: where the guided filter puts them, and that it is off where not asked."""

import tarfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import uniform_filter

from masknetworks import network
from redoseg.cli import main
from redoseg.data.labels import region_map
from redoseg.errors import ConfigError
from redoseg.segmentation.edges import GuidedEdges
from redoseg.segmentation.segment import SegmentReport, segment_files
from redoseg.segmentation.segmenter import Masks, Segmenter

S = 32
SIDE = 8 * S
Arrays = NDArray[np.float32]


def ramp(images: Arrays, n: int = 2) -> Masks:
    """Region 1 on the right, its border some network pixels wide around the middle; others share the rest."""
    height, width = images.shape[2:]
    right = 1 / (1 + np.exp(-(np.arange(width) + 0.5 - width / 2)))
    rest = np.repeat((1 - right)[None] / (n - 1), n - 1, 0)
    masks = np.insert(rest, 1, right, axis=0)[None, :, None]
    return np.broadcast_to(masks, (len(images), n, height, width)).astype(np.float32)


def segmenter(edges: str | GuidedEdges = "guided", n: int = 2) -> Segmenter:
    return Segmenter(partial(ramp, n=n), n=n, size=S, edges=edges)  # type: ignore[arg-type]


def step(
    at: int, left: int | tuple[int, int, int] = 60, right: int | tuple[int, int, int] = 180
) -> Image.Image:
    """Two halves whose colours meet at column `at`, with a little noise."""
    pixels = np.full((SIDE, SIDE, 3), left, float)
    pixels[:, at:] = right
    pixels += np.random.default_rng(0).normal(0, 3, pixels.shape)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def noise(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def enlarged(mask: Arrays, side: int = SIDE) -> Arrays:
    return np.asarray(Image.fromarray(mask).resize((side, side), Image.Resampling.BILINEAR))


# Where the border lies


@pytest.mark.parametrize("at", [SIDE // 2 - 7, SIDE // 2 + 3, SIDE // 2 + 7])
def test_the_border_lies_on_the_photos_edge(at: int) -> None:
    expected = np.broadcast_to(np.arange(SIDE) >= at, (SIDE, SIDE))
    np.testing.assert_array_equal(region_map(segmenter()(step(at))), expected)
    without = region_map(segmenter("none")(step(at)))
    assert (without != expected).mean() > 2 / SIDE, "a test that could fail"


def test_edges_of_colour_count_as_those_of_brightness() -> None:
    red_and_green = step(SIDE // 2 + 5, (150, 66, 90), (70, 107, 90))
    assert np.ptp(np.asarray(red_and_green.convert("L"), float).mean(0)) < 2
    expected = np.broadcast_to(np.arange(SIDE) >= SIDE // 2 + 5, (SIDE, SIDE))
    assert (region_map(segmenter()(red_and_green)) != expected).mean() < 0.002


def test_a_grey_photo_gets_the_formula_of_the_paper() -> None:
    """With three equal channels, the colour filter is that of grey photos with a third of its eps."""
    grey = np.asarray(
        Image.fromarray(noise(40, 40)).convert("L").resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    )
    mask, radius, eps = ramp(np.zeros((1, 3, S, S), np.float32))[0, 1], 1.5, 4e-3
    ours = segmenter(GuidedEdges(radius, eps))(np.repeat(grey[..., None], 3, 2))[1]
    mean = partial(uniform_filter, size=2 * round(radius * SIDE / S) + 1)
    guide, filtered = grey / 255, enlarged(mask).astype(float)
    a = (mean(guide * filtered) - mean(guide) * mean(filtered)) / (
        mean(guide**2) - mean(guide) ** 2 + eps / 3
    )
    b = mean(filtered) - a * mean(guide)
    inside = np.s_[30:-30, 30:-30]  # what lies beyond the photo's sides is not the paper's business
    np.testing.assert_allclose(ours[inside], (mean(a) * guide + mean(b))[inside].clip(0, 1), atol=1e-4)


def test_a_flat_photo_only_smooths() -> None:
    flat = Image.new("RGB", (SIDE, SIDE), (90, 120, 40))
    guided, without = segmenter()(flat)[1], segmenter("none")(flat)[1]
    np.testing.assert_array_equal(guided > 0.5, without > 0.5)
    smooth = partial(uniform_filter, size=2 * 16 + 1)
    inside = np.s_[:, 40:-40]
    np.testing.assert_allclose(guided[inside], smooth(smooth(without))[inside], atol=1e-3)


def test_a_mask_without_borders_stays() -> None:
    half = Segmenter(
        lambda x: np.full((len(x), 2, *x.shape[2:]), 0.5, np.float32), n=2, size=S, edges="guided"
    )
    np.testing.assert_allclose(half(noise(SIDE, SIDE)), 0.5, atol=1e-4)


def test_large_photos_are_filtered_on_fewer_pixels() -> None:
    picture = Image.fromarray(noise(20, 20)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    whole = segmenter()(picture)
    fewer = segmenter(GuidedEdges(most=SIDE**2 // 4))(picture)
    assert not np.array_equal(whole, fewer)
    assert (region_map(whole) != region_map(fewer)).mean() < 0.005
    np.testing.assert_allclose(whole, fewer, atol=0.05)


# What holds for every photo


@pytest.mark.parametrize("n", [2, 4])
@pytest.mark.parametrize("shape", [(250, 250), (90, 200), (33, 32), (20, 41), (1, 1), (2, 9000), (300, 7)])
def test_masks_have_the_photos_size_and_sum_to_one(n: int, shape: tuple[int, int]) -> None:
    masks = segmenter(n=n)(noise(*shape))
    assert (masks.shape, masks.dtype) == ((n, *shape), np.dtype(np.float32))
    assert 0 <= masks.min() <= masks.max() <= 1
    np.testing.assert_allclose(masks.sum(0), 1, atol=1e-5)


@pytest.mark.parametrize("shape", [(S, S), (S, 2 * S), (20, 30)])
def test_what_the_network_sees_whole_is_left_alone(shape: tuple[int, int]) -> None:
    np.testing.assert_array_equal(segmenter()(noise(*shape)), segmenter("none")(noise(*shape)))


@pytest.mark.parametrize("n", [2, 3])
def test_off_is_the_networks_mask_enlarged(n: int) -> None:
    picture, own = noise(SIDE, SIDE), ramp(np.zeros((1, 3, S, S), np.float32), n)[0]
    objects = np.stack([enlarged(mask) for mask in own[1:]])
    expected = np.concatenate([(1 - objects.sum(0))[None], objects]).clip(0, 1)
    for off in (segmenter("none", n), Segmenter(partial(ramp, n=n), n=n, size=S)):
        np.testing.assert_array_equal(off(picture), expected)
        regions = off.regions(own, (SIDE, SIDE), Image.fromarray(picture))
        np.testing.assert_array_equal(regions, region_map(expected))


def test_images_arrays_and_files_are_the_same_photo(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    step(SIDE // 2 + 5).save(tmp_path / "a.png")
    step(SIDE // 2 + 5).rotate(90).save(tmp_path / "turned.png", exif=exif)
    expected = segmenter()(step(SIDE // 2 + 5))
    for one in (np.asarray(step(SIDE // 2 + 5)), tmp_path / "a.png", tmp_path / "turned.png"):
        np.testing.assert_array_equal(segmenter()([one, one])[1], expected)


# Folders


@pytest.mark.parametrize("n", [2, 3])
@pytest.mark.parametrize("kind", ["folder", "tar", "tar.gz"])
def test_files_get_the_same_masks(tmp_path: Path, kind: str, n: int) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    step(SIDE // 2 + 5).resize((600, 500)).save(photos / "a.jpg", quality=95)  # it could be decoded smaller
    step(SIDE // 2 - 5).save(photos / "b.png")
    source = photos
    if kind != "folder":
        source = tmp_path / f"photos.{kind}"
        with tarfile.open(source, "w:gz" if kind == "tar.gz" else "w") as archive:
            archive.add(photos, "photos")
    report = segment_files(segmenter(n=n), [source], tmp_path / "out")
    assert report == SegmentReport(2)
    for name in ("a.jpg", "b.png"):
        with Image.open((tmp_path / "out" / name).with_suffix(".png")) as mask:
            own = region_map(segmenter(n=n)(photos / name))
            np.testing.assert_array_equal(np.asarray(mask), own * 255 if n == 2 else own)


@pytest.mark.parametrize(
    ("change", "said"),
    [(Path.unlink, "No such file or directory"), (lambda path: step(9).resize((99, 90)).save(path), "99x90")],
)
def test_a_photo_that_changes_meanwhile_fails_alone(
    tmp_path: Path, change: Callable[[Path], None], said: str
) -> None:
    (tmp_path / "photos").mkdir()
    for name in ("a", "b"):
        step(100).save(tmp_path / "photos" / f"{name}.png")

    def changing(images: Arrays) -> Masks:
        change(tmp_path / "photos" / "b.png")
        return ramp(images)

    guided = Segmenter(changing, n=2, size=S, edges="guided")
    report = segment_files(guided, [tmp_path / "photos"], tmp_path / "out")
    assert report.written == 1
    ((name, reason),) = report.failed
    assert name == str(tmp_path / "photos" / "b.png")
    assert said in reason


# The option


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "model"
    network().save_pretrained(folder)
    return folder


def test_the_command_takes_it(model: Path, tmp_path: Path) -> None:
    step(100).save(tmp_path / "a.png")
    out = tmp_path / "masks"
    line = ["segment", str(model), str(tmp_path / "a.png"), "--out", str(out), "--edges", "guided"]
    assert main([*line, "--device", "cpu"]) == 0
    guided = Segmenter.from_pretrained(model, device="cpu", edges="guided")
    with Image.open(out / "a.png") as mask:
        np.testing.assert_array_equal(np.asarray(mask), region_map(guided(tmp_path / "a.png")) * 255)


def test_workers_of_a_cluster_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    told = {}

    def on_ray(address: str, model: str, options: dict[str, str]) -> Callable[..., SegmentReport]:
        told.update(options)
        return lambda *_, **__: SegmentReport(0)

    monkeypatch.setattr("redoseg.cli.segment._on_ray", on_ray)
    assert main(["segment", "m", "p", "--out", "o", "--edges", "guided", "--ray", "local"]) == 0
    assert told["edges"] == "guided"


def test_choices_that_are_not_there(model: Path) -> None:
    with pytest.raises(ConfigError, match="choose from none, guided"):
        Segmenter.from_pretrained(model, device="cpu", edges="sharp")  # type: ignore[arg-type]
    for radius, eps in ((0, 1e-3), (1, 0), (-1, 1e-3), (float("nan"), 1e-3)):
        with pytest.raises(ValueError, match="above 0"):
            GuidedEdges(radius, eps)
