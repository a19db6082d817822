"""A student learns its teacher's masks, from pictures alone; interrupted, it ends as one that was not."""

import dataclasses
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from rich.console import Console

from redoseg.cli import main
from redoseg.config import DistillConfig, TrainConfig
from redoseg.data.dataset import open_dataset
from redoseg.data.photos import PhotoSplit
from redoseg.distillation.distill import distill
from redoseg.distillation.learner import DistillationLearner
from redoseg.distillation.pairs import select, unpack
from redoseg.distillation.targets import RefinedTargets
from redoseg.distillation.teacher import NetworkTeacher
from redoseg.errors import DivergenceError
from redoseg.evaluation.evaluate import evaluate, predict
from redoseg.files import read_json, write_json
from redoseg.label_free.calibration import THRESHOLDS
from redoseg.method.losses import masked_cross_entropy
from redoseg.models.backends.choice import BackendName
from redoseg.models.load import load_model
from redoseg.models.run_folder import RunFolder
from redoseg.models.tensor_file import weights_digest
from redoseg.models.weights import load_tensors, save_tensors
from redoseg.networks.build import build_networks
from redoseg.segmentation import refining
from redoseg.segmentation.refining import Refining
from redoseg.segmentation.segmenter import Segmenter
from redoseg.tensors import to_tensor
from redoseg.training import checkpoints
from redoseg.training.distributed import SingleProcess
from redoseg.training.log import description
from redoseg.training.mask_learner import MaskLearner
from refusals import refused_command
from run_compared import Killed, ctrl_c_within, differences, dying, equal, log
from several_processes import forked, gradients_agree, together
from tinyruns import TINY, photos

pytestmark = pytest.mark.training

CPU = torch.device("cpu")
SMALL = {
    "f_width": 4, "f_blocks": 1, "batch": 8, "steps": 4, "log_every": 1, "eval_every": 2, "save_every": 2,
    "device": "cpu", "threads": 1, "targets": "network",
}  # fmt: skip


def taught(data, out, *, steps, n=2, swapped=False):
    """A run whose f has learned a few labels, where ReDO would take hours. Its generators are untrained."""
    options: dict[str, Any] = TINY | {"cache": out.parent / "cache", "attention": False, "n": n}
    config = TrainConfig.of(data=(str(data),), out=out, **options).resolved()
    dataset = open_dataset(config.data, size=config.size, n=n, cache=config.cache)
    networks, train = build_networks(config, 0, CPU), dataset.split("train")
    f, adam = networks.f, torch.optim.Adam(networks.f.parameters(), 5e-3)
    for step in range(steps):
        chosen = np.arange(16 * step, 16 * (step + 1)) % len(train)
        labels = torch.from_numpy(train.labels(chosen)).long().clamp(max=n - 1)
        logits = f.logits(to_tensor(train.images(chosen)))
        logits = torch.cat((logits, torch.zeros_like(logits)), 1) if n == 2 else logits
        loss = F.cross_entropy(logits, n - 1 - labels if swapped else labels)
        adam.zero_grad()
        loss.backward()
        adam.step()
    if swapped:
        f.order.copy_(torch.arange(n - 1, -1, -1))
    networks.f_ema.load_state_dict(f.state_dict())
    run, kept = RunFolder(out), ("f", "f_ema", "G")
    tensors = {
        f"{letter}.{name}": tensor
        for letter, network in networks.items().items()
        if letter in kept
        for name, tensor in network.state_dict().items()
    }
    save_tensors(run.last, tensors, {"step": steps})
    save_tensors(run.step(steps), {k: v for k, v in tensors.items() if k[0] == "f"}, {"step": steps})
    write_json(run.description, description(config, dataset.describe(), CPU))
    return run


def small(teacher, out, **options):
    return DistillConfig(**{"run": teacher.path, "out": out} | SMALL | options)


def distilled(config):
    """`distill` in silence; the student's folder."""
    return RunFolder(distill(config, console=Console(file=io.StringIO())))


def teacher_of(run, *, mirrored=False, checkpoint="last"):
    return NetworkTeacher(run.path, checkpoint=checkpoint, weights=None, device=CPU, mirrored=mirrored)


def interrupted(config, monkeypatch, step):
    """The folder of a student that was interrupted within that step."""
    ctrl_c_within(step, MaskLearner, "update", monkeypatch, lambda: distilled(config))
    return RunFolder(config.out)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    folder = tmp_path_factory.mktemp("teacher")
    return taught(photos(folder / "photos", train=40, val=6), folder / "run", steps=25)


@pytest.fixture(scope="module")
def done(teacher, tmp_path_factory):
    """A student of four steps."""
    return distilled(small(teacher, tmp_path_factory.mktemp("runs") / "done"))


@pytest.fixture
def unscored(monkeypatch):
    """What takes its time with drawn scenes: a thousand of them scored, an ONNX file of a new shape."""
    monkeypatch.setattr(checkpoints, "scoring_split", lambda dataset: None)
    monkeypatch.setattr(checkpoints, "save_model", lambda f, folder, *_: f.save_pretrained(folder))


def typed(**options):
    for name, value in (SMALL | options).items():
        yield f"--{name.replace('_', '-')}"
        yield value


# What is learned


@pytest.mark.slow
def test_a_student_learns_its_teachers_masks(tmp_path, unscored):
    """On drawn scenes, half of them redrawn; the teacher's channels are the other way round."""
    teacher = taught("digit", tmp_path / "teacher", steps=60, swapped=True)
    options = {"f_width": 8, "batch": 16, "ema_half_life": 200.0, "log_every": 100, "eval_every": 100}
    run = distilled(small(teacher, tmp_path / "run", steps=70, **options))
    model, chosen = load_model(teacher.path), np.arange(100)
    split = open_dataset(["digit"], size=32).split("test")
    expected, _ = predict(model.f, split, chosen)
    found, _ = predict(load_model(run.path).f, split, chosen)
    assert expected.mean() > 0.05
    assert (found & expected).sum() / (found | expected).sum() > 0.75
    labels = split.labels(chosen)
    assert (found & labels).sum() / (found | labels).sum() > 0.6


def test_three_regions(tmp_path, unscored):
    teacher = taught("digits", tmp_path / "teacher", steps=3, n=3)
    run = distilled(small(teacher, tmp_path / "run", steps=2, confident=0.0, object_share=(0.0, 1.0)))
    model = load_model(run.path)
    assert model.f.n == 3
    assert model.f.order.tolist() == [0, 1, 2]
    assert len(log(run)[-1]["region_sizes"]) == 3


@pytest.mark.parametrize("n", [2, 3])
def test_the_loss_is_the_cross_entropy_of_the_pixels_that_count(n):
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 1 if n == 2 else n, 4, 4, generator=random)
    targets = torch.rand(2, n, 4, 4, generator=random).softmax(1)
    pixels = (torch.rand(2, 1, 4, 4, generator=random) < 0.5).float()
    masks = torch.cat((logits.sigmoid(), 1 - logits.sigmoid()), 1) if n == 2 else logits.softmax(1)
    expected = -(targets * masks.log()).sum(1)[pixels[:, 0] > 0].mean()
    assert masked_cross_entropy(logits, targets, pixels).item() == pytest.approx(expected.item(), abs=1e-6)
    assert masked_cross_entropy(logits, targets, 0 * pixels) == 0


def test_which_images_and_pixels_count():
    objects = torch.zeros(4, 1, 10, 10)
    objects[1, :, :5] = 0.9
    objects[1, :, :1] = 0.7
    objects[2, :, :1, :1] = 1.0
    objects[3] = 0.95
    images, pixels = select(torch.cat((1 - objects, objects), 1), confident=0.8, object_share=(0.02, 0.9))
    assert images.tolist() == [False, True, False, False]
    assert pixels.sum((1, 2, 3)).tolist() == [0, 90, 0, 0]
    assert not pixels[1, 0, 0].any()


def test_what_the_student_sees_is_moved_with_its_target(teacher, tmp_path):
    """What comes in at the border doesn't count."""
    config = small(teacher, tmp_path / "run", shift=0.3, jitter=0.0)
    run = opened(config)
    random = torch.Generator().manual_seed(0)
    images = torch.rand(8, 3, 32, 32, generator=random)
    masks = torch.cat((images[:, :1], 1 - images[:, :1]), 1)
    seen, targets, pixels = run.pairs.augment(images, masks, torch.ones(8, 1, 32, 32), random)
    inside = pixels > 0.5
    assert 0.6 < inside.float().mean() < 0.95
    assert not torch.equal(seen, images)
    torch.testing.assert_close(seen[:, :1][inside], targets[:, :1][inside])
    torch.testing.assert_close(targets.sum(1, keepdim=True), pixels, atol=1e-4, rtol=0)


def opened(config):
    """A student that has not taken a step yet."""
    teacher = teacher_of(RunFolder(config.run))
    config = config.resolved(teacher.config, generators=True)
    described = config.described_as(teacher.config)
    dataset = open_dataset(described.data, size=32, cache=config.cache)
    console = Console(file=io.StringIO())
    learner = DistillationLearner(config, described, teacher, dataset, console, SingleProcess())
    last = RunFolder(config.out).last
    learner.begin(load_tensors(last)[1] if last.is_file() else None)
    return learner


def test_what_the_student_sees_changes_its_colours(teacher, tmp_path):
    run = opened(small(teacher, tmp_path / "run", shift=0.0, jitter=0.5))
    images, masks = torch.rand(8, 3, 32, 32), torch.rand(8, 2, 32, 32)
    seen, targets, pixels = run.pairs.augment(images, masks, masks[:, :1], torch.Generator().manual_seed(0))
    assert targets is masks
    assert torch.equal(pixels, masks[:, :1])
    assert ((seen - images).abs().amax((1, 2, 3)) > 0.01).all()


# The teacher


def test_the_teachers_masks_have_the_background_first(tmp_path):
    folder = photos(tmp_path / "photos", train=20, val=2)
    run = taught(folder, tmp_path / "run", steps=2, swapped=True)
    images = torch.rand(3, 3, 32, 32) * 2 - 1
    f = load_model(run.path).f
    with torch.no_grad():
        plain, mirror = f.ordered_masks(images), f.ordered_masks(images.flip(3)).flip(3)
    assert torch.equal(teacher_of(run).masks(images), plain)
    torch.testing.assert_close(teacher_of(run, mirrored=True).masks(images), (plain + mirror) / 2)


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_redrawn_image_is_another_one_where_a_mask_is(teacher, mirrored):
    taught = teacher_of(teacher, mirrored=mirrored)
    images = torch.rand(6, 3, 32, 32) * 2 - 1

    def draws(seed):
        return taught.sample_draws(6, torch.Generator().manual_seed(seed))

    redrawn, masks = taught.redraw(images, draws(0))
    torch.testing.assert_close(masks, taught.masks(images))
    changed = (redrawn - images).abs().amax(1, keepdim=True)
    assert (changed.amax((1, 2, 3)) > 0).all()
    # one region each: a pixel moves no further than its mask lets it
    assert ((changed <= 2 * masks + 1e-5).all(3).all(2).any(1)).all()
    again, _ = taught.redraw(images, draws(0))
    other, _ = taught.redraw(images, draws(1))
    assert torch.equal(redrawn, again)
    assert not torch.equal(redrawn, other)


def test_a_threshold_moves_where_the_object_ends(teacher):
    """Beside the same teacher without one: the object's half is its former threshold; so when redrawing."""
    plain, moved = teacher_of(teacher, mirrored=True), teacher_of(teacher, mirrored=True)
    images = torch.rand(6, 3, 32, 32) * 2 - 1
    object_ = plain.masks(images)[:, 1]
    moved.threshold = 0.3
    torch.testing.assert_close(moved.masks(images)[:, 1] > 0.5, object_ > 0.3)
    torch.testing.assert_close(moved.masks(images).sum(1), torch.ones_like(object_))
    _, masks = moved.redraw(images, moved.sample_draws(6, torch.Generator().manual_seed(0)))
    torch.testing.assert_close(masks, moved.masks(images))


def test_a_student_that_goes_on_keeps_its_threshold(teacher, done, tmp_path, monkeypatch):
    """Whatever would be found now, on another device, say."""
    config = small(teacher, tmp_path / "run")
    interrupted(config, monkeypatch, 3)
    monkeypatch.setattr("redoseg.distillation.teacher.find_threshold", lambda masks, images: 0.9)
    run = opened(config)
    assert run.teacher.threshold == read_json(done.description)["teacher"]["threshold"]


def test_without_calibration_the_object_ends_at_a_half(teacher, tmp_path, monkeypatch):
    monkeypatch.setattr("redoseg.distillation.teacher.find_threshold", lambda masks, images: 0.9)
    assert opened(small(teacher, tmp_path / "on")).teacher.threshold == 0.9
    assert opened(small(teacher, tmp_path / "off", calibrate=False)).teacher.threshold == 0.5


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_so_many_images_of_a_batch_are_redrawn(teacher, tmp_path, share):
    run = opened(small(teacher, tmp_path / "run", synthetic=share))
    images = torch.rand(8, 3, 32, 32) * 2 - 1
    seen, masks = run.pairs.with_masks(images, torch.Generator().manual_seed(0))
    assert (seen != images).flatten(1).any(1).sum() == round(8 * share)
    torch.testing.assert_close(masks, run.teacher.masks(images))


# What it leaves


def test_what_the_folder_holds(done):
    found = {file.relative_to(done.path).as_posix() for file in done.path.rglob("*") if file.is_file()}
    assert found - {"checkpoints/best.safetensors"} == {
        *("run.json", "metrics.jsonl", "evaluation.json", "verdict.json", ".lock"),
        *(
            f"checkpoints/{name}.safetensors"
            for name in ("last", "label-free", "step-0000002", "step-0000004")
        ),
        *("samples/step-0000002.png", "samples/step-0000004.png"),
        *(
            "model/config.json",
            "model/model.safetensors",
            "model/mask.onnx",
            "model/refining.json",
            "model/README.md",
        ),
    }


def test_run_json_says_what_was_distilled_from_what(done, teacher):
    said = read_json(done.description)
    assert said["teacher"] == {
        "run": str(teacher.path),
        **{"rule": "last", "step": 25, "ema": True},
        "weights": weights_digest(teacher.last, "f_ema."),
        "threshold": said["teacher"]["threshold"],
    }
    assert said["teacher"]["threshold"] in THRESHOLDS
    begun = done.original_config()
    assert begun.as_json() == said["distill"]
    assert begun == small(teacher, done.path).resolved(teacher.config(), generators=True)
    assert begun.synthetic == 0.5
    config = done.config()
    assert (config.f_width, config.f_blocks, config.size) == (4, 1, 32)
    assert said["data"]["fingerprint"] == teacher.fingerprint()
    assert done.distilled
    assert not teacher.distilled


def test_how_wide_and_deep_the_student_is_unless_told(teacher):
    asked = DistillConfig(run=teacher.path, out=Path("out"), targets="network")
    config = asked.resolved(teacher.config(), generators=True)
    assert (config.f_width, config.f_blocks) == (8, 6)
    refined = dataclasses.replace(asked, targets="refined").resolved(teacher.config(), generators=True)
    assert (refined.f_width, refined.f_blocks, refined.size) == (4, 6, 64)


def test_the_log(done):
    lines = log(done)
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    assert [line["images"] for line in lines] == [8, 16, 24, 32]
    for line in lines:
        assert np.isfinite(line["losses"]["cross_entropy"])
        assert 0 < line["counted"] <= 1
        assert 0 <= line["left_out"] < 1
        assert sum(line["region_sizes"]) == pytest.approx(1)
    assert [line["val"] is None for line in lines] == [True, False, True, False]


def test_a_student_computes_in_no_precision_that_the_processor_imitates(teacher, tmp_path, monkeypatch):
    run = RunFolder(tmp_path / "run")
    shutil.copytree(teacher.path, run.path)
    fields = read_json(run.description)
    fields["config"]["precision"] = "bfloat16"
    write_json(run.description, fields)

    monkeypatch.setattr("redoseg.distillation.distill.lacks_bfloat16", lambda device: True)
    config = small(run, tmp_path / "student", steps=1)
    assert distilled(config).config().precision == "float32"
    monkeypatch.setattr("redoseg.distillation.distill.lacks_bfloat16", lambda device: False)
    distilled(dataclasses.replace(config, steps=2))  # elsewhere it goes on as it began
    assert distilled(small(run, tmp_path / "other", steps=1)).config().precision == "bfloat16"


def test_it_is_a_model_like_any_other(done, teacher, tmp_path):
    written = read_json(done.evaluation)
    assert written["checkpoint"] == {"rule": "last", "step": 4, "ema": True}
    config = done.config()
    found = evaluate(done.path, config.data, cache=config.cache).as_dict()
    assert written == found | {"as_written": None, "whole": None}
    picture = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    options: list[tuple[Path, BackendName]] = [
        (done.path, "torch"), (done.model, "torch"), (done.path, "onnx")
    ]  # fmt: skip
    ours, model, onnx = (Segmenter.from_pretrained(path, backend=b)(picture) for path, b in options)
    np.testing.assert_array_equal(ours, model)
    np.testing.assert_allclose(ours, onnx, atol=1e-4)
    assert main(["export", str(done.path), "--onnx", str(tmp_path / "mask.onnx")]) == 0


def test_without_an_average_the_raw_weights_are_the_model(teacher, tmp_path):
    run = distilled(small(teacher, tmp_path / "run", steps=1, ema_half_life=0.0))
    assert not any(name.startswith("f_ema.") for name in load_tensors(run.last)[0])
    assert read_json(run.evaluation)["checkpoint"]["ema"] is False


def test_a_student_can_teach(done, tmp_path, command):
    """It has no generators: that is said, and nothing is redrawn."""
    line = [*typed(steps=1), "--confident", 0, "--object-share", 0, 1]
    code, output, said = command("distill", done.path, "--out", tmp_path / "run", *line)
    assert code == 0, said
    assert f"{done.path} has no generators there: no image is redrawn (--synthetic 0)" in said
    assert "input and mask:" in output
    run = RunFolder(tmp_path / "run")
    assert read_json(run.description)["distill"]["synthetic"] == 0
    assert read_json(run.description)["teacher"]["run"] == str(done.path)


# Interrupted


def test_interrupted_it_ends_as_if_it_was_not(teacher, done, tmp_path, monkeypatch):
    """Also by `redoseg resume`, and once more when it is done."""
    for step, again in ((1, False), (3, True)):
        config = small(teacher, tmp_path / str(step))
        run = interrupted(config, monkeypatch, step)
        assert load_tensors(run.last)[1]["step"] == step
        assert not run.model.exists()
        if again:
            assert main(["resume", str(run.path)]) == 0
        else:
            distilled(config)
        assert differences_but_out(run, done) == []
    assert [line["step"] for line in log(run)] == [1, 2, 3, 4]
    distilled(config)
    assert differences_but_out(run, done) == []


def differences_but_out(run, other):
    """As `differences`, which knows that a run's own folder may have another name, but of `train` alone."""
    said = read_json(run.description)
    said["distill"]["out"] = read_json(other.description)["distill"]["out"]
    write_json(run.description, said)
    return differences(run, other)


@pytest.mark.slow
def test_killed_at_any_write(teacher, tmp_path, monkeypatch):
    options = {"steps": 2, "eval_every": 1, "batch": 4}
    with monkeypatch.context() as patch:
        writes = dying(patch, None)
        unbroken = distilled(small(teacher, tmp_path / "unbroken", **options))
    assert len(writes) > 8
    for when in range(1, len(writes) + 1):
        config = small(teacher, tmp_path / str(when), **options)
        with monkeypatch.context() as patch:
            dying(patch, when)
            with pytest.raises(Killed):
                distilled(config)
        run = distilled(config)
        assert differences_but_out(run, unbroken) == [], f"killed at write {when}"


def test_more_steps_are_allowed(teacher, done, tmp_path):
    run = RunFolder(shutil.copytree(done.path, tmp_path / "run"))
    assert main(["resume", str(run.path), "--steps", "5"]) == 0
    whole = distilled(small(teacher, tmp_path / "whole", steps=5))
    assert equal(load_tensors(run.last)[0], load_tensors(whole.last)[0])


# What it has from the loop that every training has


def test_minutes_stop_a_student(teacher, tmp_path):
    run = distilled(small(teacher, tmp_path / "run", steps=1_000, minutes=1e-9))
    assert load_tensors(run.last)[1]["step"] == 1
    assert (run.model / "model.safetensors").is_file()
    assert distilled(dataclasses.replace(run.original_config(), steps=2, minutes=None)).kept_steps() == [2]


def test_a_checkpoint_of_a_student_is_chosen_without_labels(done):
    kept = [line for line in log(done) if line["label_free"] is not None]
    assert [line["step"] for line in kept] == [2, 4]
    model = load_model(done.path, checkpoint="label-free")
    assert model.score == max(line["label_free"] for line in kept)
    assert model.step in [line["step"] for line in kept if line["label_free"] == model.score]


def test_a_student_that_collapses_is_warned_of(teacher, tmp_path):
    said_to = io.StringIO()
    learned = RunFolder(shutil.copytree(teacher.path, tmp_path / "teacher"))
    said = read_json(learned.description)
    said["config"]["collapse_below"] = 0.49
    write_json(learned.description, said)
    distill(small(learned, tmp_path / "run"), console=Console(file=said_to))
    assert said_to.getvalue().count("warning: step 1: a region covers") == 1
    assert "the model has collapsed" in said_to.getvalue()


@pytest.mark.slow
def test_a_compiled_student_learns_the_same(teacher, tmp_path, monkeypatch):
    real, asked = torch.compile, []

    def traced(function, **options):
        asked.append(options)
        return real(function, **options, backend="aot_eager")

    eager = distilled(small(teacher, tmp_path / "eager", steps=1))
    monkeypatch.setattr(torch, "compile", traced)
    compiled = distilled(small(teacher, tmp_path / "compiled", steps=1, compile="on"))
    assert asked == [{"fullgraph": True, "dynamic": False}]
    gradients_agree(compiled, eager)


@pytest.mark.parametrize("synthetic", [0.0, 0.6])
def test_two_processes_learn_what_one_does(teacher, tmp_path, synthetic):
    """But for rounding: they see the parts of the same batches, and pixels that count weigh the same."""
    options = {"synthetic": synthetic, "confident": 0.7, "steps": 1}
    one = distilled(small(teacher, tmp_path / "one", **options))
    two = together(small(teacher, tmp_path / "two", **options), start=distill)
    gradients_agree(two, one)
    for name in ("counted", "left_out"):
        assert log(two)[0][name] == pytest.approx(log(one)[0][name], abs=1e-3)
    assert 0 < log(one)[0]["counted"] < 1


def test_a_batch_must_be_divisible(teacher, tmp_path):
    config = small(teacher, tmp_path / "run", batch=7)
    outcomes = forked(config, start=distill)
    assert any("--batch 7 can't be divided among 2 processes: use 6 or 8" in text for text in outcomes)
    assert not config.out.exists()


# Labels don't take part


def test_no_label_is_read(teacher, done, tmp_path, monkeypatch):
    """Where nothing is scored, none at all; and what is learned is bit for bit the same."""
    monkeypatch.setattr(PhotoSplit, "labels", lambda self, indices: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        distilled(small(teacher, tmp_path / "scored"))
    monkeypatch.setattr(checkpoints, "scoring_split", lambda dataset: None)
    run = distilled(small(teacher, tmp_path / "run"))
    assert equal(load_tensors(run.last)[0], load_tensors(done.last)[0])
    assert not run.evaluation.exists()
    assert not run.best.exists()


# What is refused


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("distill nowhere --out out", "nowhere holds no run to learn from: `redoseg train DATA --out"),
        ("distill empty --out out", "empty holds no run to learn from: `redoseg train DATA --out"),
        (
            "distill TEACHER --out out SMALL --object-share .98 .99",
            "has nothing to teach: in none of 40 images does its object cover 0.98 to 0.99",
        ),
        ("distill TEACHER --out TEACHER", "--out is"),
        ("distill TEACHER --out copy", "is a run of `redoseg train`: choose another --out"),
        ("train PHOTOS --out DONE", "is a run of `redoseg distill`: choose another --out"),
        (
            "distill TEACHER --out DONE SMALL --jitter 0.4",
            "was trained with --jitter 0.3, not 0.4: go back to that",
        ),
        ("distill TEACHER --out DONE SMALL --steps 3", "is at step 4 already: --steps can only grow"),
    ],
)
def test_a_mistake_is_one_line(command, teacher, done, tmp_path, monkeypatch, line, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    shutil.copytree(teacher.path, tmp_path / "copy")
    words: dict[str, list[Any]] = {
        "TEACHER": [teacher.path], "DONE": [done.path], "PHOTOS": [teacher.config().data[0]],
        "SMALL": [*typed()],
    }  # fmt: skip
    refused_command(command, said, *(part for word in line.split() for part in words.get(word, [word])))
    assert not (tmp_path / "out").exists()


def test_no_generators(command, teacher, tmp_path):
    line = ["distill", teacher.path, "--out", tmp_path / "out", "--checkpoint", "25", *typed()]
    refused_command(
        command, "has no generators at --checkpoint 25: use --synthetic 0", *line, "--synthetic", ".5"
    )
    assert command(*line, "--synthetic", "0")[0] == 0


def test_data_that_is_gone_or_another(command, teacher, tmp_path):
    run = RunFolder(shutil.copytree(teacher.path, tmp_path / "run"))
    said = read_json(run.description)
    here = said["config"]["data"][0]
    said["config"]["data"] = [str(tmp_path / "gone")]
    write_json(run.description, said)
    line = ["distill", run.path, "--out", tmp_path / "out", *typed(steps=1)]
    refused_command(command, f"({run.path} was trained on it: --data says where it is now)", *line)
    other = photos(tmp_path / "photos", train=9)
    refused_command(
        command, f"{other} isn't what {run.path} was trained on, or has changed", *line, "--data", other
    )
    assert command(*line, "--data", here)[0] == 0


def test_a_teacher_that_has_changed(command, teacher, done, tmp_path):
    other = RunFolder(shutil.copytree(teacher.path, tmp_path / "teacher"))
    tensors, info = load_tensors(other.last)
    tensors["f_ema.head.bias"] += 1e-3
    save_tensors(other.last, tensors, info)
    run = shutil.copytree(done.path, tmp_path / "run")
    refused_command(command, f"isn't what taught {run}", "distill", other.path, "--out", run, *typed())


def test_a_loss_that_is_not_finite(teacher, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "redoseg.training.mask_learner.masked_cross_entropy", lambda *_: torch.tensor(torch.nan) * _[0].sum()
    )
    with pytest.raises(DivergenceError, match=r"^a loss was not finite before step 1; .* smaller --lr,"):
        distilled(small(teacher, tmp_path / "run"))


def test_options_survive_json():
    config = DistillConfig(run=Path("a"), out=Path("b"), data=("c", "d"), cache=Path("e"), synthetic=0.25)
    assert DistillConfig.from_json(json.loads(json.dumps(config.as_json()))) == config


# Refined targets


REFINED: dict[str, Any] = {"targets": "refined", "size": 64, "doubtful": 0.25}


@pytest.fixture(scope="module")
def refined(teacher, tmp_path_factory):
    """A student of four steps at twice its teacher's size."""
    return distilled(small(teacher, tmp_path_factory.mktemp("runs") / "refined", **REFINED))


def test_a_student_of_refined_masks_is_a_run_at_its_own_size(refined, teacher):
    said = read_json(refined.description)
    assert said["distill"]["targets"] == "refined"
    assert (said["distill"]["size"], said["config"]["size"], said["distill"]["synthetic"]) == (64, 64, 0)
    assert load_model(refined.path).f.size == 64
    assert read_json(refined.evaluation)["images"] == 6
    starts = load_tensors(refined.last)[1]["starts"]
    assert starts == sorted(starts)
    assert 0 < starts[0] < starts[-1] < 1
    assert all(0 < line["counted"] <= 1 for line in log(refined))


def test_targets_are_what_refining_each_image_gives(refined, teacher):
    config = refined.config()
    split = open_dataset(config.data, size=64, n=2, cache=config.cache).split("train")
    images = split.images(np.arange(len(split)))
    ours = teacher_of(teacher, mirrored=True)
    small_images = F.interpolate(to_tensor(images), size=32, mode="bilinear", antialias=True)
    masks = F.interpolate(ours.masks(small_images), size=64, mode="bilinear").numpy()
    refine = Refining(tuple(load_tensors(refined.last)[1]["starts"]))
    (file,) = refined.targets.glob("*.npz")
    with np.load(file) as written:
        assert written["objects"].shape == (40, 64, 64, 1)
        for index in range(len(images)):
            expected = refine(images[index], masks[index])
            if written["doubt"][index] < 1:
                assert written["doubt"][index] == pytest.approx(expected.doubt, abs=1e-6)
                difference = written["objects"][index, ..., 0] - 255 * expected.masks[1]
                assert np.abs(difference).max() <= 0.5001


def test_the_surest_images_are_learned_with_their_own_targets(refined, teacher):
    config = dataclasses.replace(small(teacher, refined.path, **REFINED), flip=True)
    learner = learner_of(config, teacher)
    learner.begin(load_tensors(refined.last)[1])
    targets, images = learner.targets, learner.images.images(np.arange(40))
    least_sure = set(targets.doubt.argsort(kind="stable")[30:].tolist())
    seen, mirrored = set(), 0
    for t in range(8):
        batch = learner.batches.at(t, torch.Generator().manual_seed(t))
        for one in batch:
            pixels = ((one + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
            pairs = [np.concatenate((images[k], targets.objects[k]), 2) for k in range(40)]
            same = [k for k in range(40) if np.array_equal(pixels, pairs[k])]
            other = [k for k in range(40) if np.array_equal(pixels, pairs[k][:, ::-1])]
            mirrored += bool(other) and not same
            seen |= {*same, *other}
            assert same or other
    assert mirrored
    assert len(seen) > 20
    assert not seen & least_sure


@pytest.mark.parametrize(("common", "said"), [(0.4, "\nwarning: of 30 of these"), (0.6, None)])
def test_masks_that_could_not_be_refined_are_counted(teacher, tmp_path, monkeypatch, common, said):
    """What has less than half in common with the network's mask isn't learned: that one is."""
    monkeypatch.setattr(Refining, "agree", lambda *_: common)
    monkeypatch.setattr(refining, "doubt", lambda *_: 0.5)
    learner = learner_of(small(teacher, tmp_path / "run", **REFINED), teacher)
    learner.begin(None)
    heard = learner.console.file.getvalue()
    assert "the 30 surest of 40 images" in heard
    assert (said is None and "too little in common" not in heard) or said in heard
    assert bool((learner.targets.doubt == 1).all()) == (said is not None)


def learner_of(config, teacher):
    """The learner that `distill` would make of these options."""
    config = config.resolved(teacher.config(), generators=True)
    described = config.described_as(teacher.config())
    dataset = open_dataset(described.data, size=config.size, n=2, cache=described.cache)
    console, ours = Console(file=io.StringIO()), teacher_of(teacher, mirrored=config.mirrored)
    return DistillationLearner(config, described, ours, dataset, console, SingleProcess())


def test_pixels_count_as_far_as_the_starts_agree():
    batch = torch.zeros(3, 4, 2, 2)
    batch[0, 3] = torch.tensor([[1.0, 0.5], [0.0, -1.0]])  # soft masks 1, .75, .5, 0
    batch[1, 3] = -1  # no object
    images, masks, weights, which = unpack(batch, (0.02, 0.9))
    assert images.shape == (3, 3, 2, 2)
    torch.testing.assert_close(masks[0, 1], torch.tensor([[1, 0.75], [0.5, 0]]))
    torch.testing.assert_close(masks.sum(1), torch.ones(3, 2, 2))
    torch.testing.assert_close(weights[0, 0], torch.tensor([[1, 0.5], [0, 1]]))
    assert which.tolist() == [True, False, True]
    assert weights[1].abs().sum() == 0


@pytest.mark.parametrize("step", [1, 3])
def test_interrupted_a_student_of_refined_masks_ends_as_if_it_was_not(
    teacher, refined, tmp_path, monkeypatch, step
):
    run = interrupted(small(teacher, tmp_path / "run", **REFINED), monkeypatch, step)
    assert main(["resume", str(run.path)]) == 0
    assert differences_but_out(run, refined) == []


def test_broken_off_while_masks_are_refined_it_goes_on(teacher, refined, tmp_path, monkeypatch):
    """What was refined is taken as it is; targets of another teacher, size or starts are not."""
    config, made = small(teacher, tmp_path / "run", **REFINED), []
    real = RefinedTargets._refine

    def refine(self, part, pool):
        made.append(len(part))
        if len(made) == 2:
            raise KeyboardInterrupt
        return real(self, part, pool)

    monkeypatch.setattr("redoseg.distillation.targets._CHUNK", 16)
    monkeypatch.setattr(RefinedTargets, "_refine", refine)
    with pytest.raises(KeyboardInterrupt):
        distilled(config)
    run = distilled(config)
    assert made == [16, 16, 16, 8]
    assert equal(load_tensors(run.last)[0], load_tensors(refined.last)[0])
    write_json(run.targets / "identity.json", {"teacher": "another"})
    shutil.rmtree(run.checkpoints)
    distilled(config)
    assert made[4:] == [16, 16, 8]


def test_two_processes_learn_from_refined_masks_what_one_does(teacher, tmp_path):
    one = distilled(small(teacher, tmp_path / "one", **REFINED | {"steps": 1}))
    two = together(small(teacher, tmp_path / "two", **REFINED | {"steps": 1}), start=distill)
    gradients_agree(one, two)


def test_a_model_teaches_other_photos(done, tmp_path, command):
    """As a shipped one does: by its folder, with its card, and with photos that it has never seen."""
    data = photos(tmp_path / "others", train=20, val=4)
    assert command("export", done.path, "--hub-folder", tmp_path / "model")[0] == 0
    line = ["distill", tmp_path / "model", "--out", tmp_path / "run", *typed(**REFINED)]
    refused_command(command, "comes without photos: say with --data what to learn from", *line)
    assert command(*line, "--data", data)[0] == 0
    assert command("resume", tmp_path / "run", "--steps", 5)[0] == 0
    run = RunFolder(tmp_path / "run")
    assert run.config().data == (str(data),)
    assert read_json(run.description)["teacher"]["weights"] == weights_digest(
        tmp_path / "model" / "model.safetensors"
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--size", "48"], "--size is 48: use 32, 64, 128 or 256"),
        (["--targets", "refined", "--synthetic", ".5"], "redrawn images have no refined masks"),
        (["--size", "64", "--synthetic", ".5"], "they are drawn at 32 px: use --synthetic 0"),
        (["--targets", "refined", "--doubtful", "1"], "--doubtful is 1.0: it must be at least 0 and below 1"),
    ],
)
def test_what_refined_targets_cant_be(command, teacher, tmp_path, options, said):
    refused_command(command, said, "distill", teacher.path, "--out", tmp_path / "out", *typed(), *options)
    assert not (tmp_path / "out").exists()


def test_a_student_cant_be_smaller_than_its_teacher(command, refined, tmp_path):
    line = ["distill", refined.path, "--out", tmp_path / "out", "--size", "32", *typed()]
    refused_command(command, "--size is 32, but", *line)
