"""A folder for a hub: it loads again with the same masks, and its card says what is known, no more."""

import importlib
import json
import re
import shutil

import numpy as np
import pytest
import yaml

from redoseg.cli import main
from redoseg.cli.models import _training_cell
from redoseg.errors import ModelError
from redoseg.exporting.hub_folder import write_hub_folder
from redoseg.exporting.provenance import card_of_run
from redoseg.exporting.readme import model_card
from redoseg.models import shipped
from redoseg.models.card import ROWS, read_card, sha256_of
from redoseg.models.load import load_model
from redoseg.models.run_folder import RunFolder
from redoseg.segmentation.segmenter import Segmenter

pytestmark = pytest.mark.training

FILES = {"README.md", "card.json", "config.json", "mask.onnx", "model.safetensors", "refining.json"}
LICENCE = ["--data-licence", "CC0"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def copied(done, tmp_path):
    return RunFolder(shutil.copytree(done.path, tmp_path / "copied"))


@pytest.fixture(scope="module")
def card(done):
    """Of the run's last checkpoint."""
    return card_of_run(done, load_model(done.path), "squares")


def front_matter(text):
    return yaml.safe_load(text.split("---\n")[1])


def described(run, **changes):
    """Rewrite parts of run.json."""
    content = json.loads(run.description.read_text())
    run.description.write_text(json.dumps(content | changes))


@pytest.mark.parametrize("kind", ["run", "model"])
def test_it_loads_again_with_the_same_masks(done, kind, capsys, tmp_path, monkeypatch):
    """From a run, and from a model with a card: one that is shipped."""
    assert main(["export", str(done.path), "--hub-folder", "hub", *LICENCE]) == 0
    capsys.readouterr()
    if kind == "model":
        shutil.move("hub", tmp_path / "shipped" / "squares")
        (tmp_path / "shipped" / "squares" / "README.md").unlink()
        monkeypatch.setattr(shipped, "ROOT", tmp_path / "shipped")
        assert main(["export", "squares", "--hub-folder", "hub"]) == 0
        assert capsys.readouterr() == ("hub: ready for a hub, README.md is its card\n", "")
    assert {path.name for path in (tmp_path / "hub").iterdir()} == FILES
    photo = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    for backend in ("torch", "onnx"):
        again, before = (
            Segmenter.from_pretrained(path, backend=backend)(photo) for path in ("hub", done.path)
        )
        assert np.array_equal(again, before)
    written = read_card(tmp_path / "hub")
    assert written.sha256 == {
        name: sha256_of(tmp_path / "hub" / name) for name in FILES - {"README.md", "card.json"}
    }
    assert load_model("hub").checkpoint == load_model(done.path).checkpoint
    assert load_model("hub").generators is None


def test_a_shipped_models_onnx_file_is_whole_there(tmp_path):
    """A hub hands mask.onnx out by itself; here it takes its weights from model.safetensors."""
    folder = shipped.shipped_folder("faces")
    card = write_hub_folder("faces", tmp_path / "hub")
    alone = shutil.copy(tmp_path / "hub" / "mask.onnx", tmp_path / "alone.onnx")
    assert card.sha256["mask.onnx"] == sha256_of(alone)
    photo = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    ours, shipped_masks = (Segmenter.from_pretrained(path, backend="onnx") for path in (alone, folder))
    assert np.array_equal(ours(photo), shipped_masks(photo))
    lonely = shutil.copy(folder / "mask.onnx", tmp_path / "lonely.onnx")
    with pytest.raises(
        ModelError, match=r"lonely\.onnx has its weights in model\.safetensors, and beside it"
    ):
        Segmenter.from_pretrained(lonely)


@pytest.mark.parametrize("file", ["model.safetensors", "mask.onnx"])
def test_a_damaged_model_gets_no_card_that_vouches_for_it(tmp_path, capsys, file):
    folder = shutil.copytree(shipped.shipped_folder("faces"), tmp_path / "copied")
    content = bytearray((folder / file).read_bytes())
    content[-8:] = bytes(8)
    (folder / file).write_bytes(content)
    assert main(["export", str(folder), "--hub-folder", "hub"]) == 1
    error = capsys.readouterr().err
    assert error == f"redoseg: {folder / file} isn't what card.json beside it says: it is damaged\n"
    assert not (tmp_path / "hub").exists()


def test_its_card(done):
    assert (
        main(["export", str(done.path), "--hub-folder", "my-squares", *LICENCE, "--subject", "squares"]) == 0
    )
    with open("my-squares/README.md", encoding="utf-8") as file:
        text = file.read()
    evaluation, head = json.loads(done.evaluation.read_text()), front_matter(text)
    assert (head["license"], head["library_name"]) == ("apache-2.0", "redoseg")
    assert head["pipeline_tag"] == "image-segmentation"
    assert {"unsupervised", "image-segmentation"} <= set(head["tags"])
    (model,) = head["model-index"]
    (result,) = model["results"]
    assert (model["name"], result["dataset"]["split"]) == ("my-squares", "val")
    values = {metric["name"]: metric["value"] for metric in result["metrics"]}
    assert len(values) == 6
    for row in ("per_dataset", "per_image"):
        assert values[f"IoU of the object, {row}"] == round(evaluation[row]["iou"], 4)
        assert values[f"accuracy, {row}"] == round(evaluation[row]["accuracy"], 4)
    for row in ROWS:
        scores = evaluation[row]
        assert re.search(rf"^\|.+\| {scores['iou']:.3f} \| {scores['accuracy']:.3f} \|$", text, re.MULTILINE)
    for said in (
        *("# my-squares", "Finds squares in photos", "the last one (no label chose it), after 4 steps"),
        *("Terms of the data: CC0.", "5 labelled images of the split `val`", "## Bias", "## Limits"),
        *("redoseg train photos --out runs/my-squares --size 32", "10 pictures to train on"),
        sha256_of(done.model / "model.safetensors"),
    ):
        assert said in text
    assert str(done.path.parent) not in text
    code = re.findall(r"redoseg\.(\w+)", text)
    assert all(hasattr(importlib.import_module("redoseg"), name) for name in code)


def test_both_and_neither(done, capsys):
    line = ["export", str(done.path), "--hub-folder", "hub", "--onnx", "f.onnx", *LICENCE]
    assert main(line) == 0
    output = capsys.readouterr().out.splitlines()
    assert [text.partition(":")[0] for text in output] == ["hub", "f.onnx"]
    assert main(["export", str(done.path)]) == 1
    assert capsys.readouterr().err == (
        "redoseg: nothing to write: give --onnx FILE, --hub-folder DIR, --rembg FILE, --tensorboard DIR, "
        "or several\n"
    )


def test_what_it_doesnt_know_it_says(copied, capsys):
    copied.evaluation.unlink()
    assert main(["export", str(copied.path), "--hub-folder", "hub"]) == 0
    assert capsys.readouterr().err == (
        "redoseg: hub/README.md has no figures (this checkpoint has not been scored), and no terms of the "
        "training data (--data-licence)\n"
    )
    with open("hub/README.md", encoding="utf-8") as file:
        text = file.read()
    assert "This checkpoint has not been scored" in text
    assert "**not stated, write here under which terms the photos may be used**" in text
    assert front_matter(text).keys() == {"library_name", "license", "pipeline_tag", "tags"}


def test_scores_of_another_checkpoint_are_not_its_own(done):
    for options in ({"checkpoint": "2"}, {"weights": "raw"}):
        assert card_of_run(done, load_model(done.path, **options), "a").scores is None


def test_a_folder_that_isnt_free(done, tmp_path, capsys):
    """Its own is written anew, a clone's .git stays; somebody else's is left alone."""
    (tmp_path / "hub" / ".git").mkdir(parents=True)
    for _ in range(2):
        assert main(["export", str(done.path), "--hub-folder", "hub", *LICENCE]) == 0
        assert {path.name for path in (tmp_path / "hub").iterdir()} == FILES | {".git"}
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "README.md").write_text("mine")
    (tmp_path / "file").write_text("mine")
    capsys.readouterr()
    for name, said in (("mine", "holds other files: choose an empty one"), ("file", "is a file")):
        assert main(["export", str(done.path), "--hub-folder", name, *LICENCE]) == 1
        error = capsys.readouterr().err
        assert error.startswith(f"redoseg: --hub-folder {name} {said}")
        assert error.count("\n") == 1
    assert (tmp_path / "mine" / "README.md").read_text() == "mine"


@pytest.mark.parametrize("kind", ["model", "model/mask.onnx"])
def test_a_model_that_says_nothing_of_itself(done, tmp_path, capsys, kind):
    assert main(["export", str(done.path / kind), "--hub-folder", "hub"]) == 1
    error = capsys.readouterr().err
    assert "doesn't say how it was made: name the run that it comes from, or a model from" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "hub").exists()


# What the card's words depend on


def rewritten(card, **changes):
    content = card.as_json() | changes
    return model_card(type(card).from_json(content))


def test_labels_that_took_part_are_named(card):
    said = "Labels took part in choosing the checkpoint"
    teacher = {"rule": "best", "steps": 2, "ema": True}
    assert said not in rewritten(card)
    assert said in rewritten(card, rule="best")
    assert said in rewritten(card, teacher=teacher)
    assert "its teacher's: chosen with the labels of a split" in rewritten(card, teacher=teacher)


def test_a_model_below_the_trivial_rows_says_so(card):
    said = "**By IoU this model does not beat the best trivial row.**"
    row = {"accuracy": 0.5, "iou": 0.5, "mean_iou": 0.5, "regions": [0.5, 0.5]}
    scores = {"split": "val", "images": 3, "per_dataset": row, "per_image": row}
    low, high = row | {"iou": 0.4}, row | {"iou": 0.6}
    assert said in rewritten(card, scores=scores | {"fixed_mask": high, "disc": low})
    assert said not in rewritten(card, scores=scores | {"fixed_mask": low, "disc": None})
    assert said not in rewritten(card, scores=scores | {"fixed_mask": None, "disc": None})


def test_faces_have_their_own_words(card):
    for said in ("Scores have not been measured by group", "Not for recognising or finding people"):
        assert said in rewritten(card, subject="faces")
        assert said not in rewritten(card, subject="flowers")


@pytest.mark.parametrize(
    ("sources", "options", "subject", "licence"),
    [
        (["/x/lfw128.tar"], {}, "faces", None),
        (["photos"], {"settings": "lfw"}, "faces", None),
        (["/x/flowers64"], {}, "flowers", None),
        (["lfw:/x/people"], {}, "faces", None),
        (["lfw:/x/lfw", "flowers:/x/flowers"], {}, "", None),
        (["digits"], {"n": 3}, "digits", "CC BY 4.0 (UCI Machine Learning Repository)"),
        (["digits"], {"n": 3, "mnist": "/x/mnist"}, "digits", None),
        (["lfw.tar", "flowers"], {}, "", None),
        (["photos"], {}, "", None),
    ],
)
def test_what_the_datas_name_says(copied, sources, options, subject, licence):
    config = json.loads(copied.description.read_text())["config"]
    described(copied, config=config | {"data": sources} | options)
    model = load_model(copied.model)
    found = card_of_run(copied, model, "a")
    assert (found.subject, found.data["licence"]) == (subject, licence)
    assert "/x" not in json.dumps(found.as_json())


def test_a_distilled_run_names_both_commands_and_the_teachers_rule(done, copied):
    config = json.loads(copied.description.read_text())["config"]
    student = {"run": str(done.path), "out": str(copied.path), "data": config["data"], "f_width": 8}
    student |= {"object_share": [0.02, 0.9], "checkpoint": "label-free"}
    teacher = {"run": str(done.path), "rule": "label-free", "step": 2, "ema": True, "weights": "x"}
    described(copied, distill=student, teacher=teacher)
    found = card_of_run(copied, load_model(copied.path), "a")
    first, second = found.commands
    assert first.startswith("redoseg train photos --out runs/a-teacher --size 32 ")
    assert "--steps 4 " in f"{first} "  # to the end: the choice was among all of its checkpoints
    assert second.startswith(
        "redoseg distill runs/a-teacher --out runs/a --data photos --checkpoint label-free "
    )
    assert found.teacher == {"rule": "label-free", "steps": 2, "ema": True}
    assert "a second network was then trained on its masks" in model_card(found)


def test_a_game_with_a_warm_start_names_the_command_of_that_before_its_own(done, copied):
    config = json.loads(copied.description.read_text())["config"]
    described(copied, config=config | {"start": str(done.path)})
    first, second = card_of_run(copied, load_model(copied.path), "a").commands
    assert first.startswith("redoseg train photos --out runs/a-start --size 32 ")
    assert second.startswith("redoseg train photos --out runs/a --size 32 ")
    assert " --start runs/a-start " in f"{second} "
    described(copied, config=config | {"start": "flowers"})
    (only,) = card_of_run(copied, load_model(copied.path), "a").commands
    assert " --start flowers " in f"{only} "
    described(copied, config=config | {"start": str(copied.path)})  # a circle, of a path that was used again
    assert len(card_of_run(copied, load_model(copied.path), "a").commands) == 2


def test_a_students_card_states_its_own_options_and_is_read_again(done, copied, tmp_path):
    """Its run.json may be of a version that stated its teacher's, too. Its subject is what those say."""
    config = json.loads(copied.description.read_text())["config"]
    student = {"run": str(done.path), "out": str(copied.path), "data": config["data"], "f_width": 8}
    described(copied, distill=student, teacher={"rule": "last", "step": 2, "ema": True})
    found = card_of_run(copied, load_model(copied.path), "a")
    assert {"n", "size", "f_width", "lr_f", "data", "out"} <= found.options.keys()
    assert not {"lambda_z", "g_width", "lr", "recipe", "settings", "f_jitter"} & found.options.keys()
    found.write(tmp_path)
    again = read_card(tmp_path)
    assert again == found
    assert (again.n, again.size, again.config().f_width) == (found.n, found.size, config["f_width"])
    assert _training_cell(again).startswith(f"{found.size} px\ndistilled\n")

    teacher = RunFolder(shutil.copytree(done.path, tmp_path / "teacher"))
    described(teacher, config=config | {"settings": "lfw"})
    described(copied, distill=student | {"run": str(teacher.path)})
    assert card_of_run(copied, load_model(copied.path), "a").subject == "faces"
