"""--labelled: what is learned from a few masks, when, and that every file and table says so."""

import dataclasses
import io
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from torch._dynamo.utils import counters

from one_step import TRACER, apart, new_redo, one_step, pictures
from redoseg.cli import main
from redoseg.config import DistillConfig, TrainConfig
from redoseg.data.dataset import open_dataset
from redoseg.data.held_out import hold_out
from redoseg.distillation.distill import distill
from redoseg.errors import ConfigError, DataError
from redoseg.evaluation.evaluate import evaluate, scoring_split
from redoseg.evaluation.tables import scores_table
from redoseg.exporting.hub_folder import write_hub_folder
from redoseg.files import read_json
from redoseg.label_free.statistics import MaskStatistics
from redoseg.method.drawing import RandomDraws
from redoseg.method.losses import targets
from redoseg.models.load import load_model
from redoseg.models.run_folder import RunFolder
from redoseg.models.weights import load_tensors
from redoseg.training.labelled import SHOWN, Labelled, open_labelled
from redoseg.training.train import train
from redoseg.training.tries import train_tries
from refusals import refusal
from run_compared import collapse_at, differences, interrupted, log, opened
from several_processes import GENTLE, gradients_agree, together
from tinyruns import S, photos, tiny, trained

pytestmark = pytest.mark.training

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return photos(tmp_path_factory.mktemp("data") / "photos", val=3)


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """Five images with masks, other than those of `data`."""
    return photos(tmp_path_factory.mktemp("few") / "few", train=3, val=2, size=2 * S)


@pytest.fixture(scope="module")
def semi(data, tmp_path_factory):
    """A semi-supervised run of four steps."""
    return trained(tiny(data, tmp_path_factory.mktemp("runs") / "semi", labelled="3"))


def some(n=2, count=5, seed=0):
    """Random images; labels 0 to n - 1, a tenth of them 255."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, n, (count, S, S)).astype(np.uint8)
    labels[random.random(labels.shape) < 0.1] = 255
    images = random.integers(0, 256, (count, S, S, 3)).astype(np.uint8)
    return Labelled("here", tuple(map(str, range(count))), images, labels)


def plain(n=2, **options):
    return TrainConfig.of(data="x", out="y", size=S, n=n, flip=False, f_jitter=0.0, **options)


def opened_for(config):
    dataset = open_dataset(config.data, size=S, n=config.n, cache=config.cache)
    return open_labelled(config, dataset), dataset


# The term


@pytest.mark.parametrize("n", [2, 3])
def test_its_value_and_gradient(n):
    """By hand, and by autograd of that: the mean of -log of the label's mask over labelled pixels."""
    shown = some(n)
    with_it, without = (new_redo(n=n, labelled_weight=3.0) for _ in range(2))
    labelled_batch = shown.batch(plain(n), 0, 0, CPU)
    f = with_it.networks.f
    masks = f(labelled_batch.images)
    # `labelled_batch` may have them in another order
    order = [
        int(np.argmin([(image != other).sum() for other in shown.images]))
        for image in labelled_batch.images.permute(0, 2, 3, 1).add(1).mul(127.5).round().byte().numpy()
    ]
    labels = torch.from_numpy(shown.labels[order]).long()
    known = labels != 255
    picked = masks.gather(1, labels.clamp(max=n - 1)[:, None])[:, 0]
    by_hand = -picked[known].log().mean()
    gradients = torch.autograd.grad(by_hand, list(f.parameters()))

    codes = RandomDraws.sample(with_it.config, torch.Generator().manual_seed(0), 0)
    losses = with_it.generator_update(pictures(with_it, 0), codes, 0, labelled_batch)
    without.generator_update(pictures(with_it, 0), codes, 0)
    assert losses["L_sup"].item() == pytest.approx(by_hand.item(), rel=1e-5)
    pairs = zip(f.parameters(), without.networks.f.parameters(), gradients, strict=True)
    for ours, theirs, expected in pairs:
        scale = max(1e-3, expected.abs().max().item())
        torch.testing.assert_close(ours.grad - theirs.grad, 3 * expected, rtol=1e-3, atol=1e-3 * scale)


def test_pixels_without_a_label_count_nothing():
    shown = some(3)
    wanted, counted = targets(torch.from_numpy(shown.labels), 3)
    assert torch.equal(counted[:, 0] == 0, torch.from_numpy(shown.labels == 255))
    assert torch.equal(wanted.sum(1), torch.ones(5, S, S))
    blank = dataclasses.replace(shown, labels=np.full_like(shown.labels, 255))
    redo = new_redo(n=3)
    codes = RandomDraws.sample(redo.config, torch.Generator().manual_seed(0), 0)
    labelled_batch = blank.batch(plain(3), 0, 0, CPU)
    assert redo.generator_update(pictures(redo, 0), codes, 0, labelled_batch)["L_sup"] == 0


@pytest.mark.slow
def test_a_step_is_one_graph_with_it():
    torch._dynamo.reset()
    counters.clear()
    shown, (eager, compiled) = some(), (new_redo(labelled_weight=2.0, batch=4) for _ in range(2))
    compiled.compile(backend=TRACER)
    for t in range(3):
        found = []
        for redo in (eager, compiled):
            codes = RandomDraws.sample(redo.config, torch.Generator().manual_seed(t), t)
            labelled_batch = shown.batch(redo.config, 0, t, CPU)
            found.append(redo.generator_update(pictures(redo, t), codes, t, labelled_batch))
        for name, loss in found[0].items():
            torch.testing.assert_close(found[1][name], loss, rtol=1e-3, atol=1e-3, msg=name)
    assert apart(compiled, eager) < 1e-3
    assert not counters["graph_break"]


def test_without_labels_the_losses_are_the_papers_alone():
    assert one_step(new_redo(), 0).keys() == {"L_G", "z_error", "L_D"}


@pytest.mark.slow
def test_labels_are_learned(data, tmp_path):
    options = {"labelled": "6", "labelled_weight": 10.0, "steps": 60, "eval_every": 60, "sample_every": 60}
    lines = log(trained(tiny(data, tmp_path / "run", collapse_every=10, **options)))
    assert lines[-1]["losses"]["L_sup"] < lines[0]["losses"]["L_sup"] / 2


# A step's images


def test_a_labelled_batch_depends_on_seed_attempt_and_step():
    shown = some(count=2 * SHOWN)

    def seen(seed=0, attempt=0, step=0):
        return shown.batch(plain(seed=seed), attempt, step, CPU).images

    assert torch.equal(seen(), seen())
    assert not any(torch.equal(seen(), seen(**other)) for other in ({"seed": 1}, {"attempt": 1}, {"step": 1}))
    assert len(seen()) == SHOWN
    assert len(torch.unique(seen().flatten(1), dim=0)) == SHOWN
    assert len(some(count=3).batch(plain(), 0, 0, CPU).images) == 3


def test_every_image_gets_its_turn():
    shown = some(count=2 * SHOWN)
    seen = torch.cat([shown.batch(plain(), 0, step, CPU).images for step in range(20)])
    assert len(torch.unique(seen.flatten(1), dim=0)) == 2 * SHOWN


def test_masks_are_mirrored_with_their_images_and_not_relit():
    """Images are their own labels here: so must be what is seen of them, in any light."""
    labels = np.random.default_rng(0).integers(0, 2, (SHOWN, S, S)).astype(np.uint8)
    images = np.repeat(255 * labels[..., None], 3, 3).astype(np.uint8)
    shown = Labelled("here", tuple(map(str, range(SHOWN))), images, labels)
    labelled_batch = shown.batch(dataclasses.replace(plain(), flip=True), 0, 0, CPU)
    assert torch.equal(labelled_batch.images[:, 0] > 0, labelled_batch.targets[:, 1] == 1)
    unchanged = {label.tobytes() for label in labels}
    kept = [mask.numpy().astype(np.uint8).tobytes() in unchanged for mask in labelled_batch.targets[:, 1]]
    assert 0 < sum(kept) < SHOWN
    relit = shown.batch(dataclasses.replace(plain(), f_jitter=1.0), 0, 0, CPU)
    same = shown.batch(plain(), 0, 0, CPU)
    assert torch.equal(relit.targets, same.targets)
    assert (relit.images - same.images).abs().mean((1, 2, 3)).min() > 0.01
    faded = dataclasses.replace(plain(), f_jitter=1.0, f_jitter_fade=10)
    torch.testing.assert_close(shown.batch(faded, 0, 20, CPU).images, shown.batch(plain(), 0, 20, CPU).images)


# Which images


def test_a_number_draws_from_train_by_the_seed(data, tmp_path):
    def of(K, seed=0):
        return opened_for(tiny(data, tmp_path / "run", labelled=K, seed=seed))[0]

    found = of(4)
    dataset = open_dataset((str(data),), size=S, cache=data.parent / "cache")
    split = dataset.splits["train"]
    rows = np.array([split.names.index(name) for name in found.names])
    np.testing.assert_array_equal(found.images, split.images(rows))
    np.testing.assert_array_equal(found.labels, split.labels(rows))
    assert len(found) == 4
    assert set(of(2).names) < set(found.names) < set(of(7).names)
    assert of(4).supervision == found.supervision
    assert len({of(4, seed).names for seed in range(5)}) > 1


def test_a_folder_or_archive_brings_all_its_labelled_images(data, few, tmp_path):
    (few / "masks" / "001.png").rename(tmp_path / "away.png")
    try:
        found, dataset = opened_for(tiny(data, tmp_path / "run", labelled=few))
        archive = shutil.make_archive(str(tmp_path / "few"), "tar", few)
        packed, _ = opened_for(tiny(data, tmp_path / "run", labelled=archive))
    finally:
        (tmp_path / "away.png").rename(few / "masks" / "001.png")
    assert sorted(found.names) == ["train/000", "train/002", "val/003", "val/004"]
    assert found.images.shape == (4, S, S, 3)  # brought to the run's size
    assert set(np.unique(found.labels)) == {0, 1}
    assert dataset.name == "photos"
    assert packed.supervision["fingerprint"] == found.supervision["fingerprint"]


def test_images_whose_masks_label_nothing_are_not_counted(tmp_path):
    folder = photos(tmp_path / "photos", train=6, val=0, values=(0, 1))
    for index in range(3):
        Image.fromarray(np.full((S, S), 255, np.uint8)).save(folder / "masks" / f"00{index}.png")
    assert opened_for(tiny(folder, tmp_path / "run", labelled=3))[0].names == ("003", "004", "005")
    with pytest.raises(DataError, match="has 3 images with masks"):
        opened_for(tiny(folder, tmp_path / "run", labelled=4))
    assert len(opened_for(tiny(folder, tmp_path / "run", labelled=folder))[0]) == 3


def broken(kind, tmp_path):
    """A folder that can't be learned from."""
    folder = tmp_path / kind
    if kind == "empty":
        folder.mkdir()
    elif kind == "no masks":
        photos(folder, train=2, val=0, masks=False)
    elif kind == "other n":
        photos(folder, train=2, val=0, values=(0, 4))
    return folder


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("nowhere", "there is no"),
        ("empty", "holds no images"),
        ("no masks", "none of its images has a mask: put masks/ beside images/"),
        ("other n", r"its masks hold labels 4, but 3 regions are 0 to 2"),
        ("11", r"--labelled 11: the split `train` of photos has 10 images with masks: ask for fewer"),
    ],
)
def test_what_cannot_be_learned_from_is_one_line(data, tmp_path, kind, text, capsys):
    labelled = kind if kind.isdecimal() else broken(kind, tmp_path)
    config = tiny(data, tmp_path / "run", labelled=labelled, n=3)
    with refusal(DataError, match=text) as caught:
        trained(config)
    assert not config.out.exists()
    line = ["train", str(data), "--out", str(config.out), "--labelled", str(labelled), "--n", "3"]
    assert main([*line, "--size", str(S), "--batch", "4", "--cache", str(config.cache), "--dry-run"]) == 1
    assert str(caught.value) in capsys.readouterr().err


def test_tries_with_a_number_are_refused(data, tmp_path):
    config = tiny(data, tmp_path / "run", labelled="3")
    with pytest.raises(ConfigError, match="--labelled 3 with --tries would draw other images for each seed"):
        train_tries(config, tries=2, try_steps=2, console=Console(file=io.StringIO()))
    assert not config.out.exists()


def test_tries_with_a_folder_are_semi_supervised_runs(data, few, tmp_path):
    config = tiny(data, tmp_path / "run", labelled=few)
    run = RunFolder(train_tries(config, tries=2, try_steps=2, console=Console(file=io.StringIO())))
    assert read_json(run.description)["supervision"]["labelled"] == 5
    assert all("L_sup" in line["losses"] for line in log(run))


# A run


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, marks=pytest.mark.slow),
        {"n": 3, "f_jitter": 0.5, "f_jitter_fade": 3, "d_updates": 2},
    ],
)
def test_interrupted_it_ends_as_unbroken(data, few, tmp_path, monkeypatch, options):
    """Across a restart, too."""
    collapse_at(monkeypatch, (0, 3))
    unbroken = trained(tiny(data, tmp_path / "unbroken", labelled=few, **options))
    config = tiny(data, tmp_path / "broken", labelled=few, **options)
    for step in (2, 1, 3):
        run = interrupted(config, monkeypatch, step)
        assert load_tensors(run.last)[1]["step"] == step
    assert differences(trained(config), unbroken) == []
    assert log(run)[-1]["restarts"] == 1


def test_another_sittings_steps_are_the_same(data, semi, tmp_path):
    run = trained(tiny(data, tmp_path / "run", labelled="3", steps=2))
    assert differences(trained(tiny(data, run.path, labelled="3")), semi) == []


def test_resumed_from_the_command_line(data, few, tmp_path):
    unbroken = trained(tiny(data, tmp_path / "unbroken", labelled=few))
    run = trained(tiny(data, tmp_path / "run", labelled=few, steps=2))
    assert main(["resume", str(run.path), "--steps", "4"]) == 0
    assert differences(run, unbroken) == []


def test_other_labelled_images_are_refused(data, few, tmp_path):
    folder = Path(shutil.copytree(few, tmp_path / "few"))
    config = tiny(data, tmp_path / "run", labelled=folder, steps=2)
    run = trained(config)
    before = run.last.read_bytes(), run.description.read_bytes()
    mask = folder / "masks" / "000.png"
    Image.fromarray(np.asarray(Image.open(mask))[::-1].copy()).save(mask)
    for labelled in (str(folder), "3", None):
        changed = dataclasses.replace(config, labelled=labelled, steps=4)
        with refusal(DataError, match=r"the labelled images of \S+ aren't those that"):
            trained(changed)
    assert (run.last.read_bytes(), run.description.read_bytes()) == before
    moved = Path(shutil.copytree(few, tmp_path / "elsewhere"))
    assert (
        load_tensors(trained(dataclasses.replace(config, labelled=str(moved), steps=4)).last)[1]["step"] == 4
    )


def test_a_run_without_is_not_given_any_later(data, done):
    with pytest.raises(DataError, match="the labelled images of"):
        trained(tiny(data, done.path, labelled="3"))


def test_regions_are_named_by_the_labels(tmp_path):
    """Label 1 is the ground around the squares, which the border would make region 0."""
    assert MaskStatistics((0.3, 0.7), (0.1, 0.9), 0.1).order == [1, 0]
    assert MaskStatistics((0.3, 0.7), (0.1, 0.9), 0.1, named=True).order == [0, 1]
    data = photos(tmp_path / "photos", values=(255, 0))
    options = {"labelled_weight": 10.0, "steps": 40, "eval_every": 40, "sample_every": 40}
    run = trained(tiny(data, tmp_path / "run", labelled="8", collapse_every=10, **options))
    model = load_model(run.path)
    assert model.f.order.tolist() == [0, 1]
    assert evaluate(run.path, str(data), cache=data.parent / "cache").region_sizes[1] > 0.5


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="forks")
def test_two_processes_learn_what_one_does(data, few, tmp_path):
    alone, both = (
        tiny(data, tmp_path / name, labelled=few, **GENTLE | {"steps": 1}) for name in ("alone", "both")
    )
    one, two = trained(alone), together(both)
    gradients_agree(one, two)
    assert log(one)[0]["losses"] == pytest.approx(log(two)[0]["losses"], abs=1e-4)


# Scores


def test_images_trained_on_with_their_masks_are_not_scored(tmp_path):
    data = photos(tmp_path / "photos", train=10, val=0)
    run = trained(tiny(data, tmp_path / "run", labelled="4"))
    scores = read_json(run.evaluation)
    assert scores["images"] == 6
    found = evaluate(run.path, str(data), split="train", cache=data.parent / "cache").as_dict()
    assert scores == found | {"as_written": None, "whole": None}
    left = hold_out(scoring_split(opened_for(run.config())[1]), read_json(run.description)["supervision"])
    names = {left[1].names[row] for row in left[1].labelled}
    assert names == {f"{row:03}" for row in range(10)} - {*read_json(run.description)["supervision"]["names"]}
    assert load_tensors(run.best)[1]["best"]["iou"] >= 0


def test_a_copy_of_a_scored_image_is_found_by_its_pixels(data, tmp_path):
    folder = tmp_path / "few"
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
        shutil.copy(data / kind / "011.png", folder / kind / "another name.png")  # one of three in `val`
    run = trained(tiny(data, tmp_path / "run", labelled=folder, steps=2))
    assert read_json(run.evaluation)["images"] == 2


def test_where_all_were_trained_on_nothing_is_scored(tmp_path):
    data = photos(tmp_path / "photos", train=10, val=0)
    run = trained(tiny(data, tmp_path / "run", labelled="10", steps=2))
    assert not run.evaluation.exists()
    assert all(line["val"] is None for line in log(run))
    with pytest.raises(DataError, match="trained with the masks of every labelled image of the split train"):
        evaluate(run.path, str(data), split="train", cache=data.parent / "cache")


# What is said of it


def test_the_run_says_so(data, tmp_path):
    said = io.StringIO()
    console = Console(file=said, width=200)
    run = RunFolder(train(tiny(data, tmp_path / "run", labelled="3", steps=2), console=console))
    first = said.getvalue().splitlines()[0]
    said_of = "3 images are learned with their masks (photos, drawn from its split train)"
    assert first == f"SEMI-SUPERVISED (--labelled): {said_of}"
    found = read_json(run.description)["supervision"]
    assert (found["kind"], found["labelled"], len(found["names"])) == ("semi-supervised", 3, 3)
    assert load_tensors(run.last)[1]["supervision"] == found
    assert all(line["losses"]["L_sup"] > 0 for line in log(run))


def test_a_run_without_says_that(done):
    assert read_json(done.description)["supervision"] == {"kind": "none"}
    assert "supervision" not in load_tensors(done.last)[1]
    assert all("L_sup" not in line["losses"] for line in log(done))
    assert "- unsupervised" in (done.model / "README.md").read_text()
    assert opened(done.config()).learner.labelled is None


def test_the_dry_run_says_so(data, capsys):
    line = ["train", str(data), "--out", "nowhere", "--size", str(S), "--cache", str(data.parent / "cache")]
    line += ["--batch", "4", "--labelled", "3", "--dry-run"]
    assert main(line) == 0
    assert "masks     SEMI-SUPERVISED: those of 3 images\n" in capsys.readouterr().out
    assert main([*line, "--json"]) == 0
    output = capsys.readouterr()
    found = json.loads(output.out)
    assert found["config"]["labelled"] == "3"
    assert found["supervision"]["kind"] == "semi-supervised"
    assert len(found["supervision"]["names"]) == 3
    assert output.err.startswith("SEMI-SUPERVISED (--labelled): 3 images are learned with their masks")


def test_the_help_says_so(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "SEMI-SUPERVISED: masks ARE read in training" in text


def test_tables_and_cards_say_so(data, semi, tmp_path):
    scored = evaluate(semi.path, str(data), cache=data.parent / "cache")
    assert scored.checkpoint["supervision"] == "semi-supervised: 3 masks"
    assert "semi-supervised: 3 masks read in training" in scores_table(scored).title
    readme = (semi.model / "README.md").read_text()
    assert "semi-supervised: 3 masks" in readme
    assert "unsupervised" not in readme.lower()

    card = write_hub_folder(str(semi.path), tmp_path / "hub")
    text = (tmp_path / "hub" / "README.md").read_text()
    assert "- semi-supervised" in text
    assert "- unsupervised" not in text
    assert text.count("**semi-supervised: 3 masks**") == 2
    assert "no mask was used" not in text
    assert "pictures alone" not in text
    assert "--labelled 3" in card.commands[0]
    assert card.supervision["names"] == read_json(semi.description)["supervision"]["names"]
    again = write_hub_folder(str(tmp_path / "hub"), tmp_path / "again")
    assert again.supervision == card.supervision
    assert load_model(tmp_path / "hub").checkpoint["supervision"] == "semi-supervised: 3 masks"


def test_a_card_keeps_no_path_of_the_machine(data, few, tmp_path):
    run = trained(tiny(data, tmp_path / "run", labelled=few, steps=2))
    card = write_hub_folder(str(run.path), tmp_path / "hub")
    assert card.options["labelled"] == "few"
    assert "--labelled few" in card.commands[0]
    assert str(few.parent) not in (tmp_path / "hub" / "card.json").read_text()


@pytest.mark.slow
def test_a_student_of_it_says_so(data, semi, tmp_path):
    config = DistillConfig(
        run=semi.path, out=tmp_path / "student", steps=2, batch=4, confident=0.0, object_share=(0.0, 1.0),
        eval_every=2, save_every=2, device="cpu",
    )  # fmt: skip
    student = RunFolder(distill(config, console=Console(file=io.StringIO())))
    assert read_json(student.description)["supervision"]["labelled"] == 3
    write_hub_folder(str(student.path), tmp_path / "hub")
    assert "semi-supervised: 3 masks" in (tmp_path / "hub" / "README.md").read_text()
    assert "- unsupervised" not in (student.model / "README.md").read_text()
