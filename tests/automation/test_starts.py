"""What teaches auto's first students: what is tried by itself, and what a person names."""

import dataclasses
import io
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from redoseg.automation import auto as automation
from redoseg.automation import game as playing
from redoseg.automation import plan as planning
from redoseg.automation import starts as finding
from redoseg.automation.auto import auto
from redoseg.automation.folder import AutoFolder, Plan
from redoseg.automation.game import STEPS, game_config, seconds_of_a_step
from redoseg.automation.named import named_starts, placed_starts
from redoseg.automation.plan import make_plan, student_options
from redoseg.automation.starts import USUAL, find_starts
from redoseg.cli.auto import _command
from redoseg.config.auto import AutoConfig
from redoseg.data.dataset import open_dataset
from redoseg.errors import ConfigError, DataError
from redoseg.files import read_json, write_json
from redoseg.models.load import load_model
from redoseg.models.run_folder import RunFolder
from redoseg.models.shipped import ROOT
from refusals import refusal, refused_command
from run_compared import Killed, dying
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


def plan_with(monkeypatch, starts):
    """Small students, two steps each, of these starts."""
    small = student_options() | {"f_width": 4, "f_blocks": 1}
    monkeypatch.setattr(automation, "make_plan", lambda *_: Plan(starts, 24, 2, 2, 1, 4, 1.0))
    monkeypatch.setattr(automation, "student_options", lambda: small)


def play_quickly(monkeypatch, **options):
    """A game of four steps of tiny networks, and what `plan_with` makes of it."""
    small = {"size": 32, "width": 4, "g_width": 4, "f_width": 4, "eval_every": 2, "save_every": 2}
    never = {"collapse_below": 0, "collapse_variation": 0, "collapse_every": 2}
    monkeypatch.setattr(playing, "_SMALL", small | never | options)
    starts = {"game": "first:game", "disc": "first:disc"}
    plan_with(monkeypatch, starts)
    monkeypatch.setattr(
        automation,
        "make_plan",
        lambda config, *_: Plan(
            {name: starts[name] for name in config.starts}, 24, 2, 2, 1, 4, 1.0, game_steps=4
        ),
    )


def quietly(config):
    return auto(config, console=Console(file=io.StringIO()))


def scored(monkeypatch, **scores):
    """The label-free scores that shipped models have, by name."""
    monkeypatch.setattr(finding, "shipped_names", lambda: sorted(scores))
    monkeypatch.setattr(finding, "measure", lambda f, _: digest(f))
    known = {digest(load_model(name).f): score for name, score in scores.items()}
    monkeypatch.setattr(finding, "label_free_score", known.__getitem__)


def digest(f):
    return sum(float(tensor.double().sum()) for tensor in f.state_dict().values())


def test_the_two_shipped_models_that_know_the_photos_best_are_tried(data, tmp_path, monkeypatch):
    scored(monkeypatch, **{"birds": 0.3, "faces": 0.5, "flowers": 0.4})
    found = find_starts(asked(data, tmp_path / "run"), CPU)
    assert list(found) == [*USUAL, "faces", "flowers"]
    assert [found[name] for name in USUAL] == ["first:boxes", "first:clusters", "first:saliency"]
    assert found["flowers"] == str(ROOT / "flowers")


def test_no_shipped_model_is_tried_whose_masks_look_like_nothing(data, tmp_path, monkeypatch):
    scored(monkeypatch, **{"birds": 0.19, "faces": 0.0, "flowers": 0.2})
    assert list(find_starts(asked(data, tmp_path / "run"), CPU)) == [*USUAL, "flowers"]


def test_a_person_names_first_labels_models_and_games(data, game, tmp_path):
    found = find_starts(asked(data, tmp_path / "run", "iem", "faces", str(game.path)), CPU)
    assert found == {
        "iem": "first:iem", "faces": str(ROOT / "faces"), "of-game": str(game.path.absolute())
    }  # fmt: skip
    assert asked(data, tmp_path / "run").starts == ()
    one: Any = "boxes"
    assert AutoConfig(data=(str(data),), out=tmp_path / "run", starts=one).starts == ("boxes",)


def test_a_game_teaches_the_first_student(data, game, tmp_path, monkeypatch):
    starts = find_starts(asked(data, tmp_path / "run", str(game.path)), CPU)
    plan_with(monkeypatch, starts)
    config = asked(data, tmp_path / "run", str(game.path))
    found = auto(config, console=Console(file=io.StringIO()))
    folder = AutoFolder(config.out)
    assert (found.kept, found.masks) == ("of-game", 24)
    assert read_json(folder.student("of-game") / "run.json")["teacher"]["run"] == str(game.path)
    assert load_model(folder.path).f.n == 2
    with refusal(ConfigError, match=r"was begun with --starts .*game.*, not without it"):
        auto(dataclasses.replace(config, starts=()), console=Console(file=io.StringIO()))


def test_a_shipped_model_is_found_where_it_lies_now_or_left_out(data, tmp_path, monkeypatch):
    """An installation moves, and a model of an earlier version is no more."""
    old = "/elsewhere/redoseg/shipped"
    plan_with(monkeypatch, {"disc": "first:disc", "gone": f"{old}/gone", "flowers": f"{old}/flowers"})
    said = io.StringIO()
    found = auto(asked(data, tmp_path / "run"), console=Console(file=said, width=200))
    assert [*found.students] == ["disc", "flowers"]
    assert "left out: gone, which came with another version of redoseg\n" in said.getvalue()
    teacher = read_json(AutoFolder(tmp_path / "run").student("flowers") / "run.json")["teacher"]["run"]
    assert teacher == str(ROOT / "flowers")
    assert placed_starts({"gone": f"{old}/gone"}, ["gone"]) == ({"gone": f"{old}/gone"}, [])


def test_a_start_that_cant_be_is_refused_before_anything_is_begun(data, game, tmp_path, command, monkeypatch):
    def refused(said, *starts):
        line = ["auto", data, "--out", tmp_path / "run", "--starts", *starts]
        refused_command(command, said, *line, "--device", "cpu", "--cache", data.parent / "cache")
        assert not AutoFolder(tmp_path / "run").report.exists()

    refused("--starts 'nosuch': there is no such folder; name a run's or a model's, or disc, boxes", "nosuch")
    refused("--starts '': there is no such folder", "")
    refused("masks made by grabcut are called boxes here", "grabcut")
    refused("is neither a run (run.json) nor a model's folder", data)
    refused("digits has 3 regions: auto looks for one object, in two", "digits")
    refused("--starts faces is named twice: leave one out", "faces", "faces")
    refused("--starts disc is named twice", "first:disc", "disc")
    refused(f"it has no card that says how it was made: name {game.path}", game.model)
    onnx = shutil.copy(ROOT / "flowers" / "mask.onnx", tmp_path / "m.onnx")
    refused("masks alone can't teach: name the run that it was made from", onnx)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a" / "game").mkdir(parents=True)
    shutil.copytree(game.path, tmp_path / "a" / "game", dirs_exist_ok=True)
    refused("another start is called of-game, too; rename its folder", game.path, "a/game")
    shutil.copy(game.path / "run.json", tmp_path / "a" / "run.json")
    refused("--starts a: a has no checkpoint 'last'", "a")


def test_a_start_of_larger_images_names_the_size(data, tmp_path):
    large = trained(tiny(data, tmp_path / "large", size=128, steps=1, collapse_below=0))
    with refusal(ConfigError, match=r"was trained at 128 pixels: add --size 128"):
        find_starts(asked(data, tmp_path / "run", str(large.path)), CPU)


def test_a_folder_that_is_called_as_a_shipped_model_hides_it_only_if_it_is_one(
    data, game, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flowers").mkdir()
    assert named_starts(["flowers"]) == {"flowers": str(ROOT / "flowers")}
    shutil.copytree(game.path, tmp_path / "flowers", dirs_exist_ok=True)
    assert named_starts(["flowers"]) == {"of-flowers": str(tmp_path / "flowers")}


def test_a_path_is_a_path_and_nothing_is_nothing(data, tmp_path):
    odd: Any = (Path("faces"), Path("runs/a"), "faces")
    config = AutoConfig(data=(str(data),), out=tmp_path / "run", starts=odd)
    assert config.starts == ("./faces", "runs/a", "faces")
    odd = None
    assert AutoConfig(data=(str(data),), out=tmp_path / "run", starts=odd).starts == ()


def test_a_folders_name_becomes_one_that_any_disk_takes(game, tmp_path, monkeypatch):
    odd = tmp_path / "a\nb [c]"
    shutil.copytree(game.path, odd)
    assert [*named_starts([str(odd)])] == ["of-a-b-c-"]
    (odd / "deeper").mkdir()
    monkeypatch.chdir(odd / "deeper")
    assert [*named_starts([".."])] == ["of-a-b-c-"]


def test_stopped_it_goes_on_from_another_folder_with_a_moved_game(data, game, tmp_path, monkeypatch):
    starts = {"boxes": "first:boxes", "of-game": str(tmp_path / "game")}
    plan_with(monkeypatch, starts)
    shutil.copytree(game.path, tmp_path / "game")
    with monkeypatch.context() as patched:
        dying(patched, 2, tmp_path / "run")  # auto.json, as it notes the first student
        with pytest.raises(Killed):
            quietly(asked(data, tmp_path / "run", "boxes", str(tmp_path / "game")))
    (tmp_path / "moved").mkdir()
    shutil.move(tmp_path / "game", tmp_path / "moved" / "game")
    monkeypatch.chdir(tmp_path / "moved")
    found = quietly(asked(data, tmp_path / "run", "boxes", "./game/"))
    assert [*found.students] == ["boxes", "of-game"]
    assert quietly(asked(data, tmp_path / "run", "boxes", Path("game"))) == found


def test_masks_that_were_read_for_a_start_are_said_loudly(data, tmp_path, monkeypatch):
    masks = photos(tmp_path / "labelled", train=24, val=0)
    game = trained(
        tiny(data, tmp_path / "helped", labelled=str(masks), collapse_below=0, collapse_variation=0)
    )
    starts = {"of-helped": str(game.path)}
    plan_with(monkeypatch, starts)
    said = io.StringIO()
    auto(asked(data, tmp_path / "run", str(game.path)), console=Console(file=said, width=200))
    assert f"NOT UNSUPERVISED: masks were read for {game.path}" in said.getvalue()
    assert "NOT UNSUPERVISED: masks were read for the start of this model" in said.getvalue()
    report = read_json(AutoFolder(tmp_path / "run").report)
    assert report["supervision"]["kind"] == "semi-supervised"


def test_a_game_of_other_photos_is_refused_with_its_cure(game, tmp_path, data):
    other = photos(tmp_path / "other", train=25, val=0, masks=False)
    config = dataclasses.replace(asked(data, tmp_path / "run", str(game.path)), data=(str(other),))
    with refusal(DataError, match=r"was trained on other photos: `redoseg export .*` makes a model of it"):
        find_starts(config, CPU)


def test_the_command_to_go_on_names_all_starts():
    config = AutoConfig(data=("mine",), out=Path("runs/a"), starts=("boxes", "runs/b c"))
    assert _command(config) == "redoseg auto mine --out runs/a --starts boxes 'runs/b c'"


def test_auto_plays_a_game_itself(data, tmp_path, monkeypatch):
    """The game is a run in RUN/game of its photos; the checkpoint that looks best without a label teaches."""
    play_quickly(monkeypatch)
    config = asked(data, tmp_path / "run", "game", "disc")
    found = quietly(config)
    folder = AutoFolder(config.out)
    assert list(found.students) == ["game", "disc"]
    played = RunFolder(folder.game)
    assert (played.config().steps, played.config().batch, played.config().size) == (4, 4, 32)
    taught = read_json(folder.student("game") / "run.json")
    assert (taught["teacher"]["run"], taught["teacher"]["rule"]) == (str(folder.game), "label-free")
    assert load_model(folder.path).f.n == 2


def test_a_game_stopped_goes_on_and_ends_the_same(data, tmp_path, monkeypatch):
    play_quickly(monkeypatch)
    whole, parts = (asked(data, tmp_path / name, "game") for name in ("whole", "parts"))
    quietly(whole)
    with monkeypatch.context() as patched:
        dying(patched, 3, tmp_path / "parts" / "game" / "checkpoints")
        with pytest.raises(Killed):
            quietly(parts)
    assert not AutoFolder(parts.out).student("game").exists()
    quietly(parts)
    ends = [load_model(AutoFolder(config.out).student("game")).f for config in (whole, parts)]
    assert digest(ends[0]) == digest(ends[1])


def test_a_game_that_was_begun_on_another_device_keeps_its_size(data, tmp_path, monkeypatch):
    play_quickly(monkeypatch)
    config = asked(data, tmp_path / "run", "game")
    with monkeypatch.context() as patched:
        dying(patched, 3, tmp_path / "run" / "game" / "checkpoints")
        with pytest.raises(Killed):
            quietly(config)
    monkeypatch.setattr(playing, "_SMALL", playing._SMALL | {"size": 64, "width": 8})
    quietly(config)
    assert RunFolder(AutoFolder(config.out).game).config().size == 32


def test_a_game_that_keeps_losing_a_region_is_passed_over(data, tmp_path, monkeypatch):
    play_quickly(monkeypatch, collapse_below=0.6)
    monkeypatch.setattr(playing, "_RESTARTS", 1)
    said = io.StringIO()
    console = Console(file=said, width=500)
    found = auto(asked(data, tmp_path / "run", "game", "disc"), console=console)
    assert (found.students["game"], found.kept) == (-1.0, "disc")
    assert "game failed: " in said.getvalue()


def test_a_game_is_planned_for(data, tmp_path, monkeypatch):
    """All its steps without --minutes, fewer with, and time for them."""
    monkeypatch.setattr(planning, "seconds_of_a_step", lambda _: 0.5)
    dataset = open_dataset(data, size=64, cache=tmp_path)
    config = asked(data, tmp_path / "run", "game", "disc")
    plan, alone = (make_plan(of, dataset, CPU) for of in (config, asked(data, tmp_path / "run", "disc")))
    assert (plan.game_steps, alone.game_steps) == (STEPS, 0)
    assert plan.minutes > 1.25 * 0.5 * STEPS / 60 > alone.minutes
    shorter = make_plan(dataclasses.replace(config, minutes=plan.minutes / 2), dataset, CPU)
    assert 60 < shorter.game_steps < STEPS
    assert shorter.minutes == pytest.approx(plan.minutes / 2, rel=0.2)


def test_in_a_game_of_few_photos_d_sees_changed_ones(data, tmp_path, monkeypatch):
    monkeypatch.setattr(planning, "seconds_of_a_step", lambda _: 0.5)
    dataset, config = open_dataset(data, size=64, cache=tmp_path), asked(data, tmp_path / "run", "game")

    def played() -> str:
        plan = make_plan(config, dataset, CPU)
        return game_config(config, plan.game_steps, plan.batch, plan.diffaugment).diffaugment

    assert played() == "all"
    monkeypatch.setattr(playing, "FEW", len(dataset.split("train")))
    assert played() == "off"


def test_the_time_of_a_step_of_the_game_is_measured(data, tmp_path):
    described = game_config(asked(data, tmp_path / "run", "game"), 10, 4, "all")
    assert seconds_of_a_step(described) > 0
    assert not described.out.exists()


def test_a_run_that_meant_a_folder_called_game_gets_no_other_start(data, game, tmp_path, monkeypatch):
    """Until there was a start `game`, the word named a folder."""
    plan_with(monkeypatch, {"of-game": str(game.path)})
    monkeypatch.chdir(game.path.parent)
    config = asked(data, tmp_path / "run", "./game")
    quietly(config)
    report = AutoFolder(config.out).report
    fields = read_json(report)
    write_json(report, fields | {"config": fields["config"] | {"starts": ["game"]}})
    monkeypatch.chdir(tmp_path)
    with refusal(ConfigError, match=r"was begun with of-game, and --starts means game now \(./game names a"):
        quietly(asked(data, tmp_path / "run", "game"))


def test_a_folder_that_is_called_game_is_named_as_one(data, game, tmp_path, monkeypatch):
    monkeypatch.chdir(game.path.parent)
    assert named_starts(["first:game"]) == {"game": "first:game"}
    assert named_starts(["./game"]) == {"of-game": str(game.path)}
    with refusal(ConfigError, match=r"a folder of that name here, which \./game names; first:game is a game"):
        named_starts(["game"])
    monkeypatch.chdir(tmp_path)
    assert named_starts(["game"]) == {"game": "first:game"}
