"""Models on disk: runs and their checkpoints, folders, names."""

import dataclasses
import itertools
import json
import shutil

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file

from redoseg.errors import ModelError
from redoseg.evaluation.metrics import per_dataset
from redoseg.label_free.statistics import measure_masks
from redoseg.models.load import load_model
from redoseg.models.run_folder import RunFolder
from redoseg.models.weights import load_tensors, save_tensors
from redoseg.networks.build import build_generators
from redoseg.networks.layers import normalise_spectrum
from redoseg.networks.mask import MaskNetwork
from redoseg.segmentation.segmenter import Segmenter
from redoseg.training import selection, trainer
from refusals import refusal
from run_compared import equal, opened
from tinyruns import tiny, trained

pytestmark = pytest.mark.training

S = 32


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    """Four steps, a checkpoint each; neither the best one nor the one chosen without masks is the last."""
    with pytest.MonkeyPatch.context() as patch:
        scores, real = iter([0.1, 0.4, 0.3, 0.2]), per_dataset
        patch.setattr(
            "redoseg.training.selection.per_dataset",
            lambda counts: dataclasses.replace(real(counts), iou=next(scores)),
        )
        chosen = iter([0.25, 0.5, 0.75, 0.5])
        patch.setattr(selection, "label_free_score", lambda *signals: next(chosen))
        return trained(tiny(data, tmp_path_factory.mktemp("runs") / "run", eval_every=1))


@pytest.fixture
def copied(run, tmp_path):
    return RunFolder(shutil.copytree(run.path, tmp_path / "copied"))


def images(count=3, seed=0):
    return torch.rand(count, 3, S, S, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def weights_of(path, letter):
    tensors, _ = load_tensors(path, (f"{letter}.",))
    return {name.removeprefix(f"{letter}."): tensor for name, tensor in tensors.items()}


# A run


@pytest.mark.parametrize("weights", [None, "ema", "raw"])
@pytest.mark.parametrize(
    ("chosen", "step"), [("last", 4), ("best", 2), ("label-free", 3), ("1", 1), ("3", 3), ("0003", 3)]
)
def test_a_checkpoint_of_a_run(run, chosen, step, weights):
    model = load_model(run.path, checkpoint=chosen, weights=weights)
    rules = {"last": run.last, "best": run.best, "label-free": run.label_free}
    file = rules.get(chosen, run.step(step))
    assert equal(model.f.state_dict(), weights_of(file, "f" if weights == "raw" else "f_ema"))
    rule = chosen if chosen in rules else "step"
    score = {"score": 0.75} if chosen == "label-free" else {}
    assert model.checkpoint == {"rule": rule, "step": step, "ema": weights != "raw"} | score
    assert not model.f.training
    assert (model.f.n, model.f.size, model.config.code_size) == (2, S, 4)
    assert (model.generators is not None) == (rule != "step")


def test_the_average_is_not_the_raw_weights(run):
    average, raw = (load_model(run.path, weights=weights).f.state_dict() for weights in ("ema", "raw"))
    assert not equal(average, raw)


def test_steps_differ(run):
    states = [load_model(run.path, checkpoint=str(step)).f.state_dict() for step in (1, 2, 3, 4)]
    assert not any(equal(one, other) for one, other in itertools.pairwise(states))
    assert equal(states[3], load_model(run.path).f.state_dict())


@pytest.mark.parametrize("path", [str, lambda path: path, lambda path: f"{path}/"])
def test_a_run_is_a_path_or_a_string(run, path):
    assert equal(load_model(path(run.path)).f.state_dict(), load_model(run.path).f.state_dict())


def test_a_path_may_begin_with_home(run, monkeypatch):
    monkeypatch.setenv("HOME", str(run.path.parent))
    assert load_model(f"~/{run.path.name}").step == 4


def test_generators_draw_as_they_did_in_training(run):
    """Each for its channel, and with the spectral norms that were learned."""
    model = load_model(run.path)
    config = run.config()
    expected = build_generators(config)
    normalise_spectrum(expected)
    tensors, _ = load_tensors(run.last, ("G.",))
    expected.load_state_dict({name.removeprefix("G."): tensor for name, tensor in tensors.items()})
    expected.eval()
    assert not model.generators.training
    mask, z = torch.rand(2, 1, S, S), torch.randn(2, config.code_size)
    with torch.no_grad():
        for ours, theirs in zip(model.generators, expected, strict=True):
            torch.testing.assert_close(ours(mask, z), theirs(mask, z), rtol=0, atol=0)


def test_a_run_is_loaded_with_its_own_options(data, tmp_path):
    run = trained(tiny(data, tmp_path / "run", steps=1, n=3, f_width=8, f_blocks=0, code_size=2))
    model = load_model(run.path)
    assert (model.f.n, model.config.code_size) == (3, 2)
    assert model.f(images()).shape == (3, 3, S, S)


def test_without_an_average_raw_weights_are_what_there_is(data, tmp_path):
    run = trained(tiny(data, tmp_path / "run", steps=1, ema_half_life=0.0))
    for weights in (None, "raw"):
        model = load_model(run.path, weights=weights)
        assert not model.ema
        assert equal(model.f.state_dict(), weights_of(run.last, "f"))
    with pytest.raises(
        ModelError, match=r"keeps no moving average \(--ema-half-life 0\): use --weights raw$"
    ):
        load_model(run.path, weights="ema")


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ("7", r"has no checkpoint '7' \(steps kept: 1, 2, 3, 4\)$"),
        ("first", r"--checkpoint first: use last, label-free, best or a step$"),
        ("-1", r"--checkpoint -1: use last, label-free, best or a step$"),
        ("", r"--checkpoint : use last, label-free, best or a step$"),
        ("1.5", r"use last, label-free, best or a step$"),
        ("../last", r"use last, label-free, best or a step$"),
    ],
)
def test_a_checkpoint_that_isnt_there(run, chosen, said):
    with pytest.raises(ModelError, match=said):
        load_model(run.path, checkpoint=chosen)


@pytest.mark.parametrize("name", ["last", "best", "label-free"])
def test_a_run_without_that_checkpoint(copied, name):
    shutil.rmtree(copied.checkpoints)
    with pytest.raises(ModelError, match=rf"has no checkpoint '{name}' \(steps kept: none yet\)$"):
        load_model(copied.path, checkpoint=name)


@pytest.mark.parametrize(
    "damage",
    [
        lambda run: run.last.write_bytes(run.last.read_bytes()[:5000]),
        lambda run: save_tensors(run.last, {"f.x": torch.zeros(1)}, {"step": 1}),
        lambda run: save_tensors(run.last, load_tensors(run.last, ("D.",))[0], {"step": 1}),
        lambda run: run.description.write_text("{}"),
        lambda run: run.description.write_text(run.description.read_text().replace('"n": 2', '"n": 3')),
        lambda run: run.description.write_text(run.description.read_text().replace('"n": 2', '"n": "two"')),
    ],
    ids=["cut", "other", "D", "empty", "n", "type"],
)
def test_a_damaged_run_is_one_line(copied, damage):
    damage(copied)
    with refusal(ModelError, match=r"(last\.safetensors|run\.json)"):
        load_model(copied.path)


# A folder that from_pretrained takes


def test_a_folder_that_save_pretrained_wrote(tmp_path, capsys):
    f = MaskNetwork(n=3, width=4, blocks=1, size=64)
    f.order.copy_(torch.tensor([2, 0, 1]))
    f.save_pretrained(tmp_path / "model")
    model = load_model(tmp_path / "model")
    assert equal(model.f.state_dict(), f.state_dict())
    assert (model.f.n, model.f.size) == (3, 64)
    assert model.checkpoint == {"rule": "as shipped", "step": None, "ema": None}
    assert model.generators is None
    assert not model.f.training
    assert capsys.readouterr().out == ""  # --json is alone on the standard output


@pytest.mark.parametrize(
    "options",
    [{"checkpoint": "label-free"}, {"weights": "raw"}, {"checkpoint": "3"}],
)
def test_there_is_nothing_to_choose_in_a_folder(run, options):
    with pytest.raises(ModelError, match=r"is not a run: --checkpoint and --weights choose within a run$"):
        load_model(run.model, **options)


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "model.safetensors").unlink(),
        lambda folder: (folder / "model.safetensors").write_bytes(b"noise"),
        lambda folder: save_file({"x": torch.zeros(1)}, folder / "model.safetensors"),
        lambda folder: save_file(
            {n: t[:1] for n, t in load_file(folder / "model.safetensors").items()},
            folder / "model.safetensors",
        ),
        lambda folder: (folder / "config.json").write_text("noise"),
        lambda folder: (folder / "config.json").write_text('{"n": 1}'),
        lambda folder: (folder / "config.json").write_text('{"n": "two"}'),
        lambda folder: (folder / "config.json").write_text("[]"),
    ],
    ids=["gone", "noise", "other", "shapes", "config", "n", "type", "list"],
)
def test_a_damaged_folder_is_one_line(copied, damage):
    damage(copied.model)
    with refusal(ModelError, match=r"holds no model of redoseg, or it is damaged \(.+\)$"):
        load_model(copied.model)


# Names


@pytest.mark.parametrize("name", ["nothing", "./nothing/here", "/nothing/here", "~/nothing", "a/b/c", ""])
def test_an_unknown_name(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with refusal(ModelError) as caught:
        load_model(name)
    if name:
        assert str(caught.value) == (
            f"no model '{name}': give a run's folder, a model's folder, a hub id such as NAME/MODEL, or a "
            "name from `redoseg models`"
        )


def test_a_folder_that_is_no_model(tmp_path, data):
    for path in (tmp_path, data):
        with refusal(
            ModelError, match=r"is neither a run \(run\.json\) nor a model's folder \(config\.json\)$"
        ):
            load_model(path)


def test_a_hub_id_that_cant_be_had(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with refusal(ModelError, match=r"^'someone/something' is no folder here, and the hub gave no"):
        load_model("someone/something")


@pytest.mark.parametrize("name", ["a b/c", "a/.b", "--/x"])
def test_what_cant_be_a_hub_id(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with refusal(ModelError):
        load_model(name)


# The regions' order


def test_every_checkpoint_has_the_order_of_its_own_weights(run, data):
    """By the border of the fixed images, without masks."""
    fixed = opened(run.config()).fixed_images
    for file in (run.last, run.best, *map(run.step, run.kept_steps())):
        f = load_model(run.path, weights="raw").f
        f.load_state_dict(weights_of(file, "f"))
        for letter in ("f", "f_ema"):
            assert weights_of(file, letter)["order"].tolist() == measure_masks(f, fixed).order
    assert (
        load_file(run.model / "model.safetensors")["order"].tolist() == load_model(run.path).f.order.tolist()
    )


@pytest.mark.parametrize("background", [0, 1, 2])
def test_the_border_decides_which_region_is_which(data, tmp_path, monkeypatch, background):
    """The order is stored with the model and used wherever a region has a number."""

    def found(f, images):
        border = tuple(float(channel == background) for channel in range(3))
        return dataclasses.replace(measure_masks(f, images), border=border)

    monkeypatch.setattr(trainer, "measure_masks", found)
    run = trained(tiny(data, tmp_path / "run", n=3, steps=1, eval_every=1))
    order = [background, *(channel for channel in range(3) if channel != background)]

    for file in (run.last, run.best, run.step(1)):
        assert weights_of(file, "f_ema")["order"].tolist() == order
    f = load_model(run.path).f
    with torch.no_grad():
        soft = f(images(1))[:, order]
        assert torch.equal(f.ordered_masks(images(1)), soft)
    line = json.loads(run.metrics.read_text().splitlines()[-1])
    raw = load_model(run.path, weights="raw").f
    sizes = measure_masks(raw, opened(run.config()).fixed_images).sizes
    assert line["region_sizes"] == pytest.approx([sizes[channel] for channel in order])

    picture = np.random.default_rng(0).integers(0, 256, (S, S, 3), np.uint8)
    for path in (run.path, run.model):
        masks = Segmenter.from_pretrained(path, refine="off")(picture)
        with torch.no_grad():
            scaled = torch.from_numpy(picture).permute(2, 0, 1)[None] / 127.5 - 1
            np.testing.assert_allclose(masks, f(scaled)[0, order].numpy(), atol=1e-6)
