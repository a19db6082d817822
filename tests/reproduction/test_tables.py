"""The paper's experiments by name, on sets and at a scale so small that they are done in a moment."""

import dataclasses
import io
import json
import math
import shutil

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from data_made import write_mnist
from paper_sets import QUICK, SCALE, pack
from redoseg.data import scenes
from redoseg.data.dataset import open_data
from redoseg.errors import CollapseError, ConfigError, DataError
from redoseg.evaluation.evaluate import evaluate, predict
from redoseg.models.load import load_model
from redoseg.models.run_folder import RunFolder
from redoseg.reproduction import runs as trainings
from redoseg.reproduction.ablations import ablations, arms
from redoseg.reproduction.catalogue import EXPERIMENTS
from redoseg.reproduction.digits import digits
from redoseg.reproduction.figure4 import _at_size, figure4, find_crossing
from redoseg.reproduction.fits import draw_places
from redoseg.reproduction.protocol import SCALES, SETS, Experiment, locate
from redoseg.reproduction.semi_supervised import semi_supervised
from redoseg.reproduction.splits import divide_labelled, person_of
from redoseg.reproduction.table1 import table1

pytestmark = pytest.mark.training

PEOPLE = [(f"{who}_{k:04}", "val") for who in ("Ann_Lee", "Bo", "Cy", "Di", "Ed", "Flo") for k in (1, 2, 3)]
FACES = [(f"Nobody_{k:04}", "train") for k in range(8)] + PEOPLE
FLOWERS = [(f"image_{k:05}", "train" if k < 8 else "val") for k in range(16)]
BIRDS = [(f"{k:03}", "train" if k < 8 else "val") for k in range(12)]


@pytest.fixture
def said():
    return Console(file=io.StringIO(), width=200)


def experiment(root, out, said, **options):
    return Experiment(root, out, **{"scale": SCALE, "seeds": 2, "console": said} | options)


@pytest.fixture(scope="module")
def made(root, tmp_path_factory):
    """Table 1 of faces and birds."""
    out = tmp_path_factory.mktemp("out")
    asked = experiment(root, out, Console(file=io.StringIO()), sets=("lfw", "cub"))
    return out, table1(asked)


def runs(out, name="lfw"):
    return [out / "runs" / "small" / name / "base" / f"seed-{seed}" for seed in range(2)]


# Table 1


def test_table_1_is_the_mean_of_what_evaluate_says(made, root):
    out, folder = made
    result = json.loads((folder / "result.json").read_text())
    for rule in ("best", "last", "label-free"):
        scores = [evaluate(run, root / "lfw32.tar", checkpoint=rule) for run in runs(out)]
        for matching in ("per_dataset", "per_image"):
            for metric in ("iou", "accuracy"):
                values = [getattr(getattr(score, matching), metric) for score in scores]
                told = result["sets"]["lfw"]["rules"][rule]["val"][matching][metric]
                assert told["values"] == pytest.approx(values, abs=1e-9)
                assert told["mean"] == pytest.approx(sum(values) / 2)
                assert told["deviation"] == pytest.approx(abs(values[0] - values[1]) / math.sqrt(2))


def test_table_1_has_the_papers_rows_the_trivial_ones_and_dashes_without_masks(made):
    lines = (made[1] / "table.md").read_text().splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    head, faces, birds = rows[0], *([row for row in rows if row[0] == name] for name in ("LFW", "CUB"))
    assert faces[0][1].startswith("the paper")
    assert dict(zip(head, faces[0], strict=True))["test IoU"] == ".781 ± .005"
    assert {(row[2].split(" ")[0], row[3].split(" (")[0]) for row in faces if row[1] == "redoseg"} == {
        (rule, matching)
        for rule in ("best", "last", "label-free")
        for matching in ("per image", "per data set")
    }
    trivial = [row for row in faces if row[1].startswith("trivial")]
    assert len(trivial) == 2
    assert all(0 < float(dict(zip(head, row, strict=True))["val IoU"]) < 1 for row in trivial)
    assert birds[0][1].startswith("the paper")
    assert set(birds[1][7:]) == {"-"}
    assert 0 <= float(birds[1][6].split(" ")[0]) < 1
    with Image.open(made[1] / "figure.png") as picture:
        assert picture.width > 500


def test_what_is_done_is_not_made_again_and_says_the_same(made, root, said):
    out, folder = made
    before = {file: file.stat().st_mtime_ns for run in runs(out) for file in run.rglob("*") if file.is_file()}
    told = (folder / "result.json").read_text()
    table1(experiment(root, out, said, sets=("lfw", "cub")))
    assert {file: file.stat().st_mtime_ns for file in before} == before
    assert (folder / "result.json").read_text() == told


def test_stopped_it_goes_on_and_ends_as_if_it_had_not_been(made, root, tmp_path, said):
    """A table with one seed, then with two: what was trained is taken up, the rest is as in one go."""
    table1(experiment(root, tmp_path, said, sets=("lfw",), seeds=1))
    folder = table1(experiment(root, tmp_path, said, sets=("lfw",), jobs=2))
    told, before = (json.loads((there / "result.json").read_text()) for there in (folder, made[1]))
    assert told["sets"]["lfw"]["rules"] == before["sets"]["lfw"]["rules"]


def test_a_run_begun_with_other_options_is_refused(made, root, said):
    out = made[0]
    other = dataclasses.replace(SCALE, options=QUICK | {"lambda_z": 3.0})
    with pytest.raises(ConfigError, match=r"lambda-z 10\.0, not 3"):
        table1(experiment(root, out, said, sets=("lfw",), scale=other))


def test_data_that_has_changed_is_refused(made, root, tmp_path, said):
    out = tmp_path / "out"
    shutil.copytree(made[0], out)
    for scores in out.rglob("scores.json"):
        scores.unlink()
    other = tmp_path / "other"
    other.mkdir()
    pack(other, "lfw32", FACES[:-1])
    asked = experiment(other, out, said, sets=("lfw",))
    with pytest.raises(DataError, match="the data has changed"):
        table1(asked)


def test_a_run_that_never_lives_is_told_and_not_tried_again(root, tmp_path, said, monkeypatch):
    tried = []

    def train(config, console):
        tried.append(config.seed)
        config.out.mkdir(parents=True)
        (config.out / "metrics.jsonl").write_text('{"event": "collapse", "step": 2}\n' * 3)
        raise CollapseError("training collapsed in every attempt")

    monkeypatch.setattr(trainings, "train", train)
    asked = experiment(root, tmp_path, said, sets=("lfw",))
    for _ in range(2):
        folder = table1(asked)
    result = json.loads((folder / "result.json").read_text())["sets"]["lfw"]
    assert tried == [0, 1]
    assert (result["collapses"], result["failed"]) == (6, [0, 1])
    assert "6, 2 never lived" in (folder / "table.md").read_text()


# The protocol


def test_the_sets_own_files_come_before_an_archive(root, tmp_path):
    shutil.copy(root / "lfw32.tar", tmp_path)
    assert locate(SETS["lfw"], tmp_path) == (str(tmp_path / "lfw32.tar"),)
    (tmp_path / "lfw").mkdir()
    assert locate(SETS["lfw"], tmp_path) == (f"lfw:{tmp_path / 'lfw'}",)
    with pytest.raises(ConfigError, match="redoseg data download flowers"):
        locate(SETS["flowers+lfw"], tmp_path)


@pytest.mark.parametrize("recipe", ["default", "paper", "authors"])
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", SETS)
def test_every_arm_is_a_training_that_can_be(root, tmp_path, name, scale, recipe):
    how = dataclasses.replace(SCALES[scale], recipe=recipe)
    asked = Experiment(root, tmp_path, how, seeds=1)
    base = asked.run_config(SETS[name], "base", 3)
    assert (base.recipe, base.seed, base.best_by) == (recipe, 3, "per_image")
    if scale == "paper":
        assert (base.size, base.batch) == (128, 25)
        assert recipe != "paper" or base.lambda_z == (15 if name == "lfw" else 5)
        assert recipe != "paper" or base.g_width == (64 if name == "lfw" else 32)
    names = set()
    for arm, change in arms(base).items():
        changed = asked.run_config(SETS[name], "base", 3, **change.options)
        names |= {arm} if arm == "base" or changed != base or "0.8" in arm else set()
    assert names == set(arms(base)), "an arm that changes nothing"


def test_experiments_have_these_names():
    assert {"table1", "figure4", "ablations", "digits", "semi-supervised"} <= set(EXPERIMENTS)


# Parts


def test_no_person_is_in_two_parts(root, tmp_path, said):
    parts = divide_labelled(open_data(experiment(root, tmp_path, said).run_config(SETS["lfw"], "base", 0)))
    people = [{person_of(name) for name in part.names} for part in (parts.pool, parts.stop, parts.scored)]
    assert [len(part) for part in (parts.pool, parts.stop, parts.scored)] == [6, 3, 9]
    assert sum(map(len, people)) == len(set.union(*people)) == 6
    assert all({"val"} == {part.split} for part in (parts.pool, parts.stop, parts.scored))


def test_splits_that_have_masks_are_kept_apart_as_they_are(tmp_path, said):
    rows = [(f"{k:03}", ("train", "val", "test")[k % 3]) for k in range(24)]
    pack(tmp_path, "lfw32", rows, masked=("train", "val", "test"))
    parts = divide_labelled(
        open_data(experiment(tmp_path, tmp_path, said).run_config(SETS["lfw"], "base", 0))
    )
    assert [part.split for part in (parts.pool, parts.stop, parts.scored)] == ["train", "val", "test"]
    assert [len(part) for part in (parts.pool, parts.stop, parts.scored)] == [8, 8, 8]


def test_without_masks_there_is_nothing_to_divide(root, tmp_path, said):
    with pytest.raises(DataError, match="too few masks"):
        divide_labelled(open_data(experiment(root, tmp_path, said).run_config(SETS["cub"], "base", 0)))


def test_a_draws_smaller_sets_lie_within_its_larger_ones(root, tmp_path, said):
    pool = divide_labelled(
        open_data(experiment(root, tmp_path, said).run_config(SETS["lfw"], "base", 0))
    ).pool
    assert set(draw_places(pool, 2, 0)) < set(draw_places(pool, 4, 0))
    assert {tuple(draw_places(pool, 3, draw)) for draw in range(4)} != {tuple(draw_places(pool, 3, 0))}


# Figure 4


def curve(*values):
    return {n: {"iou": {"mean": value}} for n, value in zip((1, 10, 100), values, strict=True)}


def test_where_the_curve_crosses_the_level():
    level = {"mean": 0.5}
    assert find_crossing(curve(0.6, 0.7, 0.8), "iou", level) == {"reached_with": 1, "between": None}
    assert find_crossing(curve(0.1, 0.2, 0.3), "iou", level) == {"reached_with": None, "between": None}
    found = find_crossing(curve(0.2, 0.4, 0.6), "iou", level)
    assert found["reached_with"] == 100
    assert found["between"] == pytest.approx(10**1.5)
    assert find_crossing(curve(0.2, 0.4, 0.6), "iou", None)["reached_with"] is None


# The others, from end to end


@pytest.mark.slow
def test_ablations_say_what_the_paper_says_and_what_is_seen(made, root, said):
    out = made[0]
    folder = ablations(experiment(root, out, said, seeds=1))
    result = json.loads((folder / "result.json").read_text())["sets"]["lfw"]
    config = experiment(root, out, said).run_config(SETS["lfw"], "base", 0)
    assert set(result["arms"]) == set(arms(config))
    for arm, seen in result["arms"].items():
        assert (seen["said"] != "") == (arm != "base")
        last = evaluate(
            out / "runs/small/lfw" / arm.replace(",", "").replace(" ", "-") / "seed-0", root / "lfw32.tar"
        )
        assert seen["per_dataset"]["iou"]["mean"] == pytest.approx(last.per_dataset.iou)
        assert 0 <= seen["smallest_region"]["mean"] <= 0.5
    assert (folder / "figure.png").is_file()


def test_figure_4_is_f_with_labels_beside_what_needs_none(made, root, said):
    out = made[0]
    asked = experiment(root, out, said, sets=("lfw",))
    folder = figure4(asked)
    result = json.loads((folder / "result.json").read_text())["sets"]["lfw"]
    assert {name: part["images"] for name, part in result["parts"].items()} == {
        "pool": 6, "stop": 3, "scored": 9
    }  # fmt: skip
    assert list(result["supervised"]) == ["1", "2", "6"]
    for n, means in result["supervised"].items():
        mine = [one["scores"]["iou"] for one in result["fits"] if str(one["n"]) == n]
        assert means["iou"]["values"] == mine
        assert len(mine) == 2
    # The level is Table 1's runs on the nine images alone, by hand.
    parts = divide_labelled(open_data(asked.run_config(SETS["lfw"], "base", 0)))
    truth = parts.scored.images.labels(parts.scored.rows)
    for run, iou in zip(runs(out), result["unsupervised"]["ReDO"]["iou"]["values"], strict=True):
        f = load_model(run, checkpoint="label-free").f
        regions, _ = predict(f, parts.scored.images, parts.scored.rows)
        by_hand = [
            np.mean(
                [
                    ((r == k) & (t == 1)).sum() / ((r == k) | (t == 1)).sum()
                    for r, t in zip(regions, truth, strict=True)
                ]
            )
            for k in (0, 1)
        ]
        assert any(iou == pytest.approx(one) for one in by_hand)
    before = {file: file.stat().st_mtime_ns for file in (out / "fits").rglob("*.json")}
    next(iter(before)).unlink()  # as if it had been stopped before the last one
    again = json.loads((figure4(asked) / "result.json").read_text())["sets"]["lfw"]
    assert again == result
    assert sum(file.stat().st_mtime_ns != time for file, time in before.items()) == 1


def test_a_shipped_model_is_scored_at_its_own_size_on_the_same_images(root, tmp_path, said):
    asked = experiment(root, tmp_path, said, sets=("lfw",))
    config = asked.run_config(SETS["lfw"], "base", 0)
    part = divide_labelled(open_data(config)).scored
    assert _at_size(config.size, part, asked, SETS["lfw"]) is part
    own = _at_size(64, part, asked, SETS["lfw"])
    assert own.names == part.names
    images, labels = own.read()
    assert (images.shape[1:3], labels.shape[1:]) == ((64, 64), (64, 64))


def test_semi_supervised_runs_learn_from_the_pools_images_alone(made, root, said):
    out = made[0]
    asked = experiment(root, out, said, sets=("lfw",), seeds=1)
    folder = semi_supervised(asked)
    result = json.loads((folder / "result.json").read_text())["sets"]["lfw"]
    pool = divide_labelled(open_data(asked.run_config(SETS["lfw"], "base", 0))).pool
    learned = out / "labelled/small/lfw/n-2-draw-0"
    chosen = [pool.names[place] for place in draw_places(pool, 2, 0)]
    assert sorted(file.stem for file in (learned / "images").iterdir()) == sorted(chosen)
    for place, name in zip(draw_places(pool, 2, 0), chosen, strict=True):
        images, labels = pool.read(np.array([place]))
        assert (np.asarray(Image.open(learned / "images" / f"{name}.png")) == images[0]).all()
        assert (np.asarray(Image.open(learned / "masks" / f"{name}.png")) == labels[0]).all()
    run = json.loads((out / "runs/small/lfw/labelled-2/seed-0/run.json").read_text())
    assert run["supervision"]["kind"] == "semi-supervised"
    assert sorted(run["supervision"]["names"]) == sorted(chosen)
    assert set(result["labels"]["2"]) == {"alone", "with ReDO"}
    assert "SEMI-SUPERVISED" in (folder / "table.md").read_text()


def test_digits_take_mnist_where_it_is(tmp_path, said, monkeypatch):
    for split in scenes.COUNTS:
        monkeypatch.setitem(scenes.COUNTS, split, 40)
    (tmp_path / "root" / "mnist").mkdir(parents=True)
    mnist = write_mnist(tmp_path / "root" / "mnist")
    folder = digits(experiment(mnist.parent, tmp_path, said, seeds=1))
    config = RunFolder(tmp_path / "runs/small/digits/base/seed-0").config()
    assert config.mnist == mnist
    result = json.loads((folder / "result.json").read_text())["sets"]["digits"]
    assert result["data"]["n"] == 3
    assert set(result["rules"]["last"]) == {"train", "val", "test"}
    assert (folder / "figure.png").is_file()


@pytest.mark.parametrize(
    ("words", "cure"),
    [
        (["table1", "--jobs", "0"], "--jobs is 0"),
        (["table1", "--seeds", "0"], "--seeds 0"),
        (["table1", "--root", "nowhere"], "redoseg data download lfw --root nowhere"),
    ],
)
def test_mistakes_are_one_line(command, words, cure, tmp_path):
    code, out, err = command("reproduce", *words, "--out", tmp_path / "out", "--scale", "small")
    assert (code, out) == (1, "")
    assert cure in err
    assert len(err.splitlines()) == 1


def test_table_1_has_a_student_and_what_is_written_beside_the_game(made, root):
    out, folder = made
    students = json.loads((folder / "result.json").read_text())["sets"]["lfw"]["students"]
    games = [evaluate(run, root / "lfw32.tar") for run in runs(out)]
    taught = [evaluate(run / "student", root / "lfw32.tar") for run in runs(out)]
    for row, matching, wanted in (
        ("refined", "as_labelled", [game.as_written for game in games]),
        ("student", "per_dataset", [student.per_dataset for student in taught]),
        ("student", "per_image", [student.per_image for student in taught]),
        ("student_refined", "as_labelled", [student.as_written for student in taught]),
    ):
        told = students[row]["val"][matching]["iou"]["values"]
        assert told == pytest.approx([score.iou for score in wanted], abs=1e-9)
    table = (folder / "table.md").read_text()
    assert "| LFW | its student | last (no masks) | per data set | 2 |" in table


def test_a_student_that_cannot_be_is_said_and_left_out(root, tmp_path, said):
    scale = dataclasses.replace(SCALE, student={**SCALE.student, "lr": 1e30})
    asked = experiment(root, tmp_path, said, sets=("lfw",), seeds=1, scale=scale)
    for _ in range(2):
        result = json.loads((table1(asked) / "result.json").read_text())
        assert result["sets"]["lfw"]["students"].keys() == {"refined"}
    assert said.file.getvalue().count("a loss was not finite") == 1
