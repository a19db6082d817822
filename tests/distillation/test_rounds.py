"""First labels without any network, and rounds of students of which the best one by its score is kept."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from scipy import ndimage

from redoseg.baselines.iem import segment
from redoseg.cli import main
from redoseg.config import DistillConfig
from redoseg.data.dataset import open_data
from redoseg.distillation.first_labels import SOURCES, FirstLabels, boxes, clusters, disc, iem, salient
from redoseg.distillation.rounds import distill_rounds
from redoseg.exporting.provenance import card_of_run
from redoseg.files import read_json
from redoseg.label_free.verdict import Verdict
from redoseg.models.load import load_model
from redoseg.models.run_folder import RunFolder
from redoseg.models.weights import load_tensors
from redoseg.tensors import to_tensor
from redoseg.training.mask_learner import MaskLearner
from refusals import refused_command
from run_compared import Killed, ctrl_c_within, dying, equal, log
from tinyruns import photos

pytestmark = pytest.mark.training

CPU = torch.device("cpu")
OPTIONS: dict[str, Any] = {
    "targets": "refined", "size": 64, "f_width": 4, "f_blocks": 1, "batch": 4, "steps": 2, "log_every": 1,
    "eval_every": 1, "save_every": 1, "device": "cpu", "threads": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return photos(tmp_path_factory.mktemp("data") / "photos", train=8, val=2)


def taught(data, out, rounds, **options):
    """The folder of students of first labels."""
    config = DistillConfig(
        run=Path("first:disc"), out=out, data=(str(data),), cache=data.parent / "cache", **OPTIONS | options
    )
    return RunFolder(distill_rounds(config, rounds=rounds, console=Console(file=io.StringIO())))


def typed():
    for name, value in OPTIONS.items():
        yield from (f"--{name.replace('_', '-')}", value)


def scored(monkeypatch, *scores):
    """Give the rounds these label-free scores."""
    monkeypatch.setattr(
        "redoseg.distillation.rounds.verdict_of", lambda run: Verdict(scores[int(run.path.name) - 1], 1)
    )


def square(side, inner, colours=((40, 60, 200), (220, 90, 30))):
    photo = np.empty((side, side, 3), np.uint8)
    photo[:] = colours[0]
    cut = slice((side - inner) // 2, (side + inner) // 2)
    photo[cut, cut] = colours[1]
    truth = np.zeros((side, side), bool)
    truth[cut, cut] = True
    return photo, truth


def noisy(photo):
    return np.clip(photo + np.random.default_rng(0).integers(-9, 9, photo.shape), 0, 255).astype(np.uint8)


def iou_of(mask, truth):
    """The IoU of a soft mask, which is what first labels are."""
    assert mask.shape == truth.shape
    assert mask.dtype == np.float32
    assert 0 <= mask.min() <= mask.max() <= 1
    sure = mask > 0.5
    return (sure & truth).sum() / (sure | truth).sum()


# First labels


def test_a_disc_is_highest_in_the_middle_and_the_same_for_all_photos():
    photo, _ = square(64, 20)
    found = disc(photo)
    assert found.shape == (64, 64)
    assert found.dtype == np.float32
    assert found[31:33, 31:33].min() == found.max() <= 1.15
    assert found[0, 0] == 0
    assert np.array_equal(found, found[::-1, ::-1])
    assert np.array_equal(found, disc(255 - photo))


@pytest.mark.parametrize("side", [32, 64, 128])
def test_boxes_find_what_differs_from_the_border(side):
    photo, truth = square(side, side // 2)
    photo = noisy(photo)
    found = boxes(photo)
    assert iou_of(found, truth) > 0.9


@pytest.mark.parametrize("find", [boxes, clusters, salient, iem])
def test_a_photo_of_one_colour_has_nothing_in_it(find):
    assert not find(np.full((64, 64, 3), 90, np.uint8)).any()


@pytest.mark.parametrize("find", [clusters, salient])
@pytest.mark.parametrize("side", [32, 64, 128])
def test_an_object_in_pieces_away_from_the_middle_is_found(find, side):
    photo, truth = square(side, 0)
    for top, left in ((0.1, 0.55), (0.6, 0.1)):
        truth[round(top * side) :, round(left * side) :][: side // 4, : side // 4] = True
    photo[truth] = (220, 60, 40)
    photo = noisy(photo)
    found = find(photo)
    assert iou_of(found, truth) > 0.85
    assert boxes(photo)[truth].mean() < found[truth].mean()


def test_the_inpainting_error_is_the_baselines():
    photo, truth = square(64, 30)
    photo = noisy(photo)
    assert np.array_equal(iem(photo), segment(photo, 0))
    assert (iem(photo) > 0.5)[truth].mean() > 0.9


@pytest.mark.parametrize("name", SOURCES)
def test_as_a_teacher_they_are_masks_of_two_regions(name):
    pictures = np.stack([square(64, inner)[0] for inner in (20, 30)])
    masks = FirstLabels(name, CPU).masks(to_tensor(pictures))
    assert masks.shape == (2, 2, 64, 64)
    torch.testing.assert_close(masks.sum(1), torch.ones(2, 64, 64))
    for mask, picture in zip(masks[:, 1].numpy(), pictures, strict=True):
        assert np.array_equal(mask, SOURCES[name](picture))


def test_a_student_of_first_labels_says_so(data, tmp_path):
    run = taught(data, tmp_path / "run", 1)
    teacher = read_json(run.description)["teacher"]
    assert (teacher["run"], teacher["rule"], teacher["step"]) == ("first:disc", "first labels", 0)
    assert load_model(run.path).f.n == 2
    assert not run.rounds.exists()
    (line,) = card_of_run(run, load_model(run.path), "a").commands
    assert line.startswith("redoseg distill first:disc --out runs/a ")


def test_the_card_of_a_later_round_names_every_command(data, tmp_path, monkeypatch):
    scored(monkeypatch, 0.1, 0.2)
    run = taught(data, tmp_path / "run", 2)
    first, second = card_of_run(run, load_model(run.path), "a").commands
    assert first.startswith("redoseg distill first:disc --out runs/a-teacher --data photos ")
    assert second.startswith("redoseg distill runs/a-teacher --out runs/a --data photos ")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "first:disc comes without photos: say with --data what to learn from"),
        (
            ["--data", "photos", "--targets", "network"],
            "first:disc needs --targets refined",
        ),
        (["--data", "photos", "--rounds", "0"], "--rounds is 0: give a number from 1 on, or auto"),
    ],
)
def test_what_first_labels_and_rounds_cant_be(command, tmp_path, options, said):
    line = ["distill", "first:disc", "--out", tmp_path / "run", "--targets", "refined", *options]
    refused_command(command, said, *line)
    assert not (tmp_path / "run").exists()


# Rounds


@pytest.mark.parametrize(
    ("scores", "trained", "kept"),
    [((0.2, 0.3, 0.1), 3, 2), ((0.2, 0.1), 2, 1), ((0.1, 0.2, 0.3), 3, 3), ((0, 0), 2, 1)],
)
def test_rounds_go_on_while_the_score_rises_and_the_best_is_kept(
    data, tmp_path, monkeypatch, scores, trained, kept
):
    scored(monkeypatch, *scores)
    run = taught(data, tmp_path / "run", 3)
    said = read_json(run.rounds)
    assert (said["scores"], said["chosen"], said["most"]) == (list(scores), kept, 3)
    folders = sorted(path.name for path in (run.path / "rounds").iterdir())
    assert folders == [str(number) for number in range(1, trained + 1)]
    best = RunFolder(run.round_folder(kept))
    assert run.last.read_bytes() == best.last.read_bytes()
    assert read_json(run.description)["distill"]["out"] == str(run.path)
    teacher = read_json(run.description)["teacher"]["run"]
    assert teacher == ("first:disc" if kept == 1 else str(run.round_folder(kept - 1)))
    assert load_model(run.path).f.n == 2


def test_a_round_is_taught_by_the_student_before_it(data, tmp_path, monkeypatch):
    scored(monkeypatch, 0.1, 0.2)
    run = taught(data, tmp_path / "run", 2)
    first, second = RunFolder(run.round_folder(1)), RunFolder(run.round_folder(2))
    weights = read_json(second.description)["teacher"]["weights"]
    assert weights != read_json(first.description)["teacher"]["weights"]
    assert read_json(second.description)["teacher"]["step"] == OPTIONS["steps"]


def score_of(run, data):
    """The verdict's score of a run: the signals of its log, multiplied, but for the share in pieces that
    don't span the photo, which is counted here."""
    signals = log(run)[-1]["signals"]
    images = open_data(run.config(), [str(data)]).split("train").images(np.arange(8))
    with torch.no_grad():
        objects = (load_model(run.path).f.ordered_masks(to_tensor(images, CPU)).argmax(1) > 0).numpy()
    inside = 0
    for image in objects:
        pieces, _ = ndimage.label(image)
        for number, (rows, columns) in enumerate(ndimage.find_objects(pieces), 1):
            spans = 64 in (rows.stop - rows.start, columns.stop - columns.start)
            inside += 0 if spans else (pieces == number).sum()
    centred = 1 - signals["border"] / (1 - signals["sizes"][0])
    return max(centred, inside / objects.sum()) * signals["outline"] * signals["mirrored"]


def test_rounds_are_compared_by_score_steadiness_and_sure_share(data, tmp_path):
    run = taught(data, tmp_path / "run", 2)
    first = RunFolder(run.round_folder(1))
    verdict = Verdict.from_json(read_json(first.verdict))
    assert verdict.score == pytest.approx(score_of(first, data), rel=1e-5)
    sure, steady = max(0.01, verdict.sure) ** 0.5, max(0, verdict.steady)
    twice = min(1, steady / 0.65)
    assert read_json(run.rounds)["scores"][0] == pytest.approx(verdict.score * steady * twice * sure)


@pytest.mark.parametrize("step", [1, 2])
def test_interrupted_in_any_round_they_end_as_if_they_were_not(data, tmp_path, monkeypatch, step):
    scored(monkeypatch, 0.1, 0.2)
    unbroken = taught(data, tmp_path / "unbroken" / "run", 2)
    out = tmp_path / "broken" / "run"
    ctrl_c_within(step, MaskLearner, "update", monkeypatch, lambda: taught(data, out, 2))
    assert not RunFolder(out).exists
    assert RunFolder(out).in_rounds
    assert main(["resume", str(out)]) == 0
    assert load_model(out).f.n == 2
    run = RunFolder(out)
    assert read_json(run.rounds)["scores"] == [0.1, 0.2]
    assert equal(load_tensors(run.last)[0], load_tensors(unbroken.last)[0])


def test_killed_between_rounds_or_while_one_is_chosen_they_end_as_if_they_were_not(
    data, tmp_path, monkeypatch
):
    """At a later write to the rounds' own folder each time; within a round, a student goes on by itself."""
    scored(monkeypatch, 0.1, 0.2)
    unbroken = taught(data, tmp_path / "unbroken", 2, steps=1)
    broken, killed = tmp_path / "broken", []
    for when in range(1, 40):
        with monkeypatch.context() as patch:
            writes = dying(patch, when, broken)
            try:
                run = taught(data, broken, 2, steps=1)
                break
            except Killed:
                killed.append(writes[-1].name)
    assert killed.count("rounds.json") >= 3
    assert {"checkpoints", "run.json"} <= set(killed)
    assert equal(load_tensors(run.last)[0], load_tensors(unbroken.last)[0])
    assert read_json(run.rounds)["scores"] == [0.1, 0.2]


def test_a_folder_of_rounds_isnt_begun_otherwise(data, tmp_path, monkeypatch, command):
    def line(first, out, rounds):
        return ["distill", first, "--data", data, "--out", out, "--rounds", rounds, *typed()]

    scored(monkeypatch, 0.2, 0.1)
    run = taught(data, tmp_path / "run", 2)
    refused_command(
        command, "was trained with --seed 0, not 3", *line("first:disc", run.path, 2), "--seed", 3
    )
    refused_command(command, "was trained with --rounds 2, not 3", *line("first:disc", run.path, 3))
    refused_command(command, "isn't what taught", *line("first:boxes", run.path, 2))
    one = taught(data, tmp_path / "one", 1)
    refused_command(command, "was begun without --rounds", *line("first:disc", one.path, 2))
