"""Corrected masks and ticks: learned in full, said loudly, never scored, the same after a stop."""

import io
import json
import shutil
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

import redoseg
from redoseg.config import DistillConfig
from redoseg.data.held_out import image_digest
from redoseg.distillation import fix as fixing
from redoseg.distillation.distill import distill
from redoseg.distillation.fix import fix
from redoseg.distillation.learner import DistillationLearner
from redoseg.distillation.resume import resume
from redoseg.errors import ConfigError, DataError
from redoseg.files import read_json
from redoseg.models.run_folder import RunFolder
from redoseg.models.weights import load_tensors
from redoseg.segmentation.segment import segment_files
from redoseg.segmentation.segmenter import Segmenter
from refusals import refusal, refused_command
from run_compared import equal
from tinyruns import photos, tiny, trained

pytestmark = pytest.mark.training

SMALL: dict[str, Any] = {
    "f_width": 4,
    "f_blocks": 1,
    "batch": 4,
    "steps": 4,
    "device": "cpu",
    "size": 32,
    "object_share": (0.0, 1.0),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return photos(tmp_path_factory.mktemp("data") / "photos", train=12, val=3)


@pytest.fixture(scope="module")
def run(data):
    return trained(tiny(data, data.parent / "run"))


@pytest.fixture
def masks(data, tmp_path):
    """The true masks of three training photos, and one of nobody's."""
    folder = tmp_path / "drawn"
    folder.mkdir()
    for number in (1, 4, 7):
        shutil.copy(data / "masks" / f"{number:03}.png", folder)
    shutil.copy(data / "masks" / "001.png", folder / "nobody.png")
    return folder


@pytest.fixture
def learners(monkeypatch):
    """Every learner that is begun from here on."""
    found: list[DistillationLearner] = []
    begin = DistillationLearner.begin

    def noted(self, saved):
        begin(self, saved)
        found.append(self)

    monkeypatch.setattr(DistillationLearner, "begin", noted)
    return found


def fixed(run, masks, out, **options):
    """`fix` with a tiny student; what it said."""
    text = io.StringIO()
    fix(run.path, masks, out, console=Console(file=text, width=300), **SMALL | options)
    return text.getvalue()


def test_corrected_masks_take_the_place_of_the_teachers(run, data, masks, tmp_path, learners):
    said = fixed(run, [masks], tmp_path / "out", doubtful=0.5)
    assert "SEMI-SUPERVISED (--corrected): 3 images are learned with their masks" in said
    assert "3 corrected masks are learned in full" in said
    assert "1 of mask files are of no photo of the run, or could be of several: nobody.png" in said
    (learner,) = learners
    names, targets = learner.images.names, learner.targets
    for row, name in enumerate(names):
        truth = np.asarray(Image.open(data / "masks" / f"{name}.png"))
        assert (np.array_equal(targets.objects[row, ..., 0], truth)) == (name in ("001", "004", "007"))
    kept = [names[row] for row in learner.batches.source.kept]
    assert {"001", "004", "007"} <= set(kept)
    corrected = sum(name in ("001", "004", "007") for name in kept)
    assert corrected / len(kept) >= 0.25
    assert len(set(kept)) < 12  # the doubtful ones are still left out


def test_it_is_stated_wherever_the_run_is_described_and_never_scored(run, masks, tmp_path):
    out = RunFolder(tmp_path / "out")
    fixed(run, [masks], out.path)
    supervision = read_json(out.description)["supervision"]
    assert (supervision["kind"], supervision["labelled"]) == ("semi-supervised", 3)
    dataset = redoseg.open_dataset([str(tmp_path / "out" / "corrected")], size=32, cache=tmp_path / "cache")
    digests = {image_digest(image) for image in dataset.split("train").images(np.arange(3))}
    assert set(supervision["images"]) == digests
    with refusal(DataError, "was trained with the masks of every labelled image"):
        redoseg.evaluate(out.path, out.corrected, device="cpu")


def test_stopped_it_goes_on_as_if_it_had_not_been(run, masks, tmp_path):
    fixed(run, [masks], tmp_path / "whole")
    fixed(run, [masks], tmp_path / "parts", steps=2)
    moved = tmp_path / "moved"
    shutil.move(tmp_path / "parts", moved)
    resume(moved, console=Console(file=io.StringIO()), steps=4)
    assert equal(load_tensors(RunFolder(moved).last)[0], load_tensors(RunFolder(tmp_path / "whole").last)[0])


def test_other_corrections_are_no_way_to_go_on(run, data, masks, tmp_path):
    fixed(run, [masks], tmp_path / "out", steps=2)
    before = {file: file.read_bytes() for file in (tmp_path / "out" / "corrected").rglob("*.png")}
    shutil.copy(data / "masks" / "002.png", masks)
    with refusal(ConfigError, "was begun with other corrected masks: use another --out"):
        fixed(run, [masks], tmp_path / "out")
    assert before == {file: file.read_bytes() for file in (tmp_path / "out" / "corrected").rglob("*.png")}


def test_ticks_leave_out_the_wrong_and_keep_the_right(run, data, masks, tmp_path, learners):
    ticks = tmp_path / "ticks.json"
    path = str(data / "images")
    listed = {
        "wrong": [f"{path}/001.png", f"{path}/002.png", "elsewhere/x.png"],
        "right": [f"{path}/005.png"],
    }
    ticks.write_text(json.dumps({"redoseg": "ticks", "model": "run", **listed}))
    said = fixed(run, [masks], tmp_path / "out", ticks=ticks, doubtful=0.6)
    assert (
        "1 ticked as wrong are left out, 1 as right are kept; 1 are of no photo that is learned from" in said
    )
    kept = {learners[0].images.names[row] for row in learners[0].batches.source.kept}
    assert "002" not in kept
    assert {"001", "005"} <= kept  # 001 is corrected
    said = fixed(run, [], tmp_path / "ticks-alone", ticks=ticks)
    assert "2 ticked as wrong are left out" in said
    assert "SEMI-SUPERVISED (--ticks)" in said
    supervision = read_json(tmp_path / "ticks-alone" / "run.json")["supervision"]
    assert (supervision["kind"], supervision["labelled"]) == ("semi-supervised", 0)
    assert supervision["ticks"] == {"wrong": ["001", "002"], "right": ["005"]}


def test_masks_as_redoseg_wrote_them_are_not_corrected_ones(run, data, tmp_path):
    written = tmp_path / "written"
    segment_files(Segmenter.from_pretrained(run.path, device="cpu"), [data], written)
    with refusal(DataError, "no mask is a corrected one: all are as the run has them"):
        fixed(run, [written], tmp_path / "out")
    assert not (tmp_path / "out").exists()
    shutil.copy(data / "masks" / "003.png", written / "003.png")
    said = fixed(run, [written], tmp_path / "out")
    assert "14 masks are as the run has them, and count as not corrected" in said
    assert "1 image is learned with their masks" in said


def test_a_student_of_a_student_has_its_options(run, masks, tmp_path):
    first = tmp_path / "first"
    distill(
        DistillConfig(run=run.path, out=first, seed=3, lr=1e-3, **SMALL | {"steps": 2}),
        console=Console(file=io.StringIO()),
    )
    text = io.StringIO()
    fix(first, [masks], tmp_path / "second", console=Console(file=text))
    config = RunFolder(tmp_path / "second").original_config()
    assert isinstance(config, DistillConfig)
    assert (config.f_width, config.steps, config.seed, config.lr) == (4, 2, 3, 1e-3)
    assert config.run == first


def test_who_corrects_again_has_learned_from_both(run, data, masks, tmp_path):
    fixed(run, [masks], tmp_path / "first")
    more = tmp_path / "more"
    more.mkdir()
    shutil.copy(data / "masks" / "009.png", more)
    fixed(RunFolder(tmp_path / "first"), [more], tmp_path / "second")
    supervision = read_json(tmp_path / "second" / "run.json")["supervision"]
    assert supervision["labelled"] == 4
    assert len(set(supervision["images"])) == 4


@pytest.mark.parametrize("size", [(16, 32), (64, 48)])
def test_a_mask_of_another_shape_is_refused(run, masks, tmp_path, size):
    Image.fromarray(np.full(size, 255, np.uint8)).save(masks / "004.png")
    with refusal(DataError, "the mask is .* x .*, the photo 32 x 32"):
        fixed(run, [masks], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_through_the_command_line(run, data, masks, tmp_path, command):
    out = tmp_path / "out"
    code, output, error = command(
        "fix", run.path, "--masks", masks, "-o", out, "--steps", "2", "--device", "cpu"
    )
    assert code == 0
    assert "SEMI-SUPERVISED" in error
    assert f"redoseg segment {out} PHOTOS --out MASKS" in output
    nothing = ("fix", run.path, "-o", tmp_path / "other")
    refused_command(command, "nothing was corrected: give --masks, --ticks or both", *nothing)
    refused_command(command, "holds no run", "fix", data, "--masks", masks, "-o", tmp_path / "other")
    (tmp_path / "no.json").write_text("{}")
    refused_command(command, "is no list that the page", *nothing, "--ticks", tmp_path / "no.json")
    assert not (tmp_path / "other").exists()


def test_it_is_a_function_too():
    assert redoseg.fix is fixing.fix
