"""What teaches auto's first students: what is tried by itself, and what a person names."""

import dataclasses
import io
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from redoseg.automation import auto as automation
from redoseg.automation import starts as finding
from redoseg.automation.auto import auto
from redoseg.automation.folder import AutoFolder, Plan
from redoseg.automation.plan import student_options
from redoseg.automation.starts import USUAL, find_starts
from redoseg.cli.auto import _command
from redoseg.config.auto import AutoConfig
from redoseg.errors import ConfigError, DataError
from redoseg.files import read_json
from redoseg.models.load import load_model
from redoseg.models.shipped import ROOT
from refusals import refusal, refused_command
from tinyruns import photos, tiny, trained

pytestmark = pytest.mark.training
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = photos(tmp_path_factory.mktemp("data") / "photos", train=24, val=0, masks=False)
    (folder / "splits.csv").unlink()
    return folder


@pytest.fixture(scope="module")
def game(data):
    """A short game on the photos."""
    return trained(tiny(data, data.parent / "game", collapse_below=0, collapse_variation=0))


def asked(data, out, *starts):
    return AutoConfig(
        data=(str(data),), out=out, starts=starts, device="cpu", threads=1, cache=data.parent / "cache"
    )


def scored(monkeypatch, **scores):
    """The label-free scores that shipped models have, by name."""
    names = {str(ROOT / name / "model.safetensors"): name for name in scores}
    assert names
    found = iter([scores[name] for name in sorted(scores)])
    monkeypatch.setattr(finding, "shipped_names", lambda: sorted(scores))
    monkeypatch.setattr(finding, "label_free_score", lambda _: next(found))


def test_the_two_shipped_models_that_know_the_photos_best_are_tried(data, tmp_path, monkeypatch):
    scored(monkeypatch, **{"birds-small": 0.3, "faces-small": 0.5, "flowers": 0.4})
    found = find_starts(asked(data, tmp_path / "run"), CPU)
    assert list(found) == [*USUAL, "faces-small", "flowers"]
    assert [found[name] for name in USUAL] == ["first:disc", "first:boxes", "first:clusters"]
    assert found["flowers"] == str(ROOT / "flowers")


def test_no_shipped_model_is_tried_whose_masks_look_like_nothing(data, tmp_path, monkeypatch):
    scored(monkeypatch, **{"birds-small": 0.19, "faces-small": 0.0, "flowers": 0.2})
    assert list(find_starts(asked(data, tmp_path / "run"), CPU)) == [*USUAL, "flowers"]


def test_a_person_names_first_labels_models_and_games(data, game, tmp_path):
    found = find_starts(asked(data, tmp_path / "run", "iem", "faces", str(game.path)), CPU)
    assert found == {
        "iem": "first:iem", "faces-small": str(ROOT / "faces-small"), "of-game": str(game.path.absolute())
    }  # fmt: skip
    assert asked(data, tmp_path / "run").starts == ()
    one: Any = "boxes"
    assert AutoConfig(data=(str(data),), out=tmp_path / "run", starts=one).starts == ("boxes",)


def test_a_game_teaches_the_first_student(data, game, tmp_path, monkeypatch):
    starts = find_starts(asked(data, tmp_path / "run", str(game.path)), CPU)
    monkeypatch.setattr(automation, "make_plan", lambda *_: Plan(starts, 24, 2, 2, 1, 4, 1.0))
    monkeypatch.setattr(
        automation, "student_options", lambda: student_options() | {"f_width": 4, "f_blocks": 1}
    )
    config = asked(data, tmp_path / "run", str(game.path))
    found = auto(config, console=Console(file=io.StringIO()))
    folder = AutoFolder(config.out)
    assert (found.kept, found.masks) == ("of-game", 24)
    assert read_json(folder.student("of-game") / "run.json")["teacher"]["run"] == str(game.path)
    assert load_model(folder.path).f.n == 2
    with refusal(ConfigError, match=r"was begun with --starts .*game.*, not without it"):
        auto(dataclasses.replace(config, starts=()), console=Console(file=io.StringIO()))


def test_a_start_that_cant_be_is_refused_before_anything_is_begun(data, game, tmp_path, command):
    def refused(said, *starts, photos=data):
        line = ["auto", photos, "--out", tmp_path / "run", "--starts", *starts]
        refused_command(command, said, *line, "--device", "cpu", "--cache", data.parent / "cache")
        assert not AutoFolder(tmp_path / "run").report.exists()

    refused("--starts nosuch: there is no such folder; name a run's or a model's, or disc, boxes", "nosuch")
    refused("holds no run to learn from", data)
    refused("--starts digits has 3 regions: auto looks for one object, in two", "digits")
    refused("another start is called faces-small, too", "faces", "faces-small")


def test_a_game_of_other_photos_is_refused_with_its_cure(game, tmp_path, data):
    other = photos(tmp_path / "other", train=25, val=0, masks=False)
    config = dataclasses.replace(asked(data, tmp_path / "run", str(game.path)), data=(str(other),))
    with refusal(DataError, match=r"was trained on other photos: `redoseg export .*` makes a model of it"):
        find_starts(config, CPU)


def test_the_command_to_go_on_names_all_starts():
    config = AutoConfig(data=("mine",), out=Path("runs/a"), starts=("boxes", "runs/b c"))
    assert _command(config) == "redoseg auto mine --out runs/a --starts boxes 'runs/b c'"
