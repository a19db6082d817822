"""Figures of masks and redraws: what is on them is what they say, faces blurred, nothing picked by hand."""

import dataclasses
import io
import json
import shutil
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from paper_sets import SCALE, pack
from redoseg.data.dataset import open_data
from redoseg.errors import DataError
from redoseg.figures.pages import reduce_colours, stack_blocks, strip
from redoseg.figures.tiles import blur_box
from redoseg.models.load import load_model
from redoseg.redrawing.redraw import redraw_grid, sample_codes
from redoseg.reproduction import figures2_3 as figure_redraws
from redoseg.reproduction import figures5_8 as figure_masks
from redoseg.reproduction import runs as trainings
from redoseg.reproduction.catalogue import EXPERIMENTS
from redoseg.reproduction.panels import choose_pool, load_figure_runs
from redoseg.reproduction.protocol import FACE, SETS, Experiment
from redoseg.tensors import to_tensor

pytestmark = pytest.mark.training

FIGURES = ("figure2", "figure3", "figure5", "figure6", "figure7", "figure8")
FACES = [(f"Nobody_{k:04}", "train") for k in range(8)] + [(f"Ann_{k:04}", "val") for k in range(9)]
FLOWERS = [(f"image_{k:05}", "train" if k < 8 else "val") for k in range(34)]
BIRDS = [(f"{k:03}", "train") for k in range(24)]


def experiment(root, out, **options):
    console = Console(file=io.StringIO(), width=200)
    given: dict[str, Any] = {"scale": SCALE, "seeds": 1, "device": "cpu", "console": console}
    return Experiment(root, out, **given | options)


@pytest.fixture(scope="module")
def out(root, tmp_path_factory):
    """Where all six have been made."""
    folder = tmp_path_factory.mktemp("out")
    for name in FIGURES:
        EXPERIMENTS[name](experiment(root, folder))
    return folder


@pytest.fixture
def untrained(monkeypatch):
    """From here on a training is a mistake."""

    def train(config, console):
        raise AssertionError(f"{config.out} is trained")

    monkeypatch.setattr(trainings, "train", train)


def result(out, name):
    return json.loads((out / f"{name}-small" / "result.json").read_text())["sets"]


def scores(out, root, name, split="val"):
    """By image accuracy and IoU under one matching for all, counted pixel by pixel, with the last weights."""
    config = experiment(root, out).run_config(SETS[name], "base", 0)
    data = open_data(config).splits[split]
    f = load_model(config.out).f
    with torch.no_grad():
        found = f.ordered_masks(to_tensor(data.images(data.labelled)))[:, 1].numpy() > 0.5
    truth = data.labels(data.labelled)
    known, truth = truth != 255, truth == 1
    if (found == truth)[known].sum() < (found != truth)[known].sum():
        found = ~found
    return {
        data.names[row]: (
            (found == truth)[k][known[k]].mean(),
            (found & truth)[k][known[k]].sum() / (found | truth)[k][known[k]].sum(),
        )
        for k, row in enumerate(data.labelled)
    }


# Figures 2 and 3


@pytest.mark.parametrize(("figure", "name"), [("figure2", "lfw"), ("figure2", "flowers"), ("figure3", None)])
def test_the_rows_of_redraws_are_scored_as_anyone_would(out, root, figure, name):
    name = name or "flowers+lfw"
    expected, told = scores(out, root, name), result(out, figure)[name]
    for row in told["rows"]:
        seen = row["scores"]["per_dataset"]
        assert (seen["accuracy"], seen["iou"]) == pytest.approx(expected[row["name"]])
        assert row["scores"]["per_image"]["accuracy"] >= seen["accuracy"]
    means = np.mean(list(expected.values()), 0)
    assert [told["scores"]["per_dataset"][m] for m in ("accuracy", "iou")] == pytest.approx(list(means))
    assert (told["split"], told["masks"], told["checkpoint"]["rule"]) == ("val", True, "last")
    assert told["run"] == f"runs/small/{name}/base/seed-0"


def test_a_set_without_masks_has_rows_but_no_scores(out):
    told = result(out, "figure2")["cub"]
    assert (told["split"], told["masks"], told["scores"]) == ("train", False, None)
    assert len({row["name"] for row in told["rows"]}) == 6
    assert {row["scores"] for row in told["rows"]} == {None}
    assert "| CUB | " in (out / "figure2-small" / "table.md").read_text()


def test_the_union_shows_as_many_of_each_mixed_and_blurs_faces_alone(out):
    rows = result(out, "figure3")["flowers+lfw"]["rows"]
    faces = [row["name"].startswith("lfw32/") for row in rows]
    assert [row["face_blurred"] for row in rows] == faces
    assert (sum(faces), len(faces)) == (5, 10)
    assert len({tuple(faces[:5]), (True,) * 5, (False,) * 5}) == 3
    assert all(row["face_blurred"] for row in result(out, "figure2")["lfw"]["rows"])
    assert not any(
        row["face_blurred"] for name in ("cub", "flowers") for row in result(out, "figure2")[name]["rows"]
    )


def test_what_is_drawn_is_each_code_in_a_column_with_faces_blurred(
    out, root, untrained, monkeypatch, tmp_path
):
    drawn = []

    def sample_grid(content):
        drawn.append(content)
        return Image.new("RGB", (8, 8))

    monkeypatch.setattr(figure_redraws, "sample_grid", sample_grid)
    copy = tmp_path / "out"
    shutil.copytree(out, copy)
    EXPERIMENTS["figure3"](experiment(root, copy))
    (content,), told = drawn, result(copy, "figure3")["flowers+lfw"]
    config = experiment(root, copy).run_config(SETS["flowers+lfw"], "base", 0)
    split, model = open_data(config).splits["val"], load_model(config.out)
    rows = np.array([list(split.names).index(row["name"]) for row in told["rows"]])
    codes = sample_codes(2, told["codes"]["per_region"], config.code_size, seed=told["codes"]["seed"])
    plain = redraw_grid(model.f, model.generators, to_tensor(split.images(rows)), codes)
    np.testing.assert_array_equal(content.masks, plain.masks)
    np.testing.assert_array_equal(content.truth, split.labels(rows))
    assert list(content.redrawn) == [1, 0]
    assert content.redrawn[1].shape[:2] == (10, 4)
    for k, row in enumerate(told["rows"]):
        shown, whole_ones = ([of.images[k], *of.redrawn[0][k], *of.redrawn[1][k]] for of in (content, plain))
        for seen, whole in zip(shown, whole_ones, strict=True):
            face = row["name"].startswith("lfw32/")
            np.testing.assert_array_equal(seen, blur_box(whole, FACE) if face else whole)


def test_where_a_name_does_not_tell_its_set_everything_is_blurred(out, root, untrained):
    (run,), _ = load_figure_runs(experiment(root, out), ["flowers+lfw"])
    rows = np.arange(len(run.pool.split))
    assert {None, FACE} == set(run.blur_boxes(rows))
    for name in ("flowers32", "flowers32 + x + lfw32", "x + y"):
        strange = dataclasses.replace(run, dataset=dataclasses.replace(run.dataset, name=name))
        assert set(strange.blur_boxes(rows)) == {FACE}


@pytest.mark.parametrize("figure", ["figure3", "figure7"])
def test_another_model_shows_the_same_images(out, root, tmp_path, figure):
    other = dataclasses.replace(SCALE, options={**SCALE.options, "lr_f": 5e-2, "steps": 6})
    EXPERIMENTS[figure](experiment(root, tmp_path, scale=other))
    first, second = result(out, figure), result(tmp_path, figure)
    assert list(first) == list(second)
    for name, told in first.items():
        assert told["checkpoint"]["step"] != second[name]["checkpoint"]["step"]
        assert names_in(told) == names_in(second[name])
        assert names_in(told) != sorted(names_in(told))


def names_in(told):
    rows = (
        told["rows"] if "rows" in told else [image for block in told["blocks"] for image in block["images"]]
    )
    return [row["name"] for row in rows]


# Figures 5 to 8


def test_the_best_and_the_worst_are_in_order(out, root):
    expected, told = scores(out, root, "flowers"), result(out, "figure5")["flowers"]
    titles = [
        "best by accuracy",
        "best by IoU",
        *["drawn at random"] * 2,
        "worst by accuracy",
        "worst by IoU",
    ]
    assert [block["title"] for block in told["blocks"]] == titles
    for block in told["blocks"]:
        assert len({image["name"] for image in block["images"]}) == 10
        seen = [(image["scores"]["accuracy"], image["scores"]["iou"]) for image in block["images"]]
        np.testing.assert_allclose(seen, [expected[image["name"]] for image in block["images"]])
    for k, metric, falling in ((0, 0, True), (1, 1, True), (4, 0, False), (5, 1, False)):
        ranked = sorted((pair[metric] for pair in expected.values()), reverse=falling)
        got = [expected[image["name"]][metric] for image in told["blocks"][k]["images"]]
        np.testing.assert_allclose(got, ranked[:10])


def test_the_random_ones_are_others_in_every_block_and_in_figure_7(out):
    fifth, seventh = (
        result(out, "figure5")["flowers"]["blocks"][2:4],
        result(out, "figure7")["flowers"]["blocks"],
    )
    blocks = [{image["name"] for image in block["images"]} for block in (*fifth, *seventh)]
    assert [len(block) for block in blocks] == [10, 10, 6]
    assert set.union(*blocks) == {name for name, split in FLOWERS if split == "val"}


@pytest.mark.parametrize(("figure", "sizes"), [("figure6", [10, 10]), ("figure8", [4])])
def test_without_masks_there_are_random_ones_only_and_it_is_said(out, figure, sizes):
    told = result(out, figure)["cub"]
    assert [block["title"] for block in told["blocks"]] == ["drawn at random"] * len(sizes)
    assert [len(block["images"]) for block in told["blocks"]] == sizes
    assert {image["scores"] for block in told["blocks"] for image in block["images"]} == {None}
    assert "There are no masks of CUB here" in (out / f"{figure}-small" / "table.md").read_text()


def test_named_sets_come_instead_and_faces_are_blurred_there_too(out, root, untrained, monkeypatch, tmp_path):
    inputs = []

    def noted_strip(rows, *words):
        inputs.append(rows[0])
        return strip(rows, *words)

    monkeypatch.setattr(figure_masks, "strip", noted_strip)
    copy = tmp_path / "out"
    shutil.copytree(out / "runs", copy / "runs")
    EXPERIMENTS["figure5"](experiment(root, copy, sets=("lfw",)))
    told = result(copy, "figure5")
    assert list(told) == ["lfw"]
    split = open_data(experiment(root, copy).run_config(SETS["lfw"], "base", 0)).splits["val"]
    for block, pictures in zip(told["lfw"]["blocks"], inputs, strict=True):
        for image, picture in zip(block["images"], pictures, strict=True):
            whole = split.images(np.array([list(split.names).index(image["name"])]))[0]
            np.testing.assert_array_equal(picture, blur_box(whole, FACE))


# All of them


@pytest.mark.parametrize("figure", FIGURES)
def test_made_again_nothing_is_trained_and_nothing_differs(out, root, untrained, figure):
    folder = out / f"{figure}-small"
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    assert set(before) == {"result.json", "table.md", "figure.png"}
    assert EXPERIMENTS[figure](experiment(root, out)) == folder
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    assert len(before["figure.png"]) < 300_000


def test_a_run_that_never_lived_is_told_and_the_others_are_shown(out, root, untrained, tmp_path):
    copy = tmp_path / "out"
    shutil.copytree(out / "runs", copy / "runs")
    (copy / "runs/small/cub/base/seed-0/failed.json").write_text('{"reason": "it collapsed"}')
    EXPERIMENTS["figure2"](experiment(root, copy))
    assert list(result(copy, "figure2")) == ["lfw", "flowers"]
    assert "| cub | none: it collapsed | " in (copy / "figure2-small" / "table.md").read_text()
    folder = EXPERIMENTS["figure6"](experiment(root, copy))
    assert "none: it collapsed" in (folder / "table.md").read_text()
    assert not (folder / "figure.png").exists()


def test_data_that_has_changed_is_refused(out, untrained, root, tmp_path):
    pack(tmp_path, "lfw32", FACES[:-1])
    with pytest.raises(DataError, match="the data has changed"):
        EXPERIMENTS["figure5"](experiment(tmp_path, out, sets=("lfw",)))


@pytest.mark.parametrize(
    ("masked", "split"), [(("train", "val", "test"), "test"), (("train", "val"), "val"), ((), "train")]
)
def test_images_come_from_where_masks_are(tmp_path, masked, split):
    rows = [(f"{k:03}", ("train", "val", "test")[k % 3]) for k in range(12)]
    pack(tmp_path, "lfw32", rows, masked=masked)
    pool = choose_pool(open_data(experiment(tmp_path, tmp_path).run_config(SETS["lfw"], "base", 0)))
    assert (pool.name, pool.labelled, len(pool.rows)) == (split, bool(masked), 4)


# Pages


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def test_a_strip_has_its_tiles_enlarged_in_order_and_white_ones_apart():
    rows = [[noise(32, 32, 3, seed=k + 3 * row) for k in range(3)] for row in range(2)]
    page = np.asarray(strip(rows, ["input", "output"], ["a", "b", "c"]))
    left = page.shape[1] - 8 - 3 * 98
    for y, row in enumerate(rows):
        for x, tile in enumerate(row):
            seen = page[98 * y : 98 * y + 96, left + 98 * x : left + 98 * x + 96]
            np.testing.assert_array_equal(seen, np.kron(tile, np.ones((3, 3, 1), np.uint8)))
    assert (page[96:98, left : left + 292] == 170).all()
    assert (page[:194, left + 96 : left + 98] == 170).all()
    assert (page[:96, : left - 8] < 128).any(), "no word beside the row"
    assert (page[196:, left : left + 96] < 128).any(), "no caption beneath the column"


@pytest.mark.parametrize(("words", "captions"), [(["a"], []), (["a", "b"], ["c"]), (["a", "b"], ["c"] * 3)])
def test_a_strip_with_too_few_words_is_refused(words, captions):
    with pytest.raises(ValueError, match="words"):
        strip([[noise(8, 8, 3)] * 2] * 2, words, captions)


def test_blocks_are_stacked_under_titles_none_cut_off():
    blocks = [Image.fromarray(noise(40, 60, 3)), Image.fromarray(noise(30, 90, 3, seed=1))]
    page = np.asarray(
        stack_blocks([("a very long title for so narrow a block", blocks[0]), ("b", blocks[1])])
    )
    assert page.shape[1] > 200
    tops = [
        top
        for top in range(page.shape[0] - 29)
        if (page[top : top + 30, :60] == np.asarray(blocks[1])[:, :60]).all()
    ]
    assert len(tops) == 1
    assert (page[10 + 29 : 10 + 29 + 40, :60] == np.asarray(blocks[0])).all()
    assert (page[: 10 + 28, :200] < 128).any()
    with pytest.raises(ValueError, match="no blocks"):
        stack_blocks([])


def test_few_colours_are_few_and_near():
    smooth = np.stack([*np.mgrid[0:256, 0:256], np.full((256, 256), 128)], -1).astype(np.uint8)
    page = reduce_colours(Image.fromarray(smooth))
    assert len(page.getcolors()) <= 256
    assert np.abs(np.asarray(page.convert("RGB")).astype(int) - smooth).mean() < 8
