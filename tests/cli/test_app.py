"""The command: what it prints, what it writes, its exit codes, one line for every mistake."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from redoseg.cli.complaints import one_line
from redoseg.cli.usage import SEVERAL
from redoseg.config import DistillConfig, TrainConfig
from redoseg.config.recipes import DEMO
from redoseg.evaluation.evaluate import Evaluation
from redoseg.files import read_json
from redoseg.label_free.verdict import Verdict
from redoseg.models.run_folder import RunFolder
from redoseg.models.weights import load_tensors
from redoseg.version import __version__
from run_compared import equal
from tinyruns import TINY, photos, tiny, trained

pytestmark = pytest.mark.training

COMMANDS = ["train", "resume", "distill", "evaluate", "segment", "redraw", "demo"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return photos(tmp_path_factory.mktemp("data") / "photos", size=40)


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    return trained(tiny(data, tmp_path_factory.mktemp("runs") / "run", steps=2))


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Nothing is written but where it is told, and no hub is asked."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("REDOSEG_CACHE", str(tmp_path / "cache"))


def options(**changed):
    """The tiny run's, as they are typed."""
    for name, value in (TINY | changed).items():
        yield f"--{name.replace('_', '-')}"
        if not isinstance(value, bool):
            yield value


def assert_one_line(found, said, code=1):
    assert found[0] == code
    assert found[1] == ""
    assert found[2].startswith("redoseg: ")
    assert found[2].count("\n") == 1
    assert said in found[2]


# Help and version


@pytest.mark.parametrize("name", [None, *COMMANDS])
def test_help(command, name):
    code, output, said = command(*[name] * (name is not None), "--help")
    assert code == 0
    assert said == ""
    assert "usage: redoseg" in output
    if name is None:
        assert all(other in output for other in COMMANDS)


def test_trains_help_names_every_option(command):
    text = " ".join(command("train", "--help")[1].replace("│", " ").split())
    for name in vars(tiny_config()):
        assert name == "data" or f"--{name.replace('_', '-')}" in text
    assert "Print what was found in the data and the options that matter, then stop." in text
    assert "Updates of the generators; each is followed by one of the discriminator. (default: 30000)" in text


def boxes(text):
    """The flags of a help text, by the titles of its boxes, in order."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        title, flag = line.strip("╭─╮│ "), re.match(r"[│ ] (--[\w-]+)", line)
        if title.endswith(" options") or title in ("options", "positional arguments"):
            flags = found[title] = []
        elif flag:
            flags.append(flag[1])
    return found


@pytest.mark.parametrize(
    ("name", "first", "others"),
    [
        (
            "train",
            "--out --recipe --settings --n --size --batch --steps --minutes --seed --labelled",
            "data, network, game, loss and optimizer, what f sees: augmentation, checkpoint, machine",
        ),
        (
            "distill",
            "--out --checkpoint --data --targets --size --f-width --f-blocks --steps --minutes --batch "
            "--seed",
            "teacher, data, loss and optimizer, what f sees: augmentation, checkpoint, machine",
        ),
    ],
)
def test_help_is_in_groups_with_what_people_use_first_first(command, monkeypatch, name, first, others):
    monkeypatch.setenv("COLUMNS", "100")
    found = boxes(command(name, "--help")[1])
    titles = [f"{title} options" for title in others.split(", ")]
    assert list(found) == ["positional arguments", "options", *titles]
    own = (
        "--dry-run",
        "--json",
        "--tries",
        "--try-steps",
        "--rounds",
    )  # no options of a run, but of what is done with it
    assert [flag for flag in found["options"] if flag not in own] == first.split()
    flags = [flag for box in found.values() for flag in box]
    assert len({*flags}) == len(flags)
    assert not any("." in flag for flag in flags)
    assert {"--lr", "--shift"} <= {*flags}


def test_distill_takes_minutes_and_compile(command, monkeypatch):
    seen: list[DistillConfig] = []
    monkeypatch.setattr("redoseg.cli.distill.check_teacher", lambda run: None)  # there is none
    monkeypatch.setattr("redoseg.cli.distill._distill", lambda config, rounds: seen.append(config))
    monkeypatch.setattr("redoseg.cli.distill.trained", lambda train, out: train() or 0)
    assert command("distill", "--compile", "off", "run", "--minutes", "2", "--out", "student")[0] == 0
    config = DistillConfig(run=Path("run"), out=Path("student"), minutes=2.0, compile="off")
    assert seen == [config]
    assert_one_line(
        command("distill", "run", "--out", "student", "--minutes", "0"),
        "--minutes is 0.0: it must be positive",
    )


def tiny_config():
    return TrainConfig.of(data=("digit",), out="run")


@pytest.mark.parametrize("option", ["--version", "-V"])
def test_version(command, option):
    assert command(option) == (0, f"redoseg {__version__}\n", "")


def test_help_and_version_import_nothing_that_is_slow():
    """In a process of their own: none of these modules is there already."""
    code = (
        "import sys, contextlib, io\n"
        "import redoseg.cli\n"
        f"for line in {[['--version'], ['--help'], *([name, '--help'] for name in COMMANDS)]}:\n"
        "    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):\n"
        "        redoseg.cli.main(line)\n"
        "print(sorted({'torch', 'numpy', 'PIL', 'scipy', 'sklearn', 'huggingface_hub'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    ("line", "code", "output", "said"),
    [
        ("--version", 0, f"redoseg {__version__}\n", ""),
        ("train digit --out run --size 33", 1, "", "redoseg: --size is 33: use 32, 64, 128 or 256\n"),
    ],
    ids=["version", "mistake"],
)
@pytest.mark.parametrize(
    "program",
    [[sys.executable, "-m", "redoseg"], [Path(sys.executable).parent / "redoseg"]],
    ids=["-m", "script"],
)
def test_it_is_a_program(program, line, code, output, said):
    found = subprocess.run([*program, *line.split()], capture_output=True, text=True)
    assert (found.returncode, found.stdout, found.stderr) == (code, output, said)


# Bad usage: 2


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "Missing subcommand"),
        ("learn digit", "learn"),
        ("train digit", "--out"),
        ("train digit --out run --learning-rate 1", "--learning-rate"),
        ("train digit --out run --steps many", "--steps"),
        ("train digit --out run --recipe own", "default, paper, authors"),
        ("train digit --out run --settings own", "none, lfw, flowers, cub, digits"),
        ("train digit --out run --redraw two", "one, each, all"),
        ("train digit --out run --recipe", "--recipe"),
        ("resume", "resume needs the run's folder"),
        ("evaluate", "a run's folder, a model's folder, a hub id, or a name from `redoseg models`"),
        ("evaluate run digit --weights new", "--weights can't be 'new', choose from ema, raw"),
        ("segment run photos", "--out"),
        ("redraw run photo.png", "--out"),
        ("demo digit", "digit"),
    ],
)
def test_bad_usage(command, tmp_path, line, said):
    code, output, error = command(*line.split())
    assert code == 2
    assert said in " ".join(error.replace("│", " ").split())
    assert output == ""
    assert list((tmp_path / "here").iterdir()) == []


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("train digit --out run --minuts 1", "train has no option --minuts, the nearest is --minutes: "),
        ("train digit --out run --lr_g=1", "train has no option --lr_g, the nearest is --lr"),
        ("segment run photos --out masks --overwrit", "no option --overwrit, the nearest is --overwrite: "),
        ("segment run photos --out masks --qqqq", "segment has no option --qqqq: "),
        ("distill run --out run2 --rond 3", "distill has no option --rond, the nearest is --rounds: "),
        ("demo digit", "demo can't take digit: "),
    ],
)
def test_an_unknown_option_is_one_line_with_the_nearest_and_its_own_help(command, line, said):
    found = command(*line.split())
    assert_one_line(found, said, code=2)
    assert f"`redoseg {line.split()[0]} --help` lists what it takes" in found[2]


@pytest.mark.parametrize(
    "line",
    [
        "auto photos --out run --starts",
        "auto photos --starts --out run",
        "fix run --masks -o better",
        "segment run photos --out masks --type --annotations coco",
        "distill run --out run2 --data",
    ],
)
def test_an_option_without_its_value_is_one_line(command, line):
    code, output, said = command(*line.split())
    assert (code, output) == (2, "")
    option = next(word for word in line.split() if word in SEVERAL)
    assert said == f"redoseg: {option} has no value: give it one, or leave it out\n"


def test_help_comes_before_a_missing_value(command):
    code, output, _ = command("auto", "--starts", "--help")
    assert code == 0
    assert "--starts" in output


@pytest.mark.parametrize("name", ["auto", "fix", "distill", "reproduce", "segment", "train", "baseline"])
def test_options_that_could_be_empty_are_known(command, name):
    text = command(name, "--help")[1]
    assert set(re.findall(r"(--[\w-]+) \[", text)) <= set(SEVERAL)


def test_an_unknown_command_is_one_line_with_the_nearest(command):
    found = command("segmnt", "run", "photos")
    assert_one_line(found, "there is no command segmnt, the nearest is segment: `redoseg --help`", code=2)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("auto photos --out x --minutes twelve", "--minutes can't be 'twelve', it must be a number: "),
        ("train digit --out run --steps many", "--steps can't be 'many', it must be a whole number: "),
        ("train digit --out run --blur 1 2", "--blur can't be '1', '2', it must be 4 numbers: "),
        (
            "segment m p --out x --annotations cocoa",
            "--annotations can't be 'cocoa', choose from coco, coco-rle, ",
        ),
        ("segment m p --out x --category", "--category has no value behind it: "),
        ("auto photos", "auto needs --out (folder for the model, masks, cut-outs, table and page): "),
        ("report", "report needs a run's folder, a model's folder, an ONNX file, a hub id, or a name from "),
        ("report", " and --out (the page, such as report.html): "),
    ],
)
def test_a_value_that_cannot_be_or_is_missing_is_one_line(command, line, said):
    found = command(*line.split())
    assert_one_line(found, said, code=2)
    assert f"`redoseg {line.split()[0]} --help` lists what it takes" in found[2]


def test_a_box_that_is_not_known_stays_as_it_is():
    assert one_line("╭─ Odd ─╮\n│ Something new. │\n╰───────╯", "auto") is None


# Mistakes: 1, one line


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "train nowhere --out run",
            "nowhere: give a folder, a .tar, a .zip, flowers:DIR, lfw:DIR, cub:DIR, or `digits` or `digit`",
        ),
        ("train empty --out run", "empty holds no images"),
        ("train broken --out run", "broken: not one of its 3 images decodes: 0.jpg ("),
        ("train --out run", "no data: name a folder of images, an archive, 'digits' or 'digit'"),
        ("train DATA digit --out run", "can't be joined with other data: give them alone"),
        ("train digit --out run --n 3", "`digit` has 2 regions: give --n 2, not 3"),
        ("train digit --out run --steps 0", "--steps is 0: it must be at least 1"),
        ("train digit --out run --seed -1", "--seed is -1: it must be at least 0"),
        ("train digit --out run --lr nan", "--lr is nan: it must be a finite number"),
        ("train digit --out run --minutes inf", "--minutes is inf: it must be a finite number"),
        ("train digit --out run --device nowhere", "--device nowhere can't be used"),
        ("train digit --out run --blur 0 0 2 2", "--blur wants left top right bottom"),
        ("train digit --out run --mnist nowhere", ": --mnist needs a folder with MNIST's four IDX files"),
        ("train digit --out empty/../file", "file is there and is no run: choose another --out"),
        (
            "train digit --out file/run --size 32 --width 4 --g-width 4 --f-width 4",
            "file/run: Not a directory",
        ),
        ("train digit --out broken", "broken is there and is no run: choose another --out"),
        ("train digit --dry-run --out broken", "broken is there and is no run: choose another --out"),
        ("resume nowhere", "nowhere holds no run: `redoseg train DATA --out nowhere` begins one"),
        ("resume file", "file holds no run"),
        ("resume empty", "empty holds no run"),
        ("evaluate nowhere digit", "no model 'nowhere': give a run's folder"),
        ("evaluate file digit", "file is neither a run (run.json) nor a model's folder (config.json)\n"),
        ("evaluate RUN", "no data to score on"),
        ("evaluate RUN DATA --split train2", "photos has no split `train2`: there is train, val; ask"),
        ("evaluate RUN nowhere", "there is no"),
        ("evaluate RUN DATA --checkpoint 77", "has no checkpoint '77' (steps kept: 2)"),
        ("evaluate RUN DATA --device nowhere", "--device nowhere can't be used"),
        (
            "evaluate RUN/model DATA --checkpoint best",
            "is not a run: --checkpoint and --weights choose within a run\n",
        ),
        ("evaluate RUN digits", "`digits` has 3 regions: give --n 3, not 2"),
        ("segment nowhere broken --out masks", "no model 'nowhere'"),
        ("segment RUN --out masks", "no photos: name images, folders or archives"),
        ("segment RUN DATA --out DATA", ": masks would be taken for photos"),
        ("export nowhere --onnx a.onnx", "no model 'nowhere'"),
        ("export RUN/model --onnx a.onnx --checkpoint 3", "is not a run"),
        ("redraw nowhere DATA/images/000.png --out a.png", "no model 'nowhere'"),
        ("redraw RUN nowhere.png --out a.png", "nowhere.png"),
        ("redraw RUN broken/0.jpg --out a.png", "broken/0.jpg: not an image"),
        ("redraw RUN empty --out a.png", "empty"),
        (
            "redraw RUN DATA/images/000.png --out a.png --region 2",
            "no region 2: the model knows 0 (the background) to 1",
        ),
        ("redraw RUN DATA/images/000.png --out a.png --count 0", "--count is 0"),
        (
            "redraw RUN/model DATA/images/000.png --out a.png",
            "this checkpoint holds the mask network only, no generators to redraw with: name a run of",
        ),
        ("redraw RUN DATA/images/000.png --out a.png --checkpoint 2", "no generators to redraw with"),
        ("demo --out broken", "broken is there and is no run"),
        ("demo --out run --steps 0", "--steps is 0"),
    ],
)
def test_a_mistake_is_one_line(command, tmp_path, run, data, line, said):
    for name in ("empty", "broken"):
        os.mkdir(name)
    for index in range(3):
        (tmp_path / "here" / "broken" / f"{index}.jpg").write_text("no photo")
    (tmp_path / "here" / "file").write_text("a file")
    line = [part.replace("RUN", str(run.path)).replace("DATA", str(data)) for part in line.split()]
    assert_one_line(command(*line), said)
    assert not any((tmp_path / "here" / name).exists() for name in ("run", "a.png", "a.onnx"))


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        (["empty"], ["empty"]),
        (["nowhere", "DATA", "empty", "broken"], ["nowhere", "empty", "0.jpg", "1.jpg"]),
    ],
    ids=["all", "some"],
)
def test_segment_names_what_it_cant_do(command, tmp_path, run, data, inputs, said):
    """Each in a line; the rest is done."""
    (tmp_path / "here" / "empty").mkdir()
    (tmp_path / "here" / "broken").mkdir()
    for index in range(2):
        (tmp_path / "here" / "broken" / f"{index}.jpg").write_text("no photo")
    line = [name.replace("DATA", str(data)) for name in inputs]
    code, _, error = command("segment", run.path, *line, "--out", "masks")
    assert code == 1
    lines = error.splitlines()
    assert len(lines) == len(said)
    assert all(line.startswith("redoseg: ") for line in lines)
    assert all(any(name in line for line in lines) for name in said)
    assert len(list(Path("masks").rglob("*.png"))) == 15 * ("DATA" in inputs)


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("CUDA out of memory. Tried to\nallocate 2 GiB")]
)
def test_out_of_memory_says_what_to_lower(command, run, data, monkeypatch, error):
    def fail(*arguments, **options):
        raise error

    monkeypatch.setattr("redoseg.evaluation.evaluate.evaluate", fail)
    cure = "out of memory: lower --batch, --size, --width or --g-width"
    assert_one_line(command("evaluate", run.path, data), cure)


def test_a_defect_is_not_hidden(command, run, data, monkeypatch):
    def fail(*arguments, **options):
        raise RuntimeError("shapes differ")

    monkeypatch.setattr("redoseg.evaluation.evaluate.evaluate", fail)
    with pytest.raises(RuntimeError, match="shapes differ"):
        command("evaluate", run.path, data)


def test_ctrl_c_before_a_run_is_begun(command, data, monkeypatch):
    def stop(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("redoseg.data.dataset.open_dataset", stop)
    assert command("train", data, "--out", "run") == (130, "", "\nstopped before it began\n")
    assert not os.path.exists("run")


# train, resume, demo


def test_train(command, data, run):
    """The table, where to look, what to do next; the same command again goes on."""
    line = ("train", data, "--out", "my run", *options(steps=2))
    code, output, said = command(*line)
    assert code == 0
    assert "Traceback" not in said
    for row in ("per_dataset", "per_image", "trivial: one fixed mask,", "trivial: one centred"):
        assert row in " ".join(output.replace("│", " ").split())
    assert "my run/samples/step-0000002.png" in output
    assert "redoseg segment 'my run' PHOTOS --out MASKS" in output
    ours, (theirs, _) = RunFolder(Path("my run")), load_tensors(run.last)
    tensors, _ = load_tensors(ours.last)
    assert equal(tensors, theirs)

    code, _, said = command(*line, "--steps", "3")
    assert code == 0
    assert "going on with my run at step 2" in said
    assert load_tensors(ours.last)[1]["step"] == 3


def test_train_refuses_a_changed_option(command, data, run):
    found = command("train", data, "--out", run.path, *options(steps=2, lr=1.0))
    assert_one_line(
        found, f"{run.path} was trained with --lr 0.0005, not 1.0: go back to that, or choose another --out"
    )


def test_resume(command, data):
    trained(tiny(data, Path("run"), steps=1))
    code, output, said = command("resume", "run", "--steps", "2")
    assert code == 0
    assert "going on with run at step 1" in said
    assert "run/samples/step-0000002.png" in output
    assert load_tensors(RunFolder(Path("run")).last)[1]["step"] == 2


def test_without_masks_there_is_no_table(command, tmp_path):
    code, output, _ = command(
        "train", photos(tmp_path / "bare", masks=False), "--out", "run", *options(steps=1)
    )
    assert code == 0
    assert "per_dataset" not in output
    assert "run/samples/step-0000001.png" in output
    assert Verdict.from_json(read_json(Path("run/verdict.json"))).text in output


def test_demo(command, data, monkeypatch):
    monkeypatch.setattr("redoseg.cli.train.DEMO", TINY | {"data": (str(data),)})
    code, output, _ = command("demo", "--steps", "1", "--threads", "1", "--device", "cpu")
    assert code == 0
    assert "per_dataset" in output
    assert "as_written" in output
    assert "runs/demo/samples/step-0000001.png" in output
    code, output, said = command("demo", "--steps", "2", "--threads", "1", "--device", "cpu")
    assert code == 0
    assert "going on with runs/demo at step 1" in said
    assert "runs/demo/samples/step-0000002.png" in output


@pytest.mark.parametrize(("lacks", "precision"), [(True, "float32"), (False, "bfloat16")])
def test_the_demo_computes_in_what_the_processor_is_quick_in(command, data, monkeypatch, lacks, precision):
    monkeypatch.setattr("redoseg.cli.train.DEMO", TINY | {"data": (str(data),)})
    monkeypatch.setattr("redoseg.tensors.lacks_bfloat16", lambda device: lacks)
    assert command("demo", "--steps", "1", "--device", "cpu")[0] == 0
    assert RunFolder(Path("runs/demo")).config().precision == precision


def test_the_demo_is_a_run_on_drawn_scenes():
    config = TrainConfig.of(out="runs/demo", **DEMO)
    assert config.data == ("digit",)
    assert config.n == 2


def test_a_home_folder_is_written_out_wherever_it_stands(command, data, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert command("train", data, "--out=~/run", *options(steps=1))[0] == 0
    assert RunFolder(tmp_path / "home" / "run").exists
    assert TrainConfig.of(data="digit", out="~/run").out == tmp_path / "home" / "run"
    assert not Path("~").exists()


# --dry-run, recipes and settings


def dry_run(command, *arguments):
    code, output, said = command("train", "digit", "--out", "run", "--dry-run", "--json", *arguments)
    assert (code, said) == (0, "")
    assert not os.path.exists("run")
    return json.loads(output)


def test_dry_run_says_what_would_be_done_and_does_nothing(command, tmp_path, data):
    found = dry_run(command, "--size", "32", "--steps", "7")
    assert found.keys() == {"config", "data"}
    config = TrainConfig.from_json(found["config"])
    assert config == TrainConfig.of(data=("digit",), out=config.out, size=32, steps=7).resolved()
    assert found["data"]["splits"] == {
        "train": {"images": 50_000, "labelled": 50_000},
        "val": {"images": 1000, "labelled": 1000},
        "test": {"images": 1000, "labelled": 1000},
    }
    assert list((tmp_path / "here").iterdir()) == []

    code, output, _ = command("train", data, data, "--dry-run", "--json", "--out", "run", *options())
    assert code == 0
    assert json.loads(output)["data"]["splits"]["train"] == {"images": 20, "labelled": 20}


def test_a_dry_run_is_short(command, data):
    line = [*options(steps=9, recipe="paper"), "--minutes", 3, "--cache", data.parent / "cache"]
    code, output, _ = command("train", data, "--out", "run", "--dry-run", *line)
    assert code == 0
    lines = dict(line.split(maxsplit=1) for line in output.splitlines())
    assert lines["data"] == "photos: 10 train (10 with masks), 5 val (5 with masks)"
    assert lines["networks"] == "32 x 32 pixels, 2 regions; width 4 of f, 4 of G, 4 of D"
    first = "--recipe paper --settings none --n 2 --size 32 --batch 4 --steps 9 --minutes 3.0 --seed 0"
    assert lines["options"] == f"--out run {first}"
    assert "--lr-f 0.005" in lines["and"]
    assert "--lambda-z" not in lines["and"]  # it is the recipe's
    assert lines["time"].startswith("it ends after 3 minutes")
    assert not os.path.exists("run")
    assert "--dry-run --json" in lines["all"]
    assert_one_line(command("train", data, "--out", "run", "--json"), "--json is for --dry-run")


def test_dry_run_of_a_run_that_is_there(command, data, run):
    before = {file: file.stat().st_mtime_ns for file in run.path.rglob("*")}
    code, output, _ = command("train", data, "--out", run.path, *options(steps=9), "--dry-run", "--json")
    assert code == 0
    assert json.loads(output)["config"]["steps"] == 9
    assert {file: file.stat().st_mtime_ns for file in run.path.rglob("*")} == before
    found = command("train", data, "--out", run.path, *options(batch=5), "--dry-run")
    assert_one_line(found, "--batch 4, not 5")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", {"recipe": "default", "settings": "none", "lr": 5e-4, "lambda_z": 10.0, "g_width": 64}),
        ("--recipe paper", {"recipe": "paper", "lr": 1e-4, "g_norm": "batch", "g_width": 64}),
        ("--recipe=authors", {"recipe": "authors", "redraw": "each", "resize": "nearest"}),
        ("--settings cub", {"settings": "cub", "g_width": 32, "lr": 5e-4}),
        ("--recipe paper --settings cub", {"lr": 1e-4, "g_width": 32, "lambda_z": 5.0}),
        ("--settings lfw --recipe paper", {"lr": 1e-4, "g_width": 64, "lambda_z": 15.0}),
        ("--recipe paper --settings cub --g-width 16", {"lr": 1e-4, "g_width": 16}),
        ("--g-width 16 --settings cub --recipe paper", {"lr": 1e-4, "g_width": 16}),
        ("--lr 5e-4 --recipe paper", {"lr": 5e-4, "lr_f": 1e-5}),  # the default, but asked for
        ("--lambda-z 5 --settings lfw", {"lambda_z": 5.0}),
        ("--recipe authors --redraw one --delta-input composed", {"redraw": "one", "fakes": "same"}),
        ("--recipe paper --no-delta-attention", {"delta_attention": False, "init": "orthogonal"}),
        ("--settings digits --n 2", {"n": 2, "code_size": 16}),
    ],
)  # fmt: skip
def test_explicit_options_over_settings_over_the_recipe(command, line, expected):
    config = dry_run(command, *line.split())["config"]
    assert {name: config[name] for name in expected} == expected


# evaluate


@pytest.mark.parametrize("model", ["", "model"])
def test_evaluate_json(command, data, run, model):
    code, output, _ = command("evaluate", run.path / model, data, "--json", "--device", "cpu")
    assert code == 0
    found, written = json.loads(output), read_json(run.evaluation)
    chosen = {"rule": "as shipped", "step": None, "ema": None} if model else written["checkpoint"]
    assert written["as_written"] is None  # at a run's end f alone is scored
    assert found == written | {"checkpoint": chosen, "as_written": found["as_written"]}
    assert set(found["as_written"]) == set(found["per_dataset"])


@pytest.mark.parametrize(
    ("line", "checkpoint"),
    [
        ("--checkpoint last --weights raw", {"rule": "last", "step": 2, "ema": False}),
        ("--checkpoint 2", {"rule": "step", "step": 2, "ema": True}),
        ("--checkpoint best --split train", {"rule": "best", "step": 2, "ema": True}),
    ],
)
def test_evaluate_a_checkpoint(command, data, run, line, checkpoint):
    code, output, _ = command("evaluate", run.path, data, "--json", "--device", "cpu", *line.split())
    assert code == 0
    found = json.loads(output)
    assert found["checkpoint"] == checkpoint
    assert found["images"] == (10 if "train" in line else 5)


def test_evaluate_the_checkpoint_chosen_without_masks(command, data, run):
    chosen = [data, "--device", "cpu", "--checkpoint", "label-free"]
    score = load_tensors(run.label_free)[1]["label_free"]["score"]
    _, output, _ = command("evaluate", run.path, *chosen, "--json")
    assert json.loads(output)["checkpoint"] == {"rule": "label-free", "step": 2, "ema": True, "score": score}
    assert "checkpoint: label-free, step 2, moving average" in command("evaluate", run.path, *chosen)[1]


def test_the_checkpoint_chosen_without_masks_segments_and_is_exported(command, run, tmp_path):
    """The only one there is is the last, so both are the same."""
    picture(tmp_path / "photo.png", 40, 36)
    for rule in ("last", "label-free"):
        more = "--checkpoint", rule
        assert command("segment", run.path, tmp_path / "photo.png", "--out", rule, *more)[0] == 0
        assert command("export", run.path, "--onnx", f"{rule}.onnx", *more)[0] == 0
        assert command("redraw", run.path, tmp_path / "photo.png", "--out", f"{rule}.png", *more)[0] == 0
    for name in ("{}/photo.png", "{}.onnx", "{}.png"):
        ones, others = (Path(name.format(rule)).read_bytes() for rule in ("last", "label-free"))
        assert ones == others


@pytest.mark.parametrize(
    "line",
    ["evaluate RUN DATA", "segment RUN DATA --out OUT", "export RUN --onnx OUT", "redraw RUN DATA --out OUT"],
)
def test_a_run_from_before_the_rule_is_one_line(command, data, run, tmp_path, line):
    old = RunFolder(shutil.copytree(run.path, tmp_path / "old"))
    old.label_free.unlink()
    words = [
        {"RUN": old.path, "DATA": data, "OUT": tmp_path / "out"}.get(word, word) for word in line.split()
    ]
    found = command(*words, "--checkpoint", "label-free")
    said = "has no checkpoint chosen without masks, it was made without that rule: use --checkpoint last"
    assert_one_line(found, f"{old.path} {said}\n")


def test_evaluate_prints_a_table(command, data, run):
    code, output, _ = command("evaluate", run.path, data, "--device", "cpu")
    row = Evaluation.from_dict(read_json(run.evaluation)).per_dataset
    assert code == 0
    assert "5 images scored; checkpoint: last, step 2, moving average" in output
    assert f"{row.iou:.3f}" in output
    assert f"{row.accuracy:.3f}" in output


# segment, redraw


def picture(path, width, height):
    noise = np.random.default_rng(width).integers(0, 256, (height, width, 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise).save(path)


def test_segment(command, run, tmp_path):
    picture(tmp_path / "photos" / "a.jpg", 50, 41)
    picture(tmp_path / "photos" / "more" / "b.png", 33, 70)
    picture(tmp_path / "c.png", 20, 20)
    found = command("segment", run.path, tmp_path / "photos", tmp_path / "c.png", "--out", "masks")
    assert found == (0, "3 photos, 0 left out: 3 masks in masks\n", "")
    for name, size in (("a.png", (50, 41)), ("more/b.png", (33, 70)), ("c.png", (20, 20))):
        with Image.open(f"masks/{name}") as mask:
            assert (mask.mode, mask.size) == ("L", size)
            assert set(np.unique(np.asarray(mask))) <= {0, 255}


def test_a_source_that_is_not_there_is_no_photo(command, run, tmp_path):
    picture(tmp_path / "a.jpg", 32, 32)
    code, output, said = command("segment", run.path, tmp_path / "a.jpg", "nosuch", "--out", "masks")
    counts = "1 photos, 0 left out: 1 masks in masks"
    assert (code, output) == (1, f"{counts}; 1 of what was named holds no photo, as is said above\n")
    assert said.startswith("redoseg: nosuch: there is no ")
    assert said.count("\n") == 1


def test_sources_without_any_photo_are_said_and_nothing_else(command, run, tmp_path):
    (tmp_path / "empty").mkdir()
    code, output, said = command("segment", run.path, tmp_path / "empty", "nosuch", "--out", "masks")
    assert (code, output) == (1, "")
    empty, nosuch = said.splitlines()
    assert empty == f"redoseg: {tmp_path / 'empty'} holds no images, 0 left out"
    assert nosuch.startswith("redoseg: nosuch: there is no ")
    assert not Path("masks").exists()


def test_segment_counts_what_is_too_doubtful(command, run, tmp_path):
    picture(tmp_path / "a.png", 50, 41)
    line = "1 photos, 0 left out: 0 masks in masks; 1 were too doubtful (--max-doubt)\n"
    found = command("segment", run.path, tmp_path / "a.png", "--out", "masks", "--max-doubt", "0")
    assert found == (0, line, "")
    assert not os.listdir("masks")
    Path("t.csv").write_text("photo,mask\nof before,x.png\n")
    command("segment", run.path, tmp_path / "a.png", "--out", "masks", "--max-doubt", "0", "--csv", "t.csv")
    assert Path("t.csv").read_text() == "photo,mask,doubt,area,left,top,right,bottom,error\n"
    code, output, said = command("segment", run.path, tmp_path / "a.png", "--out", "-", "--max-doubt", ".5")
    assert (code, output) == (1, "")
    assert "--max-doubt leaves photos out" in said


def test_segment_does_the_rest_when_a_photo_fails(command, run, tmp_path):
    for name in ("a", "c"):
        picture(tmp_path / "photos" / f"{name}.png", 32, 32)
    (tmp_path / "photos" / "[b].jpg").write_bytes(b"no photo")
    code, output, said = command("segment", run.path, tmp_path / "photos", "--out", "masks")
    assert code == 1
    assert sorted(os.listdir("masks")) == ["a.png", "c.png"]
    assert output == ("3 photos, 0 left out: 2 masks in masks; 1 could not be done, they are named above\n")
    assert said.startswith(f"redoseg: {tmp_path}/photos/[b].jpg: ")
    assert said.count("\n") == 1


@pytest.mark.parametrize("line", ["--region 1 --count 8 --seed 0", "--region 0 --count 3", ""])
def test_redraw(command, run, tmp_path, line):
    picture(tmp_path / "photo.jpg", 60, 45)
    out = tmp_path / "some" / "grid.png"
    found = command("redraw", run.path, tmp_path / "photo.jpg", "--out", out, *line.split())
    assert found == (0, f"{out}\n", "")
    with Image.open(out) as grid:
        assert grid.format == "PNG"
        assert grid.width > (2 + (3 if "3" in line else 8)) * 96
    again = tmp_path / "again.png"
    command("redraw", run.path, tmp_path / "photo.jpg", "--out", again, *line.split())
    assert out.read_bytes() == again.read_bytes()


def test_redraw_with_another_seed_or_the_best_checkpoint(command, run, tmp_path):
    picture(tmp_path / "photo.png", 32, 32)
    for name, more in (("a", []), ("b", ["--seed", "1"]), ("c", ["--checkpoint", "best"])):
        assert command("redraw", run.path, tmp_path / "photo.png", "--out", f"{name}.png", *more)[0] == 0
    contents = [Path(f"{name}.png").read_bytes() for name in "abc"]
    assert contents[0] != contents[1]
    assert contents[0] == contents[2]  # of two steps, the only one that was scored


def test_a_reader_that_has_read_enough_is_no_error():
    """As in `redoseg models --json | head -c 1`: nothing is said of a broken pipe."""
    command = [sys.executable, "-m", "redoseg", "models", "--json"]
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as closed:
        done = subprocess.run(command, stdout=closed, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (1, "")


def test_segment_says_what_was_done_when_it_is_stopped(command, run, tmp_path, monkeypatch):
    def stopped(*arguments, progress, **options):
        progress(7, 15)
        raise KeyboardInterrupt

    monkeypatch.setattr("redoseg.segmentation.segment.segment_files", stopped)
    picture(tmp_path / "a.png", 20, 20)
    code, output, said = command("segment", run.path, tmp_path / "a.png", "--out", "masks")
    assert (code, output) == (130, "")
    assert said == "redoseg: stopped: 7 photos are done, the same command begins anew\n"
