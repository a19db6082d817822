"""README's commands and lines of Python do what it says, on a small folder of photos."""

import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from native_made import flowers as make_flowers
from redoseg.automation.folder import Plan
from redoseg.cli import main
from redoseg.reproduction.protocol import SETS, Experiment, locate

pytestmark = pytest.mark.training

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
TINY = (
    "--size 32 --width 4 --g-width 4 --f-width 4 --f-blocks 1 --code-size 4 --batch 4 --steps 2 --device cpu "
    "--max-restarts 0 --collapse-below 0 --collapse-variation 0"
)

SMALL = {
    "train": TINY,
    "distill": "--f-width 4 --f-blocks 1 --batch 4 --steps 2 --confident 0 --object-share 0 1",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with photos/, as the README assumes one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REDOSEG_CACHE", str(tmp_path / "cache"))
    random = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for name in ("one", "two", "three", "four", "five"):
        pixels = random.integers(0, 256, (40, 48, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{name}.jpg")
    return tmp_path


def test_commands_and_python(folder: Path) -> None:
    commands = commands_of("The parts")
    assert [command[0] for command in commands] == ["train", "distill", "segment", "redraw"]
    for command in commands:
        assert main(command + shlex.split(SMALL.get(command[0], ""))) == 0
    assert sorted(file.name for file in (folder / "masks").iterdir()) == [
        *("five.png", "four.png", "one.png", "three.png", "two.png")
    ]
    with Image.open(folder / "masks" / "one.png") as mask:
        assert mask.size == (48, 40)
        assert set(np.unique(np.asarray(mask))) <= {0, 255}
    assert (folder / "redrawn.png").is_file()


def test_look_correct_and_go_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report, fix = commands_of("Look, correct, go on")
    assert (report[:2], fix[:2]) == (["report", "runs/mine"], ["fix", "runs/mine"])
    game = ["train", "photos/", "--out", "runs/mine", *shlex.split(SMALL["train"])]
    assert main(game) == 0
    assert main(report) == 0
    assert (folder / "report.html").is_file()
    (folder / "corrected").mkdir()
    drawn = np.zeros((40, 48), np.uint8)
    drawn[10:30, 12:36] = 255
    Image.fromarray(drawn).save(folder / "corrected" / "one.png")
    ticks = {"redoseg": "ticks", "model": "runs/mine", "wrong": ["photos/two.jpg"], "right": []}
    (folder / "ticks.json").write_text(json.dumps(ticks))
    assert main([*fix, "--steps", "1"]) == 0
    assert (folder / "runs" / "better" / "model").is_dir()


def test_a_folder_at_once_and_python(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for index in range(20):
        shutil.copy(folder / "photos" / "one.jpg", folder / "photos" / f"{index}.jpg")
    plan = Plan({"disc": "first:disc"}, 25, 1, 1, 1, 4, 1.0)
    monkeypatch.setattr("redoseg.automation.auto.make_plan", lambda *_: plan)
    commands = commands_of("Your own folder")
    assert [command[0] for command in commands] == ["auto", "auto", "segment"]
    assert commands[1][-1] == "--trim"
    for command in commands:
        assert main(command) == 0
    for kind in ("trimmed/photos", "masks"):
        assert len(list((folder / "runs" / "framed" / kind).iterdir())) == 25
    assert not list((folder / "sure").iterdir())  # a disc that learned for a step is sure of nothing
    for kind in ("masks", "cutouts"):
        with Image.open(folder / "runs" / "mine" / kind / "two.png") as written:
            assert written.size == (48, 40)
    assert (folder / "runs" / "mine" / "page.png").is_file()
    assert (folder / "runs" / "mine" / "photos.csv").is_file()

    names: dict[str, np.ndarray] = {}
    exec(re.findall(r"```python\n(.+?)```", README, re.DOTALL)[0], names)
    assert names["masks"].shape == (2, 40, 48)
    np.testing.assert_allclose(names["masks"].sum(0), 1, atol=1e-6)


def commands_of(section: str) -> list[list[str]]:
    text = README.split(f"## {section}")[1].split("\n## ")[0]
    return [
        shlex.split(line, comments=True)[1:] for line in re.findall(r"^    (redoseg .+)$", text, re.MULTILINE)
    ]


def test_a_few_masks(folder: Path) -> None:
    for kind in ("images", "masks"):
        (folder / "few" / kind).mkdir(parents=True)
    for name in ("one", "two"):
        with Image.open(folder / "photos" / f"{name}.jpg") as photo:
            photo.save(folder / "few" / "images" / f"{name}.png")
            photo.convert("L").point(lambda grey: 255 * (grey > 127)).save(
                folder / "few" / "masks" / f"{name}.png"
            )
    (command,) = commands_of("A few masks")
    assert main(command + shlex.split(TINY)) == 0
    assert '"labelled": 2' in (folder / "runs" / "few" / "run.json").read_text()


def test_the_papers_experiments(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What fetches gigabytes or trains for hours is only asked for; the set is a small one of that form."""
    asked = []

    def experiment(asked_for: Experiment) -> Path:
        asked.append((asked_for.scale.name, asked_for.sets, locate(SETS["flowers"], asked_for.root)))
        made = asked_for.folder("table1")
        made.mkdir(parents=True)
        (made / "table.md").write_text("| set |\n")
        return made

    monkeypatch.setattr("redoseg.reproduction.catalogue.EXPERIMENTS", {"table1": experiment})
    monkeypatch.setattr("redoseg.data.download.download.download", lambda *_: [])
    make_flowers(folder / "data" / "flowers")
    done = {" ".join(command): main(command) for command in commands_of("The paper's experiments")}
    assert [command.split()[0] for command in done] == ["data", "data", "reproduce", "reproduce", "baseline"]
    # A handful of flowers is not the whole set, and `data download` says so.
    assert [code for command, code in done.items() if "download" in command] == [1]
    assert {code for command, code in done.items() if "download" not in command} == {0}
    flowers = ("flowers:data/flowers",)
    assert asked == [("paper", ("flowers",), flowers), ("small", ("flowers",), flowers)]


def test_a_model_by_name(folder: Path) -> None:
    """The commands of "Masks now", but for the installation."""
    commands = commands_of("Masks now")
    assert [command[0] for command in commands] == ["models", "segment", "segment"]
    for command in commands:
        assert main(command) == 0
    assert (folder / "out" / "coco.json").is_file()
    assert len(list((folder / "out" / "cutout").iterdir())) == 5
    assert len(list((folder / "masks").iterdir())) == 5


def test_make_targets_are_the_two_commands() -> None:
    makefile = (Path(__file__).parent.parent / "Makefile").read_text(encoding="utf-8")
    commands = re.findall(r"^    make (\w+)$", README, re.MULTILINE)
    assert commands == ["demo", "test"]
    assert all(re.search(rf"^{command}:", makefile, re.MULTILINE) for command in commands)


ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_linked_files_exist() -> None:
    for page in PAGES:
        for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_files_of_code_that_pages_name_exist(page: Path) -> None:
    """By their path from the checkout or in the package; a bare name says nothing of where it is."""
    named = set(re.findall(r"[\w./-]*\w\.py\b", page.read_text(encoding="utf-8")))
    places = (ROOT, ROOT / "src" / "redoseg")
    assert [name for name in sorted(named) if not any((place / name).is_file() for place in places)] == []


def test_functions_that_pages_place_in_a_file_are_there() -> None:
    """Where a page says `name` in `folder/file.py`."""
    placed = [
        found for page in PAGES for found in re.findall(r"`(\w+)` in `([\w/]+\.py)`", page.read_text("utf-8"))
    ]
    assert ("find_model", "models/source.py") in placed
    for name, file in placed:
        code = (ROOT / "src" / "redoseg" / file).read_text(encoding="utf-8")
        assert re.search(rf"\b(def|class) {name}\b|^{name}\b", code, re.MULTILINE), f"{name} in {file}"
