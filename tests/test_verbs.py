"""The verbs in Python beside `train` and `evaluate`: each does what the command of its name does."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

import redoseg
from redoseg.files import write_json
from redoseg.models.run_folder import RunFolder
from redoseg.training.tries import Tries
from tinyruns import TINY, tiny

pytestmark = pytest.mark.training

STUDENT: dict[str, Any] = {
    "f_width": 4, "f_blocks": 1, "batch": 4, "steps": 2, "confident": 0.0, "object_share": (0.0, 1.0),
    "device": "cpu",
}  # fmt: skip


def stop_once_chosen(file, fields):
    """Ctrl-C as soon as the best try is known: it is written down and no run has been made of it."""
    write_json(file, fields)
    if fields.get("chosen") is not None:
        raise KeyboardInterrupt


def quiet():
    return Console(file=io.StringIO())


def last_step(run):
    return int(RunFolder(run).metrics.read_text().splitlines()[-1].split('"step": ')[1].split(",")[0])


def test_resume_goes_on_with_a_run(data, tmp_path):
    run = redoseg.train(tiny(data, tmp_path / "run", steps=2), console=quiet())
    assert redoseg.resume(str(run), steps=4, console=quiet()) == run
    assert last_step(run) == 4


def test_resume_goes_on_with_tries(data, tmp_path, monkeypatch):
    config = tiny(data, tmp_path / "tried", max_restarts=0, collapse_below=0, collapse_variation=0)
    with monkeypatch.context() as stopped:
        stopped.setattr("redoseg.training.tries.write_json", stop_once_chosen)
        with pytest.raises(KeyboardInterrupt):
            redoseg.train_tries(config, tries=2, try_steps=2, console=quiet())
    assert RunFolder(config.out).trying
    assert redoseg.resume(config.out, console=quiet()) == config.out
    assert Tries.read(RunFolder(config.out)).chosen in (0, 1)
    assert last_step(config.out) == TINY["steps"]


def test_distill_and_resume_go_on_with_a_student(done, tmp_path):
    config = redoseg.DistillConfig(run=done.path, out=tmp_path / "student", **STUDENT)
    student = redoseg.distill(config, console=quiet())
    assert RunFolder(student).distilled
    assert redoseg.resume(student, steps=3, console=quiet()) == student
    masks = redoseg.Segmenter.from_pretrained(student)(Image.new("RGB", (40, 36)))
    assert masks.shape == (2, 36, 40)


def test_redraw_takes_a_path_or_an_image_and_is_what_the_command_draws(done, command, data, tmp_path):
    file = data / "images" / "000.png"
    drawn = redoseg.redraw(done.path, file, count=2, seed=3)
    assert drawn.mode == "RGB"
    command("redraw", done.path, file, "--count", 2, "--seed", 3, "--out", tmp_path / "redrawn.png")
    with Image.open(tmp_path / "redrawn.png") as written, Image.open(file) as photo:
        np.testing.assert_array_equal(np.asarray(written), np.asarray(drawn))
        given = redoseg.redraw(str(done.path), photo.convert("RGBA"), count=2, seed=3)
    np.testing.assert_array_equal(np.asarray(given), np.asarray(drawn))


def test_export_writes_both_and_says_what_it_wrote(done, tmp_path):
    exported = redoseg.export(done.path, onnx=tmp_path / "f.onnx", hub_folder=tmp_path / "hub")
    assert exported.difference is not None
    assert exported.difference < 1e-4
    assert exported.card is not None
    assert exported.card.name == "hub"
    photo = Image.new("RGB", (48, 32), (200, 10, 90))
    one, other = (
        redoseg.Segmenter.from_pretrained(tmp_path / name, backend="onnx")(photo)
        for name in ("f.onnx", "hub")
    )
    np.testing.assert_array_equal(one, other)
