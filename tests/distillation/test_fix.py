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
    "f_width": 4, "f_blocks": 1, "batch": 4, "steps": 4, "device": "cpu", "size": 32,
    "object_share": (0.0, 1.0),
}  # fmt: skip


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
    assert "SEMI-SUPERVISED (corrected masks): 3 images are learned with their masks" in said
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
    assert "1 ticked as wrong are left out, 1 as right are kept" in said
    assert "1 ticks are of no photo that is learned from: elsewhere/x.png" in said
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
    assert "1 image is learned with its mask" in said


def test_of_some_images_the_masks_are_those_of_their_photos(run, data, masks, tmp_path, learners):
    """With --images, too."""
    config = DistillConfig(
        run=run.path, out=tmp_path / "out", images=6, corrected=_as_data(data, tmp_path / "few"), **SMALL
    )
    distill(config, console=Console(file=io.StringIO()))
    learner = learners[0]
    for row, index in zip(learner.corrected.rows, learner.corrected.of, strict=True):
        name = learner.images.names[row]
        truth = np.asarray(Image.open(data / "masks" / f"{name}.png"))
        assert np.array_equal(learner.targets.objects[row, ..., 0], truth)
        assert image_digest(learner.images.images(np.array([row]))[0]) == image_digest(
            learner.corrected.labelled.images[index]
        )


def _as_data(data, folder):
    """All training photos with their masks."""
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
        for number in range(12):
            shutil.copy(data / kind / f"{number:03}.png", folder / kind)
    return folder


def test_of_a_wide_photo_the_squares_beside_the_centred_one_stay_out(tmp_path, learners):
    folder = tmp_path / "wide" / "images"
    folder.mkdir(parents=True)
    for number in range(8):
        noise = np.random.default_rng(number).integers(0, 255, (32, 96, 3), np.uint8)
        Image.fromarray(noise).save(folder / f"{number}.png")
    run = trained(tiny(tmp_path / "wide", tmp_path / "run", steps=2))
    (tmp_path / "masks").mkdir()
    drawn = np.zeros((32, 96), np.uint8)
    drawn[8:24, 30:70] = 255
    Image.fromarray(drawn).save(tmp_path / "masks" / "3.png")
    ticks = {"redoseg": "ticks", "wrong": ["5.png"], "right": []}
    (tmp_path / "ticks.json").write_text(json.dumps(ticks))
    fixed(run, [tmp_path / "masks"], tmp_path / "out", squares=3, ticks=tmp_path / "ticks.json", doubtful=0)
    learner = learners[-1]
    kept = {learner.images.names[row] for row in learner.batches.source.kept}
    assert {"3", "4", "4#1", "4#2"} <= kept
    assert not {"3#1", "3#2", "5", "5#1", "5#2"} & kept
    row = list(learner.images.names).index("3")
    assert np.array_equal(learner.targets.objects[row, ..., 0], drawn[:, 32:64])


def test_masks_without_an_object_and_full_ones_are_learned(run, tmp_path, learners, monkeypatch):
    folder = tmp_path / "masks"
    folder.mkdir()
    for name, value in (("001", 0), ("002", 255)):
        Image.fromarray(np.full((32, 32), value, np.uint8)).save(folder / f"{name}.png")
    fixed(run, [folder], tmp_path / "out", object_share=(0.02, 0.9), batch=2)
    learner = learners[0]
    assert learner.object_share == (0, 1)
    for name, value in (("001", 0), ("002", 255)):
        row = list(learner.images.names).index(name)
        assert (learner.targets.objects[row] == value).all()
        assert row in learner.batches.source.kept


def test_equal_photos_have_one_mask(run, data, masks, tmp_path, learners):
    twice = tmp_path / "twice" / "photos"
    shutil.copytree(data, twice)
    shutil.copy(twice / "images" / "004.png", twice / "images" / "005.png")
    shutil.copy(twice / "masks" / "004.png", twice / "masks" / "005.png")
    other = trained(tiny(twice, tmp_path / "twice" / "run", steps=2))
    fixed(other, [masks], tmp_path / "out")
    names = [learners[-1].images.names[row] for row in learners[-1].corrected.rows]
    assert sorted(names) == ["001", "004", "005", "007"]


@pytest.mark.parametrize("thin", [False, True])
def test_unlabelled_areas_are_not_learned(run, tmp_path, learners, thin):
    folder = tmp_path / "masks"
    folder.mkdir()
    values = np.zeros((32, 32), np.uint8)
    values[8:24, 8:24] = 255
    values[8:24, 8 : 9 if thin else 16] = 127
    Image.fromarray(values).save(folder / "001.png")
    if thin:  # a soft edge, for all that can be seen
        fixed(run, [folder], tmp_path / "out")
        row = list(learners[0].images.names).index("001")
        assert set(np.unique(learners[0].targets.objects[row])) == {0, 255}
        return
    fixed(run, [folder], tmp_path / "out")
    row = list(learners[0].images.names).index("001")
    objects = learners[0].targets.objects[row, ..., 0]
    assert (objects[8:24, 8:16] == 128).all()  # half: no weight
    assert (objects[8:24, 16:24] == 255).all()
    assert (objects[:8] == 0).all()


def test_ticks_are_part_of_the_run(run, data, masks, tmp_path):
    ticks = tmp_path / "ticks.json"
    ticks.write_text(json.dumps({"redoseg": "ticks", "wrong": ["002.png"], "right": []}))
    fixed(run, [masks], tmp_path / "out", ticks=ticks, steps=2)
    ticks.write_text(json.dumps({"redoseg": "ticks", "wrong": ["003.png"], "right": []}))
    with refusal(DataError, "aren't those that it was trained with"):
        fixed(run, [masks], tmp_path / "out", ticks=ticks)
    with refusal(DataError, "not one tick is of a photo that is learned from"):
        ticks.write_text(json.dumps({"redoseg": "ticks", "wrong": ["x.png"], "right": []}))
        fixed(run, [], tmp_path / "other", ticks=ticks)


def test_outlines_that_nobody_has_changed_are_no_corrections(run, data, tmp_path):
    """All that `segment` wrote for another tool comes back, with one outline that was drawn anew."""
    config = redoseg.SegmentConfig(annotations=("coco", "labelme"))
    segmenter = Segmenter.from_pretrained(run.path, device="cpu")
    segment_files(segmenter, [data / "images"], tmp_path / "out", config=config)
    coco = json.loads((tmp_path / "out" / "coco.json").read_text())
    corner = [[0, 0, 16, 0, 16, 16, 0, 16]]
    name = next(one["file_name"] for one in coco["images"] if one["file_name"].endswith("003.png"))
    number = next(one["id"] for one in coco["images"] if one["file_name"] == name)
    coco["annotations"] = [one for one in coco["annotations"] if one["image_id"] != number]
    box = {"bbox": [0, 0, 16, 16], "area": 256, "iscrowd": 0}
    anew = {"id": 999, "image_id": number, "category_id": 1, "segmentation": corner}
    coco["annotations"].append(anew | box)
    (tmp_path / "edited.json").write_text(json.dumps(coco))
    said = fixed(run, [tmp_path / "edited.json"], tmp_path / "fixed")
    assert "1 image is learned with its mask" in said
    assert "are as the run has them, and count as not corrected" in said


def test_nothing_is_written_where_nothing_can_be_begun(run, data, masks, tmp_path):
    before = sorted(run.path.iterdir())
    with refusal(ConfigError, "is .* itself: the student needs a folder of its own"):
        fixed(run, [masks], run.path)
    other = trained(tiny(data, tmp_path / "other", steps=2))
    with refusal(ConfigError, "is another run: choose another --out"):
        fixed(run, [masks], other.path)
    with refusal(DataError, "--ticks .*001.png"):
        fixed(run, [masks], tmp_path / "out", ticks=masks / "001.png")
    assert sorted(run.path.iterdir()) == before
    assert not (other.path / "corrected").exists()
    assert not (tmp_path / "out").exists()


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
    shutil.copytree(masks, tmp_path / "both")
    shutil.copy(more / "009.png", tmp_path / "both")
    fixed(RunFolder(tmp_path / "first"), [tmp_path / "both"], tmp_path / "third")
    assert read_json(tmp_path / "third" / "run.json")["supervision"]["labelled"] == 4


@pytest.mark.parametrize("size", [(16, 32), (64, 48)])
def test_a_mask_of_another_shape_is_refused(run, masks, tmp_path, size):
    Image.fromarray(np.full(size, 255, np.uint8)).save(masks / "004.png")
    with refusal(DataError, "the corrected mask of .*: it is .* x .*, the photo 32 x 32"):
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
    for content in ("{}", '{"redoseg": "ticks", "wrong": "a.png", "right": []}', "[1]"):
        (tmp_path / "no.json").write_text(content)
        refused_command(command, "is no list that the page", *nothing, "--ticks", tmp_path / "no.json")
    refused_command(command, "there is no", *nothing, "--ticks", tmp_path / "nowhere.json")
    assert not (tmp_path / "other").exists()


def test_it_is_a_function_too():
    assert redoseg.fix is fixing.fix
