"""Methods without a network: what they find in drawn photos, and that it is scored as `evaluate` would."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.sparse.csgraph import shortest_path

pytest.importorskip("sklearn", reason="the extra `baselines` isn't installed")

from bare_python import WITHOUT
from redoseg.baselines import iem, kmeans, saliency
from redoseg.baselines.saliency import Patches
from redoseg.baselines.score import METHODS, NAMES, score_baseline, segment_images
from redoseg.data.dataset import Split, open_dataset
from redoseg.evaluation.metrics import as_labelled, confusion, per_dataset, per_image
from redoseg.evaluation.trivial import disc, fixed_mask

pytestmark = pytest.mark.training

S, COUNT = 48, 7
Command = Callable[..., tuple[int, str, str]]


def drawn(index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A bright textured disc off the middle of a dark texture, and its mask."""
    rng = np.random.default_rng(index)
    y, x = np.mgrid[:S, :S]
    away, angle = S / 6, 2 * np.pi * index / COUNT
    middle = S / 2 + away * np.array([np.sin(angle), np.cos(angle)])
    mask = np.hypot(y - middle[0], x - middle[1]) < S / 4.5
    ground = np.array([40, 70, 50]) + 20 * np.sin(y / 2)[..., None] + rng.normal(0, 8, (S, S, 3))
    thing = np.array([210, 160, 60]) + 25 * np.sin((x + y) / 3)[..., None] + rng.normal(0, 8, (S, S, 3))
    return np.where(mask[..., None], thing, ground).clip(0, 255).astype(np.uint8), mask.astype(np.uint8)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """COUNT photos with masks in `val`, one without in `val`, one in `train`."""
    folder = tmp_path_factory.mktemp("drawn") / "discs"
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    for index in range(COUNT + 2):
        picture, mask = drawn(index)
        Image.fromarray(picture).save(folder / "images" / f"{index}.png")
        if index < COUNT:
            Image.fromarray(mask * 255).save(folder / "masks" / f"{index}.png")
    rows = [f"{index},{'val' if index <= COUNT else 'train'}" for index in range(COUNT + 2)]
    (folder / "splits.csv").write_text("\n".join(["name,split", *rows]))
    return folder


@pytest.fixture(scope="module")
def val(photos: Path) -> Split:
    return open_dataset([photos], size=S, cache=photos.parent / "cache").split("val")


@pytest.fixture
def run(command: Command, photos: Path) -> Command:
    def run(name: str, *options: object) -> tuple[int, str, str]:
        return command("baseline", name, photos, "--size", S, "--cache", photos.parent / "cache", *options)

    return run


# What is found


@pytest.mark.parametrize("name", METHODS)
def test_a_disc_off_the_middle_is_found(name: str, val: Split) -> None:
    truth = val.labels(val.labelled)
    trivial = disc(truth, 2)
    assert trivial is not None
    found = segment_images(name, val, val.labelled)[0]
    assert as_labelled(confusion(found, truth, 2)).iou > max(0.85, trivial.iou + 0.2)


@pytest.mark.parametrize("name", METHODS)
def test_the_same_again(name: str, val: Split) -> None:
    first, seconds = segment_images(name, val, val.labelled[:3], seed=3)
    np.testing.assert_array_equal(first, segment_images(name, val, val.labelled[:3], seed=3)[0])
    assert first.shape == (3, S, S)
    assert first.dtype == np.uint8
    assert set(np.unique(first)) == {0, 1}
    assert len(seconds) == 3


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
def test_a_single_colour_is_no_error(name: str) -> None:
    found = METHODS[name](np.full((S, S, 3), 90, np.uint8), 0)
    assert found.shape == (S, S)
    assert found.max() <= 1


def test_the_background_of_kmeans_is_what_is_at_the_border() -> None:
    picture, mask = drawn(0)
    for image in (picture, 255 - picture):
        assert (kmeans.segment(image, 0) == mask).mean() > 0.9


# Saliency


def small_of(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(cv2.resize(picture, (64, 64), interpolation=cv2.INTER_AREA), np.uint8)


def settled(alike: NDArray[np.float64], background: NDArray[np.float64], contrast: NDArray[np.float64]):
    """What minimises the paper's sum of squares, by least squares, a row for each square."""
    n = len(background)
    one, other = np.nonzero(np.triu(alike))
    smooth = np.zeros((len(one), n))
    smooth[np.arange(len(one)), one], smooth[np.arange(len(one)), other] = 1, -1
    rows = np.concatenate([
        np.diag(np.sqrt(5 * background)), np.diag(np.sqrt(contrast)),
        np.sqrt(alike[one, other])[:, None] * smooth,
    ])  # fmt: skip
    wanted = np.concatenate([np.zeros(n), np.sqrt(contrast), np.zeros(len(one))])
    return np.linalg.lstsq(rows, wanted)[0]


def test_saliency_is_that_of_a_slow_computation() -> None:
    """Background by Dijkstra's paths, contrast by a loop, the rest by least squares."""
    picture, _ = drawn(2)
    patches = Patches.of(small_of(picture))
    n, outer = len(patches.share), patches.outer
    near = patches.touch | np.logical_and.outer(outer, outer)
    paths = shortest_path(np.where(near, patches.colour, 0), method="D", directed=False)
    same = np.exp(-((paths / 7) ** 2) / 2)
    area = n * (same @ patches.share)
    background = 1 - np.exp(-((same[:, outer].sum(1) / np.sqrt(area)) ** 2) / 2)
    np.testing.assert_allclose(patches.background(), background, rtol=1e-9)
    contrast = np.zeros(n)
    for i in range(n):
        for j in range(n):
            far = np.exp(-((patches.place[i, j] / 0.25) ** 2) / 2)
            contrast[i] += patches.colour[i, j] * far * background[j]
    np.testing.assert_allclose(patches.contrast(background), contrast, rtol=1e-9)
    contrast /= contrast.max()
    joined = near | (patches.touch.astype(int) @ patches.touch.astype(int) > 0)
    alike = np.where(joined & ~np.eye(n, dtype=bool), np.exp(-((patches.colour / 7) ** 2) / 2) + 0.1, 0)
    expected = settled(alike, background, contrast)
    np.testing.assert_allclose(patches.settle(background, contrast), expected, atol=1e-4)


def test_patches_are_pieces_of_the_photo() -> None:
    picture = small_of(drawn(0)[0])
    patches = Patches.of(picture)
    sizes = np.bincount(patches.of_pixel.ravel())
    assert sizes.min() > 0
    np.testing.assert_allclose(patches.share, sizes / 64**2)
    assert 100 < len(sizes) <= 196
    edge = np.ones((64, 64), bool)
    edge[1:-1, 1:-1] = False
    assert set(np.flatnonzero(patches.outer)) == set(patches.of_pixel[edge])
    lab = cv2.cvtColor(picture.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    means = [lab[patches.of_pixel == patch].mean(0) for patch in (3, 90)]
    assert patches.colour[3, 90] == pytest.approx(float(np.linalg.norm(means[0] - means[1])), rel=1e-4)


def test_what_is_cut_off_at_one_side_is_salient() -> None:
    picture = np.full((S, S, 3), (60, 110, 60), np.uint8)
    picture[S // 3 : 2 * S // 3, : S // 2] = (200, 80, 60)
    noisy = picture + np.random.default_rng(0).integers(0, 9, picture.shape, np.uint8)
    band = (picture == (200, 80, 60)).all(2)
    found = saliency.segment(noisy, 0) == 1
    assert (found & band).sum() > 0.9 * (found | band).sum()


# Inpainting error


def weights(side: int) -> NDArray[np.float64]:
    """[i, j]: the Gaussian's weight of pixel j for pixel i, spelt out; flat indices."""
    sigma = 5 / 128 * side
    reach = max(1, round(sigma))
    once = {k: np.exp(-0.5 * (k / sigma) ** 2) for k in range(-reach, reach + 1)}
    twice: dict[int, float] = {}
    for first, weight in once.items():
        for second, other in once.items():
            twice[first + second] = twice.get(first + second, 0) + weight * other
    total = sum(twice.values())
    line = np.array([[twice.get(i - j, 0) / total for j in range(side)] for i in range(side)])
    return np.kron(line, line)


def slow_error(image: NDArray[np.uint8], m: NDArray[np.float64]) -> float:
    side = len(image)
    x = (image / 255 - (image / 255).mean((0, 1))).reshape(-1, 3)
    near, m = weights(side), m.ravel()
    error = 0.0
    for own, other in ((m, 1 - m), (1 - m, m)):
        summed = 0.0
        for i in range(side * side):
            known = near[i] * other
            prediction = (known[:, None] * x).sum(0) / (known.sum() + iem.PRIOR)
            summed += own[i] * np.abs(prediction - x[i]).sum()
        error += summed / own.sum()
    return error


@pytest.fixture(scope="module")
def small() -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    rng = np.random.default_rng(5)
    return rng.integers(0, 256, (20, 20, 3), dtype=np.uint8), (rng.random((20, 20)) < 0.4).astype(np.float32)


def test_the_error_is_that_of_a_slow_computation(
    small: tuple[NDArray[np.uint8], NDArray[np.float32]],
) -> None:
    image, scattered = small
    for m in (scattered, iem.square(20, 0.5), iem.square(20, 0.8)):
        assert iem.Inpainter.for_image(image).error(m) == pytest.approx(
            slow_error(image, m.astype(float)), rel=1e-4
        )


def slow_objective(image: NDArray[np.uint8], m: NDArray[np.float64]) -> float:
    x, spread = (image / 255).reshape(-1, 3), 0.0
    for side in (m.ravel(), 1 - m.ravel()):
        mean = (side[:, None] * x).sum(0) / side.sum()
        spread += (side[:, None] * (x - mean) ** 2).sum() / side.sum()
    return slow_error(image, m) - 2.0 * spread


def test_the_objective_takes_off_what_colours_differ_within_both_sides(
    small: tuple[NDArray[np.uint8], NDArray[np.float32]],
) -> None:
    image, scattered = small
    for m in (scattered, iem.square(20, 0.6)):
        found = iem.Inpainter.for_image(image).objective(m)
        assert found == pytest.approx(slow_objective(image, m.astype(float)), rel=1e-4, abs=1e-5)


def test_gains_are_the_slow_objectives_slope(small: tuple[NDArray[np.uint8], NDArray[np.float32]]) -> None:
    image, m = small
    gains = iem.Inpainter.for_image(image).gains(m)
    for y, x in ((0, 0), (3, 11), (10, 10), (13, 6), (19, 7)):
        bump = np.zeros((20, 20))
        bump[y, x] = 1e-5
        slope = (slow_objective(image, m + bump) - slow_objective(image, m - bump)) / 2e-5
        assert gains[y, x] == pytest.approx(-slope if m[y, x] else slope, rel=2e-3, abs=2e-5)


@pytest.mark.parametrize("share", [0.4, 0.8])
def test_the_objective_never_falls(share: float) -> None:
    for image in (drawn(0)[0], np.random.default_rng(0).integers(0, 256, (S, S, 3), dtype=np.uint8)):
        inpainter = iem.Inpainter.for_image(image)
        mask, values = iem.climb(inpainter, iem.square(S, share))
        assert len(values) > 2
        assert np.diff(values).min() > 0
        assert inpainter.objective(mask) == values[-1]


def test_the_search_begins_at_a_square_of_six_tenths() -> None:
    image = drawn(2)[0]
    m = np.zeros((S, S), np.float32)
    m[round(0.2 * S) : S - round(0.2 * S), round(0.2 * S) : S - round(0.2 * S)] = 1
    assert np.array_equal(iem.segment(image, 0), iem.climb(iem.Inpainter.for_image(image), m)[0])


# Scores


@pytest.mark.parametrize("name", METHODS)
def test_the_command_scores_as_evaluation_does(name: str, run: Command, val: Split) -> None:
    code, output, said = run(name, "--json", "--most", 4)
    assert code == 0
    assert said.endswith("7 masks: 7 black and white; labels 0, 1; 15 % of their pixels are objects\n")
    assert said.count("\n") == 1
    result = json.loads(output)
    chosen = val.labelled[[0, 2, 4, 6]]
    found, truth = segment_images(name, val, chosen)[0], val.labels(chosen)
    counts = confusion(found, truth, 2)
    assert result["per_dataset"] == per_dataset(counts).as_dict()
    assert result["per_image"] == per_image(counts).as_dict()
    assert result["region_sizes"] == pytest.approx([1 - found.mean(), found.mean()])
    assert result["seconds"]["median"] > 0
    assert (result["images"], result["labelled"], result["chosen_with_labels"]) == (4, COUNT, False)
    for row, trivial in (("fixed_mask", fixed_mask), ("disc", disc)):
        scores = trivial(truth, 2)
        assert scores is not None
        assert result[row] == scores.as_dict()


@pytest.mark.parametrize("name", ["fixed-mask", "disc"])
def test_what_is_chosen_with_labels_says_so(name: str, run: Command) -> None:
    result = json.loads(run(name, "--json")[1])
    row = result[name.replace("-", "_")]
    assert result["per_dataset"] == result["per_image"] == row
    assert result["chosen_with_labels"] is True
    assert result["seconds"] is result["region_sizes"] is None
    assert "CHOSEN WITH LABELS" in " ".join(run(name)[1].split())


def test_every_baseline_has_the_same_fields(run: Command) -> None:
    results = [json.loads(run(name, "--json", "--most", 2, "--seed", 4)[1]) for name in NAMES]
    expected = [
        *("name", "data", "split", "size", "labelled", "seed", "fixed_mask", "disc", "images"),
        *("chosen_with_labels", "per_dataset", "per_image", "region_sizes", "seconds"),
    ]
    assert [list(result) for result in results] == [expected] * len(NAMES)
    first = ("name", "data", "split", "size", "seed")
    assert [tuple(result[field] for field in first) for result in results] == [
        (name, "discs", "val", S, 4) for name in NAMES
    ]


def test_the_table_has_both_matchings_and_the_trivial_rows(run: Command) -> None:
    code, output, _ = run("kmeans", "--most", 3)
    text = " ".join(output.replace("│", " ").split())
    assert code == 0
    assert f"3 of {COUNT} images scored" in text
    assert "in one thread" in text
    for part in ("per_dataset", "per_image", "fixed mask", "disc, chosen with labels"):
        assert part in text


def test_images_that_label_no_pixel_are_left_out(val: Split) -> None:
    class Blank:
        names, images, labelled, whole = val.names, val.images, val.labelled, val.whole

        def __len__(self) -> int:
            return len(val)

        def labels(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
            labels = val.labels(indices)
            labels[indices == val.labelled[1]] = 255
            return labels

    for name in ("disc", "kmeans"):
        report = score_baseline(name, Blank())
        assert (report.images, report.labelled) == (COUNT - 1, COUNT)


# Masks


@pytest.mark.parametrize("name", METHODS)
def test_masks_are_written_at_the_photos_own_size(name: str, command: Command, tmp_path: Path) -> None:
    """No photo needs a mask; a square one of --size pixels gets exactly what is scored."""
    (tmp_path / "photos").mkdir()
    for index in range(2):
        Image.fromarray(drawn(index)[0]).save(tmp_path / "photos" / f"{index}.png")
    Image.fromarray(drawn(2)[0]).resize((150, 100)).save(tmp_path / "photos" / "wide.png")
    (tmp_path / "photos" / "broken.png").write_text("no photo")
    line = ["baseline", name, tmp_path / "photos", "--size", S, "--out", tmp_path / "masks"]
    code, output, said = command(*line)
    named = "1 could not be done, they are named above"
    assert (code, output) == (1, f"4 photos, 0 left out: 3 masks in {tmp_path / 'masks'}; {named}\n")
    assert "broken.png: not an image" in said
    for index in range(2):
        written = np.asarray(Image.open(tmp_path / "masks" / f"{index}.png"))
        assert np.array_equal(written, METHODS[name](drawn(index)[0], 0) * 255)
    wide = np.asarray(Image.open(tmp_path / "masks" / "wide.png").resize((S, S), Image.Resampling.NEAREST))
    truth = drawn(2)[1] * 255
    assert wide.shape == (S, S)
    assert (wide & truth).astype(bool).sum() / (wide | truth).astype(bool).sum() > 0.8


def test_masks_replace_only_what_was_written_here(command: Command, photos: Path, tmp_path: Path) -> None:
    line = ["baseline", "kmeans", photos / "images", "--size", S, "--out", tmp_path / "masks"]
    assert command(*line)[0] == 0
    assert command(*line)[0] == 0
    theirs = Image.new("L", (S, S), 255)
    theirs.save(tmp_path / "masks" / "3.png")
    before = (tmp_path / "masks" / "3.png").read_bytes()
    code, _, said = command(*line)
    assert (code, said.count("\n")) == (1, 1)
    assert "3.png" in said
    assert (tmp_path / "masks" / "3.png").read_bytes() == before
    assert command(*line, "--overwrite")[0] == 0
    assert (tmp_path / "masks" / "3.png").read_bytes() != before


# What can't be


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("kmeans DATA --split train", "no mask of this split labels a pixel"),
        ("kmeans DATA --split dev", "has no split `dev`: there is train, val"),
        ("kmeans DATA --size 8", "the size must be at least 16"),
        ("kmeans DATA --most 0", "--most at least 1"),
        ("kmeans DATA --seed -1", "the seed from 0"),
        ("iem digits", "`digits` has 3 regions"),
        ("iem", "no data to score on"),
        ("disc DATA --out masks", "disc is chosen with labels and sees no photo"),
        ("iem DATA --out masks --size 30", "with --out it must be a multiple of 4, at least 32"),
        ("iem DATA --out masks --json", "--json is for scores, and --out writes masks"),
        ("iem DATA --out masks --most 3", "--most is for scores"),
        ("iem DATA --overwrite", "--overwrite is for masks"),
        ("iem DATA --out DATA", "masks would be taken for photos"),
    ],
)
def test_mistakes_are_one_line(line: str, says: str, command: Command, photos: Path) -> None:
    words = [photos if word == "DATA" else word for word in line.split()]
    code, output, said = command("baseline", "--size", S, "--cache", photos.parent / "cache", *words)
    assert (code, output) == (1, "")
    assert said.startswith("redoseg: ")
    assert says in said
    assert said.count("\n") == 1


def test_one_image_has_no_trivial_row(run: Command) -> None:
    assert json.loads(run("grabcut", "--most", 1, "--json")[1])["fixed_mask"] is None
    assert "give two or more" in run("disc", "--most", 1)[2]


def test_an_unknown_name_is_bad_usage(run: Command) -> None:
    assert run("otsu")[0] == 2


def test_without_scikit_learn_one_line_says_what_to_install(photos: Path) -> None:
    code = f"{WITHOUT}from redoseg.cli import main\nsys.exit(main(sys.argv[1:]))"
    call = [sys.executable, "-c", code, "baseline", "iem", str(photos)]
    done = subprocess.run(call, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("redoseg: redoseg baseline needs scikit-learn")
    assert done.stderr.endswith("pip install 'redoseg[baselines]'\n")
    assert done.stderr.count("\n") == 1


def test_pytorch_is_not_needed(photos: Path) -> None:
    without = WITHOUT.replace('"scipy", "sklearn", "onnx"', '"onnx"')
    assert without != WITHOUT
    code = f"{without}from redoseg.cli import main\nsys.exit(main(sys.argv[1:]))"
    options = ["--size", str(S), "--most", "2", "--cache", str(photos.parent / "cache")]
    call = [sys.executable, "-c", code, "baseline", "kmeans", str(photos), *options]
    done = subprocess.run(call, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0
    assert done.stderr.count("\n") == 1
    assert "7 masks: 7 black and white" in done.stderr
