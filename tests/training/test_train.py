"""A run's folder: what it holds, what is chosen, what stops it, what a collapse leaves behind."""

import dataclasses
import io
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

import redoseg
from redoseg.data.dataset import open_dataset
from redoseg.data.labels import UNLABELLED
from redoseg.data.photos import PhotoSplit
from redoseg.data.sampler import InfiniteSampler, evenly_spaced
from redoseg.errors import CollapseError, DataError, DivergenceError
from redoseg.evaluation.evaluate import evaluate
from redoseg.evaluation.metrics import per_dataset
from redoseg.figures.tiles import GridContent, sample_grid
from redoseg.files import read_json
from redoseg.label_free.signals import Signals, label_free_score, measure
from redoseg.label_free.verdict import SURE
from redoseg.method.algorithm import ReDO
from redoseg.models.load import load_model
from redoseg.models.run_folder import RunFolder
from redoseg.models.weights import load_tensors
from redoseg.redrawing import samples as sampling
from redoseg.segmentation.refining import Refining
from redoseg.segmentation.segmenter import Segmenter
from redoseg.tensors import to_tensor
from redoseg.training import selection, verdict
from redoseg.training.redo import ReDOLearner
from redoseg.training.train import train
from redoseg.training.trainer import Trainer
from refusals import refusal
from run_compared import collapse_at, equal, log, opened, state_of, without_times
from tinyruns import S, photos, tiny, trained

pytestmark = pytest.mark.training

# What a run leaves


def test_what_the_folder_holds(done):
    found = {file.relative_to(done.path).as_posix() for file in done.path.rglob("*") if file.is_file()}
    checkpoints = ("last", "best", "label-free", "step-0000002", "step-0000004")
    assert found == {
        *("run.json", "metrics.jsonl", "evaluation.json", "verdict.json", ".lock"),
        *(f"checkpoints/{name}.safetensors" for name in checkpoints),
        *("samples/step-0000002.png", "samples/step-0000004.png"),
        *(
            "model/config.json",
            "model/model.safetensors",
            "model/mask.onnx",
            "model/README.md",
            "model/refining.json",
        ),
    }


def test_run_json_describes_the_run(done, data):
    description = read_json(done.description)
    config = tiny(data, done.path).resolved()
    assert description["config"] == config.as_json()
    assert done.config() == config
    assert description["data"]["splits"] == {
        "train": {"images": 10, "labelled": 10},
        "val": {"images": 5, "labelled": 5},
    }
    assert description["data"]["fingerprint"] == opened(config).dataset.fingerprint
    assert description["versions"]["redoseg"] == redoseg.__version__
    assert description["versions"]["torch"] == torch.__version__
    assert description["versions"].keys() >= {"python", "numpy", "pillow"}
    assert description["device"]["type"] == "cpu"


def test_at_the_end_it_is_judged_whether_there_is_an_object(done):
    """By what the last line of the log says of the signals, and by how sure refined masks are."""
    found = read_json(done.verdict)
    assert found["score"] == pytest.approx(log(done)[-1]["label_free"], abs=1e-4)
    config = done.config()
    some = evenly_spaced(10, verdict.JUDGED)
    images = open_dataset(config.data, size=S, cache=config.cache).split("train").images(some)
    masks = load_model(done.path).f.ordered_masks(to_tensor(images)).detach().numpy()
    starts = tuple(read_json(done.model / "refining.json")["starts"])
    doubts = [Refining(starts)(image, mask).doubt for image, mask in zip(images, masks, strict=True)]
    assert found["sure"] == pytest.approx(np.mean(np.array(doubts) <= SURE), abs=1e-4)


def test_the_log_has_a_line_for_each_check(done):
    lines = log(done)
    keys = {"step", "images", "seconds", "losses", "region_sizes", "variation", "restarts", "val"}
    assert all(line.keys() >= keys for line in lines)
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    for line in lines:
        assert line["images"] == 4 * line["step"]
        assert line["losses"].keys() >= {"L_G", "L_D"}
        assert np.isfinite(list(line["losses"].values())).all()
        assert len(line["region_sizes"]) == 2
        assert sum(line["region_sizes"]) == pytest.approx(1)
        assert line["variation"] > 0
        assert line["restarts"] == 0
    seconds = [line["seconds"] for line in lines]
    assert seconds == sorted(seconds)


def test_scores_are_logged_whenever_there_are_new_ones(data, tmp_path):
    run = trained(tiny(data, tmp_path / "run", steps=3, eval_every=1, collapse_every=2))
    assert [line["step"] for line in log(run)] == [1, 2, 3]
    assert all(line["val"]["split"] == "val" for line in log(run))


def test_the_log_says_what_evaluate_says(done, data):
    for line in log(done):
        if line["step"] % 2:
            assert line["val"] is None
            continue
        again = evaluate(done.path, str(data), checkpoint=str(line["step"]), cache=data.parent / "cache")
        for matching in ("per_dataset", "per_image"):
            row = getattr(again, matching)
            assert line["val"][matching] == {"accuracy": row.accuracy, "iou": row.iou}


def test_evaluation_json_is_that_of_the_last_checkpoint(done, data):
    written = read_json(done.evaluation)
    assert written["checkpoint"] == {"rule": "last", "step": 4, "ema": True}
    found = evaluate(done.path, str(data), cache=data.parent / "cache").as_dict()
    assert written == found | {"as_written": None, "whole": None}  # at a run's end f alone is scored


def test_the_models_folder_is_what_was_learned(done):
    f, model = load_model(done.path).f, load_model(done.model).f
    assert equal(f.state_dict(), model.state_dict())
    picture = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    ours, theirs = (Segmenter.from_pretrained(path)(picture) for path in (done.path, done.model))
    np.testing.assert_array_equal(ours, theirs)


def test_without_an_average_the_raw_weights_are_the_model(data, tmp_path):
    run = trained(tiny(data, tmp_path / "run", steps=2, ema_half_life=0.0))
    tensors, _ = load_tensors(run.last)
    assert not any(name.startswith("f_ema.") for name in tensors)
    assert equal(load_model(run.path).f.state_dict(), load_model(run.model).f.state_dict())
    assert read_json(run.evaluation)["checkpoint"]["ema"] is False


@pytest.mark.parametrize("labelled", [True, False])
def test_the_picture_has_a_row_an_image_and_a_column_a_code(done, data, tmp_path, labelled):
    run = done if labelled else trained(tiny(photos(tmp_path / "bare", masks=False), tmp_path / "run"))
    rows = 5 if labelled else 8  # labelled ones of `val`; without masks, some of `train`
    content = GridContent(
        images=np.zeros((rows, S, S, 3), np.uint8),
        masks=np.zeros((rows, 2, S, S), np.float32),
        redrawn={r: np.zeros((rows, sampling.CODES, S, S, 3), np.uint8) for r in (1, 0)},
        truth=np.zeros((rows, S, S), np.uint8) if labelled else None,
    )
    for step in (2, 4):
        with Image.open(run.samples / f"step-{step:07}.png") as picture:
            assert picture.size == sample_grid(content).size
            assert picture.format == "PNG"


def test_pictures_can_hide_faces(done, data, tmp_path):
    blurred = trained(tiny(data, tmp_path / "run", blur=(0.25, 0.25, 0.75, 0.75)))
    assert equal(load_tensors(blurred.last)[0], load_tensors(done.last)[0])
    for file in done.samples.iterdir():
        assert file.read_bytes() != (blurred.samples / file.name).read_bytes()


def test_checkpoints_are_kept_by_their_steps(data, tmp_path):
    run = trained(tiny(data, tmp_path / "run", steps=5, eval_every=2, save_every=100, sample_every=100))
    assert run.kept_steps() == [2, 4]
    for step in (2, 4):
        tensors, info = load_tensors(run.step(step))
        assert info["step"] == step
        assert {name.split(".")[0] for name in tensors} == {"f", "f_ema"}
    assert load_tensors(run.last)[1]["step"] == 5
    assert [file.name for file in run.samples.iterdir()] == ["step-0000005.png"]


@pytest.mark.parametrize("best_by", ["per_dataset", "per_image"])
def test_the_best_checkpoint_is_the_one_with_the_best_iou(data, tmp_path, best_by):
    run = trained(tiny(data, tmp_path / "run", steps=4, eval_every=1, best_by=best_by))
    iou = {line["step"]: line["val"][best_by]["iou"] for line in log(run)}
    assert len(set(iou.values())) > 1
    step = max(iou, key=lambda step: iou[step])  # the first of equals
    tensors, info = load_tensors(run.best)
    assert info["best"] == {"step": step, "iou": iou[step], "by": best_by}
    assert load_tensors(run.last)[1]["best"] == info["best"]
    kept, _ = load_tensors(run.step(step))
    assert equal(kept, {name: tensor for name, tensor in tensors.items() if name.startswith("f")})
    best = load_model(run.path, checkpoint="best")
    assert best.checkpoint == {"rule": "best", "step": step, "ema": True}
    assert best.generators is not None


def test_the_label_free_checkpoint_is_the_one_with_the_best_score(data, tmp_path, monkeypatch):
    scores = iter([0.1, 0.4, 0.3, 0.4, 0.2])  # of equals the later
    monkeypatch.setattr(selection, "label_free_score", lambda *signals: next(scores))
    run = trained(tiny(data, tmp_path / "run", steps=5, eval_every=1))
    assert [line["label_free"] for line in log(run)] == [0.1, 0.4, 0.3, 0.4, 0.2]
    tensors, info = load_tensors(run.label_free)
    assert info["label_free"] == load_tensors(run.last)[1]["label_free"] == {"step": 4, "score": 0.4}
    assert {name.split(".")[0] for name in tensors} == {"f", "f_ema", "G"}
    kept, kept_info = load_tensors(run.step(4))
    assert equal(kept, {name: tensor for name, tensor in tensors.items() if name.startswith("f")})
    assert info["signals"] == kept_info["signals"] == log(run)[3]["signals"]


def test_signals_are_those_of_the_checkpoint_that_is_kept(done, data):
    """Found again from its file, but for delta's; the score is made of them."""
    images = opened(done.config()).fixed_images
    for line in log(done):
        if line["step"] % 2:
            assert line["signals"] is line["label_free"] is None
            continue
        logged = Signals.from_dict(line["signals"])
        again = measure(load_model(done.path, checkpoint=str(line["step"])).f, images)
        assert logged == dataclasses.replace(again, recovered=logged.recovered)
        assert line["label_free"] == label_free_score(logged)
        assert len(logged.recovered) == 2
        assert max(logged.recovered) < 1


@pytest.mark.parametrize(
    "options", [{"redraw": "all"}, {"redraw": "each", "delta_input": "generated", "n": 3, "g_norm": "batch"}]
)
def test_codes_are_read_from_what_delta_is_trained_on(tmp_path, monkeypatch, options):
    seen = []

    def recovered(*_, generated):
        seen.append(generated)

    monkeypatch.setattr("redoseg.training.selection.code_recovery", recovered)
    monkeypatch.setattr(Trainer, "_finish", lambda self: None)
    folder = photos(tmp_path / "photos", masks=False)
    for name, more in (("one", {}), ("more", options)):
        trained(tiny(folder, tmp_path / name, steps=1, eval_every=1, **more))
    assert seen == [False, True]


def test_the_choice_without_masks_is_the_same_with_them(tmp_path):
    found = []
    for masks in (True, False):
        folder = photos(tmp_path / str(masks) / "photos", masks=masks)
        run = trained(tiny(folder, tmp_path / str(masks) / "run", eval_every=1))
        info = load_tensors(run.label_free)[1]
        found.append((info["label_free"], info["signals"], [line["label_free"] for line in log(run)]))
    assert found[0] == found[1]


def test_without_masks_there_is_no_score_and_no_best(tmp_path):
    run = trained(tiny(photos(tmp_path / "bare", masks=False), tmp_path / "run"))
    assert run.label_free.is_file()
    assert not run.best.exists()
    assert not run.evaluation.exists()
    assert run.kept_steps() == [2, 4]
    assert all(line["val"] is None for line in log(run))


def test_masks_of_train_score_where_val_has_none(tmp_path):
    folder = photos(tmp_path / "photos", train=6, val=0)
    run = trained(tiny(folder, tmp_path / "run", steps=2))
    assert log(run)[-1]["val"]["split"] == "train"
    assert read_json(run.evaluation)["images"] == 6


def test_masks_that_label_nothing_are_no_masks(tmp_path):
    folder = photos(tmp_path / "photos", values=(255, 7))
    for file in (folder / "masks").iterdir():
        if file.stem >= "010":  # those of `val`
            Image.fromarray(np.full((S, S), UNLABELLED, np.uint8)).save(file)
    run = trained(tiny(folder, tmp_path / "run", steps=2))
    assert log(run)[-1]["val"]["split"] == "train"


def test_the_model_stays_while_more_steps_are_trained(tmp_path, monkeypatch):
    """Whatever happens to them."""
    folder = photos(tmp_path / "bare", masks=False)
    run = trained(tiny(folder, tmp_path / "run", steps=1))
    before = (run.model / "model.safetensors").read_bytes()
    monkeypatch.setattr(ReDOLearner, "step", lambda self, t: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        trained(tiny(folder, run.path, steps=2))
    assert (run.model / "model.safetensors").read_bytes() == before


# Masks don't take part


@pytest.mark.parametrize("collapses", [False, True])
def test_masks_change_nothing_that_is_learned(tmp_path, collapses):
    """Networks, optimisers, restarts, which region is the background: bit for bit the same without."""
    options = {"collapse_below": 0.5, "collapse_every": 2, "max_restarts": 1} if collapses else {}
    states, restarts = [], []
    for masks in (True, False):
        folder = photos(tmp_path / str(masks) / "photos", masks=masks)
        run = opened(tiny(folder, tmp_path / str(masks) / "run", **options))
        with pytest.raises(CollapseError) if collapses else nullcontext():
            run.run()
        states.append(state_of(run.learner.redo))
        restarts.append(run.restarts)
    assert equal(*states)
    assert restarts[0] == restarts[1]
    assert len(restarts[0]) == 2 * collapses


def test_training_never_looks_at_a_mask(data, tmp_path, monkeypatch):
    """Between scores and pictures, that is: what reads masks is named."""
    readers = []
    real = PhotoSplit.labels

    def labels(self, indices):
        readers.append(True)
        return real(self, indices)

    run = opened(tiny(data, tmp_path / "run", steps=3, eval_every=100, sample_every=100))
    monkeypatch.setattr(PhotoSplit, "labels", labels)
    monkeypatch.setattr(Trainer, "_finish", lambda self: None)
    run.run()
    assert run.step == 3
    assert readers == []


# What stops a run


def test_minutes_stop_it_and_count_over_sittings(data, tmp_path):
    config = tiny(data, tmp_path / "run", steps=1000, minutes=1e-9)
    run = trained(config)
    assert load_tensors(run.last)[1]["step"] == 1
    assert run.evaluation.is_file()
    assert (run.samples / "step-0000001.png").is_file()
    trained(config)
    assert load_tensors(run.last)[1]["step"] == 1
    trained(dataclasses.replace(config, minutes=None, steps=3))
    assert load_tensors(run.last)[1]["step"] == 3


@pytest.mark.parametrize("update", ["generator_hinge", "discriminator_hinge"])
def test_a_loss_that_is_not_finite_stops_it_and_leaves_the_last_checkpoint(
    data, tmp_path, monkeypatch, update
):
    config = tiny(data, tmp_path / "run", steps=2)
    run = trained(config)
    before = {file: file.read_bytes() for file in run.checkpoints.iterdir()}
    going_on = dataclasses.replace(config, steps=4)
    with monkeypatch.context() as patch:
        patch.setattr(f"redoseg.method.losses.{update}", lambda *scores: scores[0].sum() * float("nan"))
        with pytest.raises(DivergenceError, match=r"at step 2.*try a smaller --lr") as caught:
            trained(going_on)
    assert "\n" not in str(caught.value)
    assert {file: file.read_bytes() for file in run.checkpoints.iterdir()} == before
    trained(going_on)
    assert load_tensors(run.last)[1]["step"] == 4


@pytest.mark.parametrize(
    ("precision", "lacks", "warned"), [("bfloat16", True, 1), ("bfloat16", False, 0), ("float32", True, 0)]
)
def test_a_precision_that_the_processor_imitates_is_warned_of_once(
    data, tmp_path, monkeypatch, precision, lacks, warned
):
    monkeypatch.setattr("redoseg.training.train.lacks_bfloat16", lambda device: lacks)
    told = io.StringIO()
    train(tiny(data, tmp_path / "run", steps=1, precision=precision), console=Console(file=told))
    assert told.getvalue().count("no instructions for bfloat16") == warned


def test_too_few_images_are_one_clear_error_and_nothing_is_begun(tmp_path):
    folder = photos(tmp_path / "photos", train=3, val=4)
    with pytest.raises(
        DataError, match=r"^3 images are fewer than a batch of 4: add images or lower --batch$"
    ):
        trained(tiny(folder, tmp_path / "run"))
    assert not (tmp_path / "run").exists()
    trained(tiny(folder, tmp_path / "run", batch=3, steps=1))


def test_labels_beyond_n_are_an_error_at_once(tmp_path):
    folder = photos(tmp_path / "photos", values=(1, 4))
    with pytest.raises(DataError, match=r"labels 4, but 3 regions .* give --n 5"):
        trained(tiny(folder, tmp_path / "run", n=3))
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_three_regions_are_learned_too(tmp_path):
    run = trained(tiny(photos(tmp_path / "photos", values=(0, 2)), tmp_path / "run", n=3, steps=2))
    assert len(log(run)[-1]["region_sizes"]) == 3
    assert read_json(run.evaluation)["disc"] is None


# Collapse


def test_a_collapse_starts_everything_anew(data, tmp_path, monkeypatch):
    """All four networks, the average, optimisers, best checkpoint: nothing of attempt 0 is left."""
    collapse_at(monkeypatch, (0, 3))
    seeds = []

    def redo(config, seed, device, average, *, alone):
        seeds.append(seed)
        return ReDO(config, seed, device, average, alone=alone)

    def step(self, t):
        if self.attempt:
            raise Stopped
        return real(self, t)

    real = ReDOLearner.step
    monkeypatch.setattr("redoseg.training.redo.ReDO", redo)
    monkeypatch.setattr(ReDOLearner, "step", step)
    run = opened(tiny(data, tmp_path / "run", eval_every=1, save_every=1, sample_every=1))
    with pytest.raises(Stopped):
        run.run()

    dead, fresh = (state_of(ReDO(run.config, seed, torch.device("cpu"))) for seed in seeds)
    tensors, info = load_tensors(run.writer.folder.last)
    assert equal(tensors, fresh)  # so no optimizer has moments, and the average is f
    assert equal(state_of(run.learner.redo), fresh)
    order = InfiniteSampler(10, 4, seeds[1])
    assert [run.learner.batches.stream.batch_at(k).tolist() for k in range(5)] == [
        order.batch_at(k).tolist() for k in range(5)
    ]
    assert {name.split(".")[0] for name in fresh} == {"f", "f_ema", "G", "D", "delta"}
    for name in ("f.head.weight", "f_ema.head.weight", *(n for n in fresh if n.endswith("weight.original"))):
        assert not torch.equal(fresh[name], dead[name]) or not dead[name].any(), name
    assert (info["step"], info["attempt"], info["best"], info["last_score"]) == (0, 1, None, None)
    assert info["restarts"] == run.restarts
    assert info["label_free"] is None
    assert not run.writer.folder.best.exists()
    assert not run.writer.folder.label_free.exists()
    assert run.writer.folder.kept_steps() == []
    assert list(run.writer.folder.samples.iterdir()) == []


class Stopped(Exception):
    pass


def test_the_next_attempt_doesnt_depend_on_how_the_last_one_died(data, tmp_path, monkeypatch):
    runs = []
    for died in (1, 3):
        with monkeypatch.context() as patch:
            collapse_at(patch, (0, died))
            runs.append(trained(tiny(data, tmp_path / str(died), eval_every=1)))
    for name in ("last", "best", "label-free", "step-0000004"):
        ones, others = (load_tensors(run.checkpoints / f"{name}.safetensors")[0] for run in runs)
        assert equal(ones, others)
    attempts = [[without_times(line) for line in log(run)[-4:]] for run in runs]
    assert attempts[0] == attempts[1]


def test_the_best_checkpoint_is_of_the_attempt_that_lived(data, tmp_path, monkeypatch):
    """The dead one's scores, however good, don't count; of equals the first is taken."""
    collapse_at(monkeypatch, (0, 3))
    scores = iter([1.0, 0.9, 0.1, 0.3, 0.3, 0.2])
    real = per_dataset
    monkeypatch.setattr(
        "redoseg.training.selection.per_dataset",
        lambda counts: dataclasses.replace(real(counts), iou=next(scores)),
    )
    run = trained(tiny(data, tmp_path / "run", eval_every=1))
    assert load_tensors(run.best)[1]["best"] == {"step": 2, "iou": 0.3, "by": "per_dataset"}


def test_the_label_free_checkpoint_is_of_the_attempt_that_lived(data, tmp_path, monkeypatch):
    collapse_at(monkeypatch, (0, 3))
    scores = iter([1.0, 0.9, 0.1, 0.3, 0.2, 0.2])
    monkeypatch.setattr(selection, "label_free_score", lambda *signals: next(scores))
    run = trained(tiny(data, tmp_path / "run", eval_every=1))
    assert load_tensors(run.label_free)[1]["label_free"] == {"step": 2, "score": 0.3}


def test_restarts_are_logged_and_counted(data, tmp_path, monkeypatch):
    collapse_at(monkeypatch, (0, 3), (1, 1))
    said = io.StringIO()
    run = RunFolder(train(tiny(data, tmp_path / "run", steps=3), console=Console(file=said, width=200)))
    lines = [
        (line.get("event"), line.get("attempt"), line["step"], line.get("restarts")) for line in log(run)
    ]
    assert lines == [
        (None, None, 1, 0),
        (None, None, 2, 0),
        ("collapse", 0, 3, None),
        ("collapse", 1, 1, None),
        (None, None, 1, 2),
        (None, None, 2, 2),
        (None, None, 3, 2),
    ]
    event = log(run)[2]
    assert event["region_sizes"] == [0.001, 0.999]
    assert event["reason"] == "a region covers 0.0010 of the images"
    assert "step 3: a region covers 0.0010 of the images. Starting again (restart 1)" in said.getvalue()
    assert "Starting again (restart 2)" in said.getvalue()


@pytest.mark.parametrize(
    ("option", "restarts", "reason"),
    [
        ({"collapse_below": 0.5}, 2, "a region covers"),
        ({"collapse_variation": 0.5}, 2, "masks hardly differ"),
        ({"collapse_below": 0.5}, 0, "a region covers"),
    ],
    ids=["below", "variation", "no restart"],
)
def test_too_many_restarts_end_in_one_line_that_says_what_to_try(data, tmp_path, option, restarts, reason):
    config, attempts = tiny(data, tmp_path / "run", max_restarts=restarts, **option), restarts + 1
    for _ in range(2):  # when it is begun again, too
        with refusal(
            CollapseError, match=rf"^training collapsed in every attempt, {attempts} in all \(last: {reason}"
        ) as caught:
            trained(config)
        assert "--seed" in str(caught.value)
        assert [line["event"] for line in log(RunFolder(config.out))] == ["collapse"] * attempts
    assert not RunFolder(config.out).model.exists()
