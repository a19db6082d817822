"""The command that makes a run again is read back as the options that the run was begun with."""

import dataclasses
import shlex
from typing import Any

import pytest

from redoseg.cli import distill as distilling
from redoseg.cli import main
from redoseg.cli import train as training
from redoseg.config import DistillConfig, TrainConfig
from redoseg.config.recipes import DEMO
from redoseg.exporting.provenance import distill_line, train_line, without_paths
from redoseg.models.shipped import shipped_cards


@pytest.fixture
def read(monkeypatch):
    """The options that a command line stands for; nothing is trained."""
    seen: list[Any] = []

    def note(config, *tries):
        seen.append(config)
        return 0

    monkeypatch.setattr(training, "_train", note)
    monkeypatch.setattr(distilling, "_distill", note)
    monkeypatch.setattr(distilling, "trained", lambda train, out: train() or 0)
    monkeypatch.setattr(training, "check_data", lambda data: None)  # there is none
    monkeypatch.setattr(distilling, "check_teacher", lambda run: None)

    def read(line):
        program, *arguments = shlex.split(line)
        assert (program, main(arguments)) == ("redoseg", 0)
        return seen.pop()

    return read


@pytest.mark.parametrize(
    "options",
    [
        {"data": "digit"},
        DEMO,
        {"data": ("../data/my photos.tar", "/else/b"), "blur": (0.25, 0.2, 0.75, 0.8), "seed": 3, "size": 32},
        {"data": "lfw128.tar", "recipe": "paper", "settings": "lfw", "attention": False, "flip": True},
        {
            "data": "lfw.tar",
            "recipe": "authors",
            "settings": "flowers",
            "size": 64,
            "lr": 1e-5,
            "g_width": 48,
        },
        {"data": "digits", "settings": "digits", "mnist": "/data/mnist", "precision": "bfloat16"},
    ],
)
def test_a_run(read, options):
    config = TrainConfig.of(**{"out": "/tmp/x", **options, "device": "cuda:1", "cache": "/c"}).resolved()
    line = train_line(config, out="runs/a", steps=1234)
    assert "/data" not in line
    assert "cuda" not in line
    again = read(line).resolved()
    there = {name: value for name, value in without_paths(config, "runs/a").items() if name != "steps"}
    assert {name: without_paths(again, "runs/a")[name] for name in there} == there | {"minutes": None}
    assert (again.steps, str(again.out)) == (1234, "runs/a")
    assert [str(source).rpartition("/")[2] for source in config.data] == list(again.data)


def test_only_what_isnt_usual_is_said():
    config = TrainConfig.of(data="digit", out="x", recipe="paper", size=64).resolved()
    line = train_line(config, out="runs/a", steps=7)
    assert line == "redoseg train digit --out runs/a --recipe paper --size 64 --steps 7"


def test_a_students(read, tmp_path):
    teacher = TrainConfig.of(data="/data/lfw.tar", out="/runs/t", size=32).resolved()
    config = DistillConfig(run=tmp_path / "t", out=tmp_path / "s", checkpoint="best", flip=False, seed=2)
    config = config.resolved(teacher, generators=True)
    again = read(distill_line(config, run="runs/t", out="runs/s", steps=500))
    assert [str(path) for path in (again.run, again.out)] == ["runs/t", "runs/s"]
    assert again.data == ("lfw.tar",)
    own = {"run": config.run, "out": config.out, "data": config.data, "steps": config.steps}
    assert dataclasses.replace(again, **own) == config
    assert again.steps == 500


def test_commands_of_the_models_in_this_checkout_mean_what_they_meant(read):
    """A default that changes after a model was made would change them."""
    for card in shipped_cards():
        first, last = read(card.commands[0]), read(card.commands[-1])
        if isinstance(first, DistillConfig):  # of first labels: it has no game before it
            assert str(first.run).startswith("first:")
        if isinstance(last, DistillConfig):
            continue
        again, free = (
            without_paths(last.resolved(), "x"),
            {"out", "steps", "minutes", "cache", "mnist", "start"},
        )
        assert {name: again[name] for name in card.options.keys() - free} == {
            name: card.options[name] for name in card.options.keys() - free
        }


def test_options_without_paths():
    config = TrainConfig.of(data="/home/me/photos/", out="/home/me/run", cache="/home/c", mnist="/home/m")
    options = without_paths(config, "runs/a")
    assert "home" not in str(options)
    assert (options["data"], options["out"]) == (["photos"], "runs/a")
