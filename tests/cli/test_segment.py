"""`redoseg segment` in a pipe and with several types: what is on which stream."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from masknetworks import network
from redoseg.exporting.onnx import export_onnx
from refusals import refused_command


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """An ONNX file of a network with random weights."""
    file = tmp_path_factory.mktemp("model") / "mask.onnx"
    export_onnx(network(), file)
    return file


@pytest.fixture
def photo(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(1).integers(0, 256, (40, 52, 3), np.uint8)
    (tmp_path / "photos").mkdir()
    Image.fromarray(pixels).save(tmp_path / "photos" / "a.jpg")
    return tmp_path / "photos" / "a.jpg"


def piped(content, *arguments):
    command = [sys.executable, "-m", "redoseg", "segment", *map(str, arguments)]
    return subprocess.run(command, input=content, capture_output=True, check=False)


def test_a_photo_in_and_a_picture_out(model, photo, tmp_path, command):
    assert command("segment", model, photo, "--out", "out", "--type", "rgba")[0] == 0
    done = piped(photo.read_bytes(), model, "-", "--out", "-", "--type", "rgba")
    assert done.returncode == 0
    assert done.stdout == (tmp_path / "out" / "a.png").read_bytes()
    assert done.stderr == b"1 photos, 0 left out: 1 photos with alpha in standard output\n"
    assert piped(b"", model, photo, "--out", "-", "--type", "rgba").stdout == done.stdout


def test_a_photo_from_a_pipe_among_others(model, photo, tmp_path):
    done = piped(photo.read_bytes(), model, "-", photo, "--out", "out", "--json")
    assert done.returncode == 0
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["a.png", "stdin.png"]
    assert [json.loads(line)["photo"] for line in done.stdout.splitlines()] == ["-", str(photo)]
    one, other = (Image.open(tmp_path / "out" / name) for name in ("a.png", "stdin.png"))
    assert np.array_equal(np.asarray(one), np.asarray(other))


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "there is no photo on standard input"), (b"no photo at all", "standard input")],
)
def test_no_photo_in_is_one_line_and_nothing_out(model, tmp_path, content, said, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = piped(content, model, "-", "--out", "-")
    assert (done.returncode, done.stdout) == (1, b"")
    assert said in done.stderr.decode().splitlines()[0]
    assert "redoseg-" not in done.stderr.decode(), "no name of a file of its own"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("photos/a.jpg photos/a.jpg --out -", "--out - takes one photo and one --type"),
        ("photos --out -", "--out - takes one photo and one --type"),
        ("photos/a.jpg --out - --type mask soft", "--out - takes one photo and one --type"),
        (
            "photos/a.jpg --out - --json",
            "--out - writes the picture alone: leave out --json, --csv and --annotations",
        ),
        ("photos/a.jpg --out - --csv a.csv", "--out - writes the picture alone"),
        ("photos --out out --csv a.csv --measurements a.csv", "--csv and --measurements are both a.csv"),
        ("photos --out out --measurements a.txt", "is no name for a table: choose a file that ends in .csv"),
        ("- --out out --ray local", "--ray shares files"),
        ("photos --out out --region 7", "--region is 7: the model's regions are 0 to 1"),
        ("photos --out out --threshold 2", "--threshold is 2.0: it must be above 0 and below 1"),
        ("photos --out out --largest --instances .1", "--largest keeps one piece"),
    ],
)
def test_what_cannot_go_together_is_one_line(model, photo, command, line, said, tmp_path):
    refused_command(command, said, "segment", model, *line.split())
    assert [file.name for file in tmp_path.iterdir()] == ["photos"]


def test_a_photo_that_fails_is_named_by_its_own_name(model, photo, command, tmp_path):
    (tmp_path / "photos" / "b.jpg").write_bytes(b"no photo at all")
    code, _, said = command("segment", model, "photos", "--out", "out")
    assert code == 1
    assert said.startswith(f"redoseg: {tmp_path}/photos/b.jpg: not an image")
    assert "standard input" not in said


def test_annotations_need_a_photo_with_a_name(model, photo, tmp_path):
    done = piped(photo.read_bytes(), model, "-", "--out", "out", "--annotations", "labelme")
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"name their photos: give a file instead of -" in done.stderr
    assert not (tmp_path / "out").exists()


def test_several_types_are_told(model, photo, command, tmp_path):
    found = command("segment", model, "photos", "--out", "out", "--type", "cutout", "mask", "--largest")
    assert found == (0, "1 photos, 0 left out: 1 masks, cut-outs in out\n", "")
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["cutout", "mask"]


def test_quiet_says_nothing_but_what_went_wrong(model, photo, tmp_path, command):
    assert command("segment", model, "photos", "--out", "out", "--quiet") == (0, "", "")
    (tmp_path / "photos" / "b.jpg").write_bytes(photo.read_bytes()[:300])
    code, output, said = command("segment", model, "photos", "--out", "out", "--quiet")
    assert (code, output) == (1, "")
    assert said.count("\n") == 1
    assert "b.jpg" in said
    assert (tmp_path / "out" / "a.png").is_file()


def test_progress_is_a_line_now_and_then_where_there_is_no_terminal(model, photo, monkeypatch, command):
    monkeypatch.setattr("redoseg.cli.terminal._EVERY", 0)
    code, output, said = command("segment", model, "photos", "--out", "out")
    assert (code, said) == (0, "segmenting: 1 of 1\n")
    assert output == "1 photos, 0 left out: 1 masks in out\n"


def test_a_shell_can_complete_it(tmp_path):
    """What docs/segment.md shows: after `redoseg segm`, bash offers the verb."""
    script = subprocess.run(
        [sys.executable, "-m", "redoseg", "--tyro-print-completion", "bash"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    (tmp_path / "complete.sh").write_text(script)
    ask = (
        "source complete.sh; spec=$(complete -p redoseg); function=${spec##*-F }; function=${function%% *};"
        "COMP_WORDS=(redoseg segm); COMP_CWORD=1; COMP_LINE='redoseg segm'; COMP_POINT=12; $function;"
        'echo "${COMPREPLY[@]}"'
    )
    done = subprocess.run(["bash", "-c", ask], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["segment"], done.stderr


def test_masks_do_not_go_into_the_model_itself(tmp_path, photo, command):
    (tmp_path / "run").mkdir()
    code, output, said = command("segment", tmp_path / "run", photo, "--out", f"{tmp_path}/run/")
    assert (code, output) == (1, "")
    assert said.endswith("/run is the model itself: name another folder for its masks\n")
    assert said.count("\n") == 1
    assert not [*(tmp_path / "run").iterdir()]
