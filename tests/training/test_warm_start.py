"""--start: the game goes on from a mask network that is there."""

import json

import pytest
import torch
from safetensors.torch import load_file

from redoseg.config import TrainConfig
from redoseg.data.dataset import open_data
from redoseg.errors import ConfigError, ModelError
from redoseg.models.run_folder import RunFolder
from redoseg.models.source import find_model
from redoseg.training.distributed import SingleProcess
from redoseg.training.redo import ReDOLearner
from redoseg.training.train import resume
from tinyruns import tiny, trained


def f_of(run):
    return {name: value for name, value in load_file(run.last).items() if name.startswith("f.")}


def started(done, data, out, **options):
    return trained(tiny(data, out, start=str(done.path), **options))


def test_frozen_it_stays_as_it_was_and_then_it_moves(done, data, tmp_path):
    start = find_model(done.path).load().f.state_dict()
    frozen = f_of(started(done, data, tmp_path / "frozen", f_frozen=4))
    assert all(torch.equal(value, start[name.removeprefix("f.")]) for name, value in frozen.items())
    moved = f_of(started(done, data, tmp_path / "moved", f_frozen=3, seed=1))
    apart = {name for name, value in moved.items() if not torch.equal(value, frozen[name])}
    assert {"f.head.weight", "f.head.bias"} <= apart


def test_run_json_says_from_what(done, data, tmp_path):
    run = started(done, data, tmp_path / "run")
    described = json.loads(run.description.read_text())
    assert described["start"] == {"model": str(done.path), "weights": find_model(done.path).digest}
    assert described["config"]["start"] == str(done.path)


def test_resumed_it_is_the_unbroken_run_and_needs_the_start_no_more(done, data, tmp_path):
    (tmp_path / "start").symlink_to(done.path)
    unbroken = started(done, data, tmp_path / "unbroken", f_frozen=1)
    options = {"start": str(tmp_path / "start"), "f_frozen": 1}
    trained(tiny(data, tmp_path / "broken", **options, steps=2))
    (tmp_path / "start").unlink()
    resume(tmp_path / "broken", steps=4)
    ours, others = (load_file(run.last) for run in (RunFolder(tmp_path / "broken"), unbroken))
    assert ours.keys() == others.keys()
    assert all(torch.equal(value, others[name]) for name, value in ours.items())


def test_after_a_collapse_it_starts_there_again(done, data, tmp_path):
    config = tiny(data, tmp_path / "run", start=str(done.path)).resolved()
    learner = ReDOLearner(config, open_data(config), SingleProcess())
    learner.begin(None)
    before = [p.clone() for p in learner.f.parameters()]
    learner.step(0)
    learner.restart(1)
    learner.start()
    assert all(torch.equal(p, b) for p, b in zip(learner.f.parameters(), before, strict=True))
    learner.started_from = "another"
    with pytest.raises(ConfigError, match=r" has changed since .* was begun$"):
        learner.start()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"f_width": 8}, "--f-width 4"),
        ({"f_blocks": 2}, "--f-blocks 1"),
        ({"f_pyramid": False}, "--f-pyramid"),
    ],
)
def test_another_network_is_told_which_options_it_needs(done, data, tmp_path, options, said):
    with pytest.raises(
        ConfigError, match=r"^--start .* is another network than this run's: add --n 2"
    ) as told:
        started(done, data, tmp_path / "run", **options)
    assert said in str(told.value)
    assert not (tmp_path / "run" / "run.json").exists()


def test_no_such_model_is_one_clear_error(data, tmp_path):
    with pytest.raises(ModelError):
        trained(tiny(data, tmp_path / "run", start=str(tmp_path / "nothing")))


def test_masks_that_were_read_cannot_be_hidden_by_it(data, tmp_path):
    supervised = trained(tiny(data, tmp_path / "supervised", labelled="2"))
    with pytest.raises(ConfigError, match=r"was trained with masks: --labelled is the way"):
        started(supervised, data, tmp_path / "run")


def test_runs_without_it_say_nothing_of_it(done):
    assert "start" not in json.loads(done.description.read_text())
    assert TrainConfig.from_json({"data": ["a"], "out": "b"}).start is None
