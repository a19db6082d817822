"""Models that come with the package: names, whole files, the list, and the script that puts them there."""

import dataclasses
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bare_python import WITHOUT, python
from loaded_scripts import script
from redoseg.cli import main
from redoseg.config import TrainConfig
from redoseg.errors import ModelError
from redoseg.exporting.hub_folder import grey_level_difference
from redoseg.exporting.onnx import TOLERANCE, largest_difference
from redoseg.models import shipped
from redoseg.models.backends.onnx import OnnxBackend, is_shared
from redoseg.models.card import ROWS, read_card, sha256_of
from redoseg.models.load import load_model
from redoseg.models.run_folder import RunFolder
from redoseg.models.source import ModelFolder, RunCheckpoint, absolute, find_model
from redoseg.models.tensor_file import weights_digest
from redoseg.models.weights import load_generators, save_generators
from redoseg.networks.build import build_networks
from redoseg.networks.generator import RegionGenerator
from redoseg.segmentation.segmenter import Segmenter
from run_compared import equal
from tinyruns import tiny, trained

pytestmark = pytest.mark.training

ROOT = Path(__file__).resolve().parents[2]
NAME, PLAIN = "squares-small", "squares"
TOLD = ["--data-text", "Bright squares", "--licence", "CC0", "--subject", "squares"]


ship = script("ship")


@pytest.fixture(scope="module", autouse=True)
def room():
    """The script's budget, as if this checkout were half full: tests don't hang on what it holds today."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ship, "MOST_IN_ALL", 2 * ship._bytes(ship._checkout()))
        patch.setattr(ship, "MOST_WEIGHTS", 2 * ship.MOST_WEIGHTS)
        yield


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    return trained(tiny(data, tmp_path_factory.mktemp("runs") / "run", lr_f=0.05, n=2))


@pytest.fixture(scope="module")
def made(run, tmp_path_factory):
    """A shipped root with one model in it."""
    root = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shipped, "ROOT", root)
        assert ship.main([str(run.path), NAME, *TOLD, "--generators"]) == 0
    return root


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(shipped, "_warnings", set())


@pytest.fixture
def root(made, tmp_path, monkeypatch):
    """A copy of it in the package's place."""
    monkeypatch.setattr(shipped, "ROOT", shutil.copytree(made, tmp_path / "shipped"))
    return shipped.ROOT


@pytest.fixture
def photo(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def one_line(capsys):
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


# Names


def test_a_model_by_its_name(root, run, photo, caplog):
    assert find_model(NAME) == ModelFolder(root / NAME)
    assert equal(load_model(NAME).f.state_dict(), load_model(run.path).f.state_dict())
    for backend in ("onnx", "torch"):
        ours, runs = (Segmenter.from_pretrained(model, backend=backend)(photo) for model in (NAME, run.path))
        assert np.array_equal(ours, runs)
    assert caplog.records == []


def test_a_card_says_which_checkpoint_it_is(root, run):
    model = load_model(NAME)
    assert model.checkpoint == load_model(run.path).checkpoint == {"rule": "last", "step": 4, "ema": True}
    assert (model.config.resize, model.config.code_size) == ("antialias", 4)


def test_a_small_one_answers_to_the_plain_name_in_silence(root, photo, capfd, caplog):
    """Which model that is says `redoseg models`, and not each call again."""
    assert main(["segment", PLAIN, str(photo), "--out", "masks"]) == 0
    assert tuple(capfd.readouterr()) == ("1 photos, 0 left out: 1 masks in masks\n", "")
    Segmenter.from_pretrained(PLAIN)
    assert caplog.records == []
    assert main(["models"]) == 0
    assert "NAME is this smaller model until a full one comes with redoseg" in capfd.readouterr().out


def test_a_full_one_goes_before_a_small_one(root, caplog):
    shutil.copytree(root / NAME, root / PLAIN)
    assert find_model(PLAIN) == ModelFolder(root / PLAIN)
    assert find_model(NAME) == ModelFolder(root / NAME)
    assert caplog.records == []
    assert [shipped.answers_to(name) for name in shipped.shipped_names()] == [[PLAIN], [NAME]]


@pytest.mark.parametrize("kind", ["run", "model"])
def test_a_model_here_goes_before_a_shipped_one(root, run, kind, caplog):
    shutil.copytree(run.path if kind == "run" else run.model, NAME)
    found = find_model(NAME)
    assert (found.run.path if isinstance(found, RunCheckpoint) else found) == (
        Path(NAME) if kind == "run" else ModelFolder(Path(NAME))
    )
    assert absolute(NAME) == Path.cwd() / NAME
    assert caplog.records == []


def test_photos_here_do_not(root, photo, caplog):
    """`redoseg segment faces faces/` is what people write."""
    Path(NAME).mkdir()
    assert find_model(NAME) == ModelFolder(root / NAME)
    assert absolute(NAME) == NAME
    assert [record.getMessage() for record in caplog.records] == [
        "'squares-small' is the model that comes with redoseg: ./squares-small here is no model"
    ]


@pytest.mark.parametrize("place", [f"./{NAME}", f"{NAME}/", Path(NAME)])
def test_a_place_is_no_name(root, place):
    Path(NAME).mkdir()
    with pytest.raises(ModelError, match=r"is neither a run \(run\.json\) nor a model's folder"):
        find_model(place)
    Path(NAME).rmdir()
    with pytest.raises(ModelError, match="no model"):
        find_model(place)


@pytest.mark.parametrize("name", ["squares-", "small", "-small", "", ".", "squares-small-small"])
def test_other_names_are_none_of_ours(root, name):
    assert shipped.shipped_folder(name) is None


def test_there_is_no_checkpoint_to_choose(root, capsys):
    assert main(["export", NAME, "--onnx", "f.onnx", "--checkpoint", "best"]) == 1
    assert "is not a run: --checkpoint and --weights choose within a run" in one_line(capsys)


def test_of_a_small_one_that_was_replaced_the_error_says_so(root):
    (root / NAME).rename(root / PLAIN)
    with pytest.raises(ModelError, match="'squares-small' comes with this version: squares has taken its"):
        find_model(NAME)


# Damage


def changed(file):
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("backend", ["onnx", "torch"])
@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("model.safetensors", changed),
        ("mask.onnx", changed),
        ("config.json", changed),
        ("generators.safetensors", Path.unlink),
        ("card.json", lambda file: file.write_text("{}")),
        ("card.json", lambda file: file.write_text("no json")),
    ],
)
def test_a_damaged_model_is_one_line(root, photo, capsys, file, damage, backend):
    damage(root / NAME / file)
    assert main(["segment", NAME, str(photo), "--out", "masks", "--backend", backend]) == 1
    assert one_line(capsys) == (
        f"redoseg: the model '{NAME}' is damaged ({file} isn't as it was shipped): reinstall redoseg (pip "
        "install --force-reinstall redoseg)\n"
    )
    assert not Path("masks").exists()


# The list


def test_the_list(root, run, capsys):
    assert main(["models", "--json"]) == 0
    (listed,) = json.loads(capsys.readouterr().out)
    told = {"name": NAME, "names": [NAME, PLAIN], "size": 32, "n": 2, "recipe": "default", "seed": 0}
    told |= {"rule": "last", "steps": 4, "ema": True, "subject": "squares"}
    assert {name: listed[name] for name in told} == told
    assert (listed["data"]["text"], listed["data"]["licence"]) == ("Bright squares", "CC0")
    evaluation = json.loads(run.evaluation.read_text())
    assert listed["scores"] == {
        "split": "val", "images": 5, **{row: evaluation[row] for row in ROWS}
    }  # fmt: skip
    files = {path.name: path for path in (root / NAME).iterdir() if path.name != "card.json"}
    assert listed["sha256"] == {name: sha256_of(path) for name, path in files.items()}
    assert listed["bytes"] == {name: path.stat().st_size for name, path in files.items()}
    assert "tmp" not in json.dumps(listed)  # no folder of this machine


def test_the_table(root, run, capsys):
    assert main(["models"]) == 0
    output = capsys.readouterr().out
    evaluation = json.loads(run.evaluation.read_text())
    for row in ROWS:
        assert f"{evaluation[row]['iou']:.3f}" in output
        assert f"{evaluation[row]['accuracy']:.3f}" in output
    sum_of_weights = sha256_of(root / NAME / "model.safetensors")
    for said in (NAME, f"(also {PLAIN})", "Bright squares", "32 px", "4 steps", "it can redraw"):
        assert said in output
    assert sum_of_weights in output


def test_without_models_there_is_a_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(shipped, "ROOT", tmp_path / "none")
    assert main(["models"]) == 0
    assert capsys.readouterr().out == "no model comes with this version: redoseg train makes one\n"
    assert main(["models", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_without_torch(root, photo):
    code = (
        f"{WITHOUT}from pathlib import Path\nimport redoseg.models.shipped\n"
        f"redoseg.models.shipped.ROOT = Path({str(root)!r})\n"
        "from redoseg.cli import main\n"
        f"sys.exit(main(['models']) or main(['segment', {PLAIN!r}, {str(photo)!r}, '--out', 'masks']))"
    )
    done = python(code)
    assert done.returncode == 0, done.stderr
    assert NAME in done.stdout
    assert done.stderr == ""
    with Image.open("masks/photo.png") as mask:
        found = Segmenter.from_pretrained(NAME, backend="torch")(photo)[1] > 0.5
        assert ((np.asarray(mask) > 0) == found).mean() > 0.999


def test_the_models_in_this_checkout_are_whole():
    """And load: those that it really comes with, within the budget."""
    for card in shipped.shipped_cards():
        folder = shipped.shipped_folder(card.name)
        assert {path.name for path in folder.iterdir()} == {*card.sha256, "card.json"}
        model = load_model(card.name)
        assert (model.f.n, model.f.size) == (card.n, card.size)
        assert OnnxBackend(folder / "mask.onnx").info["weights"] == weights_digest(
            folder / "model.safetensors"
        )
        assert largest_difference(model.f.cpu().eval(), folder / "mask.onnx") < TOLERANCE
        assert is_shared(folder / "mask.onnx")
        assert card.name == "birds" if card.scores is None else card.scores["images"] > 0
        assert card.data["licence"]
    budget, files = script("ship"), ship._checkout()
    weights = [file for file in files if file.suffix in ship._WEIGHTS]
    assert ship._bytes(weights) <= budget.MOST_WEIGHTS
    assert ship._bytes(files) <= budget.MOST_IN_ALL


# Redraws


def test_redraws_are_the_runs(root, run, photo):
    for model, file in ((NAME, "ours.png"), (run.path, "runs.png")):
        assert main(["redraw", str(model), str(photo), "--out", file, "--count", "3"]) == 0
    with Image.open("ours.png") as ours, Image.open("runs.png") as runs:
        apart = np.abs(np.asarray(ours).astype(int) - np.asarray(runs))
        assert apart.max() <= 1
        assert np.asarray(runs).std() > 10


@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_generators_in_half_precision(tmp_path, norm):
    """Three regions, attention, either norm; spectral norm is worked in, and f's own is left as it was."""
    options = {"size": 32, "n": 3, "g_width": 8, "code_size": 4, "attention": True, "g_norm": norm}
    config = TrainConfig.of(data="x", out="y", **options)
    G = build_networks(config, 0, torch.device("cpu")).G
    for generator in G:
        generator.get_parameter("attention.gain").data.fill_(0.7)
    before = {name: tensor.clone() for name, tensor in G.state_dict().items()}
    save_generators(G.eval(), tmp_path / "g.safetensors")
    assert equal(G.state_dict(), before)
    again = load_generators(config, tmp_path / "g.safetensors")
    assert not any(name.endswith((".u", ".v")) for name in again.state_dict())
    assert 0 < grey_level_difference(G, again, 32) < 2


def test_too_large_weights_are_refused(tmp_path):
    G = torch.nn.ModuleList([RegionGenerator(32, 4, 4)])
    G[0].get_parameter("first.weight").data[0, 0] = 1e6
    with pytest.raises(ModelError, match="too large for float16"):
        save_generators(G, tmp_path / "g.safetensors")
    assert list(tmp_path.glob("*.safetensors")) == []


# The script


@pytest.fixture
def empty(tmp_path, monkeypatch):
    monkeypatch.setattr(shipped, "ROOT", tmp_path / "new" / "shipped")
    (tmp_path / "new").mkdir()
    return shipped.ROOT


def test_without_generators(empty, run, capsys, photo):
    assert ship.main([str(run.path), NAME, *TOLD]) == 0
    output = capsys.readouterr().out
    names = ["card.json", "config.json", "mask.onnx", "model.safetensors", "refining.json"]
    assert sorted(path.name for path in (empty / NAME).iterdir()) == names
    assert all(f"{empty / NAME / name}: " in output for name in names)
    assert "checkpoint: the last one (no label chose it), 4 steps" in output
    assert "redoseg train photos --out runs/squares-small --size 32" in output
    assert main(["redraw", NAME, str(photo), "--out", "r.png"]) == 1
    assert "no generators to redraw with" in one_line(capsys)


def test_a_run_whose_checkpoints_are_gone(empty, run, tmp_path, capsys):
    copied = RunFolder(shutil.copytree(run.path, tmp_path / "copied"))
    shutil.rmtree(copied.checkpoints)
    assert ship.main([str(copied.path), NAME, *TOLD]) == 1
    assert "has no checkpoint 'last'" in one_line(capsys)
    assert ship.main([str(copied.path), NAME, *TOLD, "--saved-model"]) == 0
    assert equal(load_model(NAME).f.state_dict(), load_model(run.path).f.state_dict())
    assert load_model(NAME).checkpoint == load_model(run.path).checkpoint


def test_a_student_of_the_small_model_has_its_commands_first(empty, run, tmp_path, monkeypatch):
    assert ship.main([str(run.path), f"{NAME}-small", *TOLD]) == 0
    small = read_card(empty / f"{NAME}-small")
    made = dataclasses.replace(
        small, name=NAME, commands=(f"redoseg distill {NAME}-small --out runs/{NAME}",)
    )
    assert ship._from_the_start(made) == (
        *small.commands, f"redoseg distill runs/{NAME}-small --out runs/{NAME}"
    )  # fmt: skip
    other = dataclasses.replace(made, commands=(f"redoseg distill birds --out runs/{NAME}",))
    assert ship._from_the_start(other) == other.commands
    assert ship.main([str(run.path), NAME, *TOLD]) == 0
    assert [path.name for path in empty.iterdir()] == [NAME]
    assert ship._from_the_start(made) == made.commands


def test_another_evaluation(empty, run, data, tmp_path, capsys):
    line = ["evaluate", str(run.path), str(data), "--checkpoint", "2", "--json", "--split", "val"]
    assert main(line) == 0
    (tmp_path / "scores.json").write_text(capsys.readouterr().out)
    options = ["--evaluation", str(tmp_path / "scores.json"), "--split", "val", "--checkpoint", "2"]
    assert ship.main([str(run.path), NAME, *TOLD, *options]) == 0
    card = read_card(empty / NAME)
    assert (card.rule, card.steps) == ("step", 2)
    assert "--steps 2" in card.commands[0]
    written = json.loads((tmp_path / "scores.json").read_text())["as_written"]
    assert card.scores["as_written"] == written
    capsys.readouterr()
    assert main(["models"]) == 0
    assert f"{written['iou']:.3f}" in capsys.readouterr().out
    assert main(["export", NAME, "--hub-folder", "hub"]) == 0
    row = f"nothing matched (`as_written`) | {written['iou']:.3f} | {written['accuracy']:.3f} |"
    assert row in Path("hub/README.md").read_text()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ["--checkpoint", "2"],
            r"there are no scores of .+ at step 2: redoseg evaluate .+ --evaluation FILE",
        ),
        (["--checkpoint", "9"], "has no checkpoint '9'"),
        (["--saved-model", "--generators"], "holds no generators"),
        (["--evaluation", "nowhere.json"], "there are no scores"),
    ],
)
def test_what_the_script_refuses(empty, run, capsys, options, said):
    assert ship.main([str(run.path), NAME, *TOLD, *options]) == 1
    error = one_line(capsys)
    assert error.startswith("ship.py: ")
    assert re.search(said, error)
    assert not empty.exists()


@pytest.mark.parametrize("name", ["Faces", "a/b", "../x", "", "-a", "a b", "."])
def test_names_that_it_refuses(empty, run, capsys, name):
    assert ship.main([str(run.path), *TOLD, "--", name]) == 1
    assert "is no name for a model" in one_line(capsys)


@pytest.mark.parametrize("budget", ["MOST_WEIGHTS", "MOST_IN_ALL"])
def test_a_budget_that_it_would_break(root, run, capsys, monkeypatch, budget):
    """What is there stays as it is."""
    before = (root / NAME / "card.json").read_bytes()
    monkeypatch.setattr(ship, budget, 1000)
    assert ship.main([str(run.path), NAME, *TOLD]) == 1
    assert "bytes, more than 1,000: remove or shrink others first" in one_line(capsys)
    assert (root / NAME / "card.json").read_bytes() == before
    assert (root / NAME / "generators.safetensors").is_file()
