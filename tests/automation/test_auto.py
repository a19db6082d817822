"""A folder of photos to a model, masks, cut-outs and a verdict; stopped, it ends as if it had not been."""

import csv
import dataclasses
import io
import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

import redoseg
from redoseg.automation import auto as automation
from redoseg.automation import looking, page
from redoseg.automation.auto import auto
from redoseg.automation.folder import AutoFolder, Plan, _otherwise
from redoseg.automation.looking import open_photos
from redoseg.automation.masks import names_of
from redoseg.automation.page import masks_page
from redoseg.automation.plan import make_plan, student_options
from redoseg.automation.timing import TimeLeft
from redoseg.automation.trimming import without_frames
from redoseg.config.auto import AutoConfig
from redoseg.data import frames
from redoseg.data.dataset import open_dataset
from redoseg.distillation.distill import distill
from redoseg.distillation.rounds import verdict_of
from redoseg.errors import ConfigError, DataError, DivergenceError, ModelError
from redoseg.files import asides, read_json, write_json
from redoseg.label_free.verdict import MEASURE, Verdict
from redoseg.models.run_folder import RunFolder
from redoseg.models.weights import load_tensors
from redoseg.segmentation.plan import list_photos, plan_jobs
from redoseg.segmentation.segment import WrittenMask
from redoseg.segmentation.segmenter import Segmenter
from refusals import refusal, refused_command
from run_compared import Killed, dying, equal
from tinyruns import photos

pytestmark = pytest.mark.training

PLAN = Plan({"disc": "first:disc", "boxes": "first:boxes"}, 24, 3, 4, 3, 4, 1.0)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = photos(tmp_path_factory.mktemp("data") / "photos", train=24, val=0, masks=False)
    (folder / "splits.csv").unlink()
    Image.fromarray(np.full((48, 64, 3), 90, np.uint8)).save(folder / "images" / "wide.jpg")
    return folder


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Few steps, and scores that are given: the second student is the best, and the third round worse."""
    monkeypatch.setattr(automation, "make_plan", lambda *_: PLAN)
    small = student_options() | {"f_width": 4, "f_blocks": 1}
    monkeypatch.setattr(automation, "student_options", lambda: small)
    scores = {"disc": 0.2, "boxes": 0.3, "round-2": 0.5, "round-3": 0.4}
    monkeypatch.setattr(automation, "verdict_of", lambda run: judged(scores.get(run.path.name, 0.5), 1.0))


def judged(score: float, sure: float) -> Verdict:
    """What a student that is as steady as can be is judged."""
    return Verdict(score, sure, steady=1.0)


def config_of(data, out, **options):
    return AutoConfig(
        data=(str(data),), out=out, device="cpu", threads=1, cache=data.parent / "cache", **options
    )


def done_with(data, out, **options):
    return auto(config_of(data, out, **options), console=Console(file=io.StringIO()))


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    """What `auto` left; made by the first test that asks for it, so with the plan above."""
    return tmp_path_factory.mktemp("runs") / "run"


@pytest.fixture
def done(data, finished, quick):
    if not finished.exists():
        done_with(data, finished)
    return AutoFolder(finished)


def test_what_the_folder_holds(done):
    report = read_json(done.report)
    assert report["students"] == {"disc": 0.2, "boxes": 0.3, "round-2": 0.5, "round-3": 0.4}
    assert (report["kept"], report["masks"], report["failed"]) == ("round-2", 25, [])
    assert report["verdict"]["score"] == 0.5
    assert Plan.from_json(report["plan"]) == PLAN
    masks = sorted(path.name for path in done.masks.iterdir())
    assert masks == sorted(path.name for path in done.cutouts.iterdir())
    assert len(masks) == 25
    assert not list(done.path.rglob("targets"))


def test_the_model_is_the_kept_student_and_segments_other_photos(done):
    kept = load_tensors(done.student("round-2") / "checkpoints" / "last.safetensors")[0]
    assert equal(load_tensors(done.run.last)[0], kept)
    masks = Segmenter.from_pretrained(done.path, device="cpu")(np.zeros((40, 50, 3), np.uint8))
    assert masks.shape == (2, 40, 50)


def test_each_student_is_taught_by_the_best_one_before_it(done):
    taught_by = {
        name: read_json(done.student(name) / "run.json")["teacher"]["run"]
        for name in ("disc", "boxes", "round-2", "round-3")
    }
    assert taught_by == {
        "disc": "first:disc", "boxes": "first:boxes",
        "round-2": str(done.student("boxes")), "round-3": str(done.student("round-2")),
    }  # fmt: skip


def test_masks_cut_outs_and_table_belong_together(data, done):
    with open(done.table, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 25
    for row in rows:
        with Image.open(data / row["photo"]) as photo, Image.open(done.path / row["mask"]) as mask:
            assert photo.size == mask.size
            objects = np.asarray(mask) > 0
            pixels = np.asarray(photo.convert("RGB"))
        assert float(row["area"]) == pytest.approx(objects.mean(), abs=1e-4)
        assert 0 <= float(row["doubt"]) <= 1
        with Image.open(done.cutouts / f"{row['mask'].rpartition('/')[2]}") as cutout:
            assert cutout.mode == "RGBA"
            found = np.asarray(cutout)
        assert np.array_equal(found[..., 3], 255 * objects)
        assert np.array_equal(found[objects][:, :3], pixels[objects])
        assert not found[~objects].any()


def test_the_table_names_photos_so_that_folders_can_be_moved(tmp_path):
    for name in ("a/x.png", "b/deep/x.png", "other/b/y.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 40)).save(tmp_path / name)

    def names(*sources):
        jobs, _, _ = plan_jobs([tmp_path / source for source in sources], tmp_path / "masks")
        return [*names_of(jobs).values()]

    assert names("b") == ["deep/x.png"]
    assert names("a", "b") == ["a/x.png", "b/deep/x.png"]
    assert names("a", "b", "other/b") == ["a/x.png", f"{tmp_path}/b/deep/x.png", f"{tmp_path}/other/b/y.png"]


def test_the_page_shows_every_photo_of_a_few(done):
    with Image.open(done.page) as page:
        assert page.mode == "RGB"
        assert page.width > 10 * 128
        assert page.height > 5 * 128


def test_the_page_of_many_has_some_in_between(done, monkeypatch):
    """Doubts in any order: the two surest, two evenly spread over the others, the two most doubtful."""
    shown = []

    def noted(mask, photo, packed):
        shown.append(mask.doubt)
        return np.zeros((10, 10, 3), np.uint8)

    monkeypatch.setattr(page, "SHOWN", 2)
    monkeypatch.setattr(page, "_pair", noted)
    refs = {job.name: job.ref for job in plan_jobs([done.masks], done.path / "nowhere")[0]}
    names = list(refs)[:9]
    masks = [
        WrittenMask(name, "", round(0.1 * ((5 * index) % 9), 1), 0.5, None)
        for index, name in enumerate(names)
    ]
    masks_page(masks, refs)
    assert shown == [0.0, 0.1, 0.2, 0.6, 0.7, 0.8]


def test_the_page_has_the_names_of_files(data, done, tmp_path):
    """The pictures are the same, and what differs lies beneath those whose names do."""

    def page(*names):
        folder, masks = tmp_path / names[0], []
        folder.mkdir()
        for index, name in enumerate(names):
            shutil.copy(data / "images" / f"{index:03}.png", folder / name)
        refs = {job.name: job.ref for job in plan_jobs([folder], tmp_path / "masks")[0]}
        for index, name in enumerate(refs):
            masks.append(WrittenMask(name, str(done.masks / f"{index:03}.png"), 0.1 * index, 0.5, None))
        return np.asarray(masks_page(masks, refs))

    first, other = page("a.png", "b.png"), page("a long name " * 10 + ".png", "b.png")
    rows, columns = np.nonzero((first != other).any(2))
    assert first.shape == other.shape
    assert rows.max() - rows.min() < 20
    assert rows.min() > 128 + 8
    assert columns.max() < 2 * 128 + 2 + 8
    assert (first[rows.min() : rows.max(), columns.max() :] < 128).any()  # the other one's name


@pytest.mark.parametrize("trouble", ["lost", "damaged", "of another kind"])
def test_without_its_report_nothing_is_made_and_nothing_lost(data, done, tmp_path, command, trouble):
    begun = AutoFolder(shutil.copytree(done.path, tmp_path / "run"))
    content = read_json(begun.report)
    begun.report.unlink()
    if trouble == "damaged":
        begun.report.write_text(json.dumps(content)[:-80])
    elif trouble == "of another kind":
        begun.report.write_text(json.dumps(content | {"plan": {}}))
    before = {path for path in begun.path.rglob("*") if path.name != ".lock"}
    said = "auto.json is lost" if trouble == "lost" else "auto.json is damaged"
    cure = f"put it back, or begin anew with another --out; `redoseg segment {begun.path} PHOTOS --out MASKS`"
    refused_command(command, said, "auto", data, "--out", begun.path)
    refused_command(command, cure, "auto", data, "--out", begun.path)
    shutil.rmtree(begun.run.checkpoints)
    begun.run.description.unlink()
    refused_command(command, f"what was trained stays in {begun.students}", "auto", data, "--out", begun.path)
    assert {path for path in before if path.exists()} == {
        path for path in before if begun.run.checkpoints not in (path, *path.parents)
    } - {begun.run.description}


def test_it_says_first_which_photos_work_and_that_few_are_few(data, tmp_path, monkeypatch):
    monkeypatch.setattr(automation, "_teach", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    said = io.StringIO()
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            auto(config_of(data, tmp_path / "run"), console=Console(file=said, width=500))
    assert said.getvalue().count("one thing of one kind in each photo, or several") == 1
    assert said.getvalue().count("warning: 25 photos are few to learn from: some hundreds are better") == 1
    monkeypatch.setattr(looking, "FEW", 25)
    with pytest.raises(KeyboardInterrupt):
        auto(config_of(data, tmp_path / "other"), console=Console(file=(enough := io.StringIO()), width=500))
    assert "are few" not in enough.getvalue()


@pytest.fixture(scope="module")
def framed(data, tmp_path_factory):
    """24 photos of 80 x 80 pixels, in a white frame of 12."""
    folder = tmp_path_factory.mktemp("framed") / "photos"
    folder.mkdir()
    for index, file in enumerate(sorted((data / "images").glob("*.png"))):
        rough = Image.effect_noise((56, 56), 90).convert("RGB")
        whole = Image.new("RGB", (80, 80), "white")
        whole.paste(rough if index % 2 else Image.open(file).resize((56, 56)), (12, 12))
        whole.save(folder / file.name)
    return folder


def test_frames_are_warned_of_and_leave_the_object_doubtful(framed, tmp_path):
    folder, said = framed, io.StringIO()
    found = auto(config_of(folder, tmp_path / "run"), console=Console(file=said, width=500))
    assert said.getvalue().count("of the photos have a frame of one colour") == 1
    assert "begin anew with --trim and another --out" in said.getvalue()
    assert found.verdict.framed == 1
    sure = dataclasses.replace(found.verdict, sure=1.0, alone=False)
    assert sure.text.startswith("doubtful: photos have frames of one colour, and masks may follow those (")
    assert auto(config_of(folder, tmp_path / "run"), console=Console(file=io.StringIO())) == found
    with refusal(
        ConfigError, match="was begun without --trim, not with it: go back to that, or choose another --out"
    ):
        done_with(folder, tmp_path / "run", trim=True)


def test_with_trim_photos_are_learned_without_frames_and_masks_are_of_the_whole_ones(
    framed, tmp_path, monkeypatch
):
    learned = []

    def noting(config, **options):
        learned.append(config.data)
        return distill(config, **options)

    def planned(config, *_):
        learned.append(config.data)
        return PLAN

    monkeypatch.setattr(automation, "distill", noting)
    monkeypatch.setattr(automation, "make_plan", planned)
    said, run = io.StringIO(), AutoFolder(tmp_path / "run")
    found = auto(config_of(framed, run.path, trim=True), console=Console(file=said, width=500))
    assert {*learned} == {(str(run.trimmed / "photos"),)}
    assert f"24 of 24 photos have a frame: {run.trimmed / 'photos'} has them without it" in said.getvalue()
    assert "of the photos have a frame of one colour" not in said.getvalue()
    assert (found.masks, found.verdict.framed) == (24, 0)
    for file in run.trimmed.rglob("*.png"):
        with Image.open(file) as learned_photo, Image.open(run.masks / file.name) as mask:
            assert max(learned_photo.size) <= 54
            pixels = np.array(mask)
        assert pixels.shape == (80, 80)
        pixels[13:67, 13:67] = 0
        assert not pixels.any()
    page = run.run.report.read_text()
    assert '"size": [54, 54]' in page  # it shows what was learned
    assert '"size": [80, 80]' not in page
    for file in run.trimmed.rglob("*.png"):
        file.write_bytes(b"gone")  # what is finished needs them no more
    again = auto(config_of(framed, run.path, trim=True), console=Console(file=io.StringIO()))
    assert again.as_json() == found.as_json()
    with refusal(
        ConfigError, match="was begun with --trim, not without it: go back to that, or choose another --out"
    ):
        done_with(framed, run.path)


def test_with_trim_it_goes_on_too_and_knows_when_photos_were_changed(framed, tmp_path, monkeypatch):
    straight, broken = tmp_path / "straight", AutoFolder(tmp_path / "broken")
    with monkeypatch.context() as patch:
        patch.setattr(automation, "distill", _stopped)
        with pytest.raises(KeyboardInterrupt):
            done_with(framed, broken.path, trim=True)
    trimmed = {file: file.stat().st_mtime_ns for file in broken.trimmed.rglob("*.png")}
    assert done_with(framed, broken.path, trim=True) == done_with(framed, straight, trim=True)
    assert trimmed == {file: file.stat().st_mtime_ns for file in broken.trimmed.rglob("*.png")}
    for file in broken.masks.iterdir():
        assert file.read_bytes() == (straight / "masks" / file.name).read_bytes()
    other = shutil.copytree(framed, tmp_path / "photos")
    Image.new("RGB", (80, 80), "green").save(other / "more.png")
    with refusal(DataError, match="the photos have changed since"):
        done_with(other, broken.path, trim=True)


def _stopped(*_, **__):
    raise KeyboardInterrupt


def test_of_several_sources_each_has_a_folder_of_its_own(framed, tmp_path):
    """Whatever they are called."""
    sources = [framed, *(shutil.copytree(framed, tmp_path / name) for name in ("photos", "photos-1"))]
    config = AutoConfig(data=tuple(map(str, sources)), out=tmp_path / "run", trim=True, cache=tmp_path / "c")
    folder, console = AutoFolder(config.out), Console(file=io.StringIO())
    photos = open_photos(config, console)
    learned = without_frames(config, folder, photos, console)
    assert [Path(source).name for source in learned.data] == ["1-photos", "2-photos", "3-photos-1"]
    assert all(len(list(Path(source).iterdir())) == 24 for source in learned.data)
    plain = dataclasses.replace(config, trim=False)
    assert without_frames(plain, folder, photos, console) is plain


@pytest.mark.parametrize("place", ["a photo", "the plan"])
def test_stopped_before_anything_is_learned_the_same_command_begins_anew(
    framed, tmp_path, monkeypatch, place
):
    run, other = tmp_path / "run", shutil.copytree(framed, tmp_path / "photos")
    with monkeypatch.context() as patch:
        if place == "the plan":
            patch.setattr(automation, "make_plan", _stopped)
        else:
            patch.setattr(frames, "_save", _stopped)
        with pytest.raises(KeyboardInterrupt):
            done_with(other, run, trim=True)
    assert [path.name for path in run.iterdir() if path.name[0] != "."] == ["trimmed"]
    with Image.open(other / "000.png") as first:
        first.rotate(90).save(other / "000.png")  # what was copied is of other photos now
    assert done_with(other, run, trim=True) == done_with(other, tmp_path / "straight", trim=True)
    for file in (run / "trimmed" / "photos").iterdir():
        assert file.read_bytes() == (tmp_path / "straight" / "trimmed" / "photos" / file.name).read_bytes()


def test_copies_that_were_changed_or_taken_away_are_made_anew(framed, tmp_path, monkeypatch):
    run = AutoFolder(tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(automation, "distill", _stopped)
        with pytest.raises(KeyboardInterrupt):
            done_with(framed, run.path, trim=True)
    whole = {file: file.read_bytes() for file in run.trimmed.rglob("*.png")}
    first, second, *_ = whole
    first.unlink()
    Image.new("RGB", (54, 54), "green").save(second)
    done_with(framed, run.path, trim=True)
    assert whole == {file: file.read_bytes() for file in run.trimmed.rglob("*.png")}
    shutil.rmtree(run.trimmed)
    assert done_with(framed, run.path, trim=True).masks == 24
    assert not run.trimmed.exists()  # it is finished: nothing is made anew


def test_somebody_elses_folder_of_that_name_stays(framed, tmp_path):
    mine = tmp_path / "run" / "trimmed" / "mine.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with refusal(ConfigError, match="is there and wasn't made by `redoseg auto`"):
        done_with(framed, tmp_path / "run", trim=True)
    assert mine.read_text() == "mine"


def test_too_few_photos_leave_no_copies(framed, tmp_path):
    few = tmp_path / "photos"
    few.mkdir()
    for file in sorted(framed.iterdir())[:10]:
        shutil.copy(file, few)
    with refusal(DataError, match="photos to learn from: 10, too few"):
        done_with(few, tmp_path / "run", trim=True)
    shutil.copytree(framed, few, dirs_exist_ok=True)
    assert done_with(few, tmp_path / "run", trim=True).masks == 24


def test_what_is_refused_leaves_no_copies(framed, tmp_path):
    photos = tmp_path / "photos"
    shutil.copytree(framed, photos / "images")
    shutil.copytree(framed, photos / "masks")
    with refusal(DataError, match="has masks or splits.csv, which would no longer fit trimmed photos"):
        done_with(photos, tmp_path / "run", trim=True)
    assert not (tmp_path / "run").exists()


def test_a_photo_that_cant_be_copied_is_named(framed, tmp_path):
    photos = shutil.copytree(framed, tmp_path / "photos")
    long = f"{'x' * 250}.webp"
    for name, source in ((long, "001.png"), ("y" * 250 + ".webp", None)):
        picture = Image.open(framed / source) if source else Image.effect_noise((60, 60), 90).convert("RGB")
        with picture:
            picture.save(photos / name, lossless=True)
    said = io.StringIO()
    config = config_of(photos, tmp_path / "run", trim=True)
    folder, console = AutoFolder(config.out), Console(file=said, width=2000)
    learned = without_frames(config, folder, open_photos(config, console), console)
    assert len(list(Path(learned.data[0]).iterdir())) == 25  # what has no frame keeps its name
    assert "1 photos could not be copied and are not learned: xxx" in said.getvalue()
    assert "its name is too long for .png after it" in said.getvalue()


def test_frames_that_are_left_are_said(framed, tmp_path):
    said = io.StringIO()
    refs = list_photos([framed])[0]
    assert looking.look_at(24, refs, Console(file=said, width=500), trimmed=True) == 1
    assert "Frames were cut off, and these are left" in said.getvalue()


def test_the_command_goes_on_and_says_how_to_go_on_with_trim(framed, tmp_path, monkeypatch, command):
    line = ["auto", framed, "--out", tmp_path / "run", "--trim", "--cache", tmp_path / "cache"]
    line += ["--device", "cpu", "--threads", "1"]
    with monkeypatch.context() as patch:
        patch.setattr(automation, "distill", _stopped)
        code, _, said = command(*line)
    assert code == 130
    assert "to go on: redoseg auto " in said
    assert " --trim" in said
    code, output, _ = command(*line)
    assert code == 0
    assert f"redoseg segment {tmp_path / 'run'} PHOTOS --out MASKS --trim\n" in output
    learned = "has learned photos without their frames: if these have some, "
    segment = ["segment", tmp_path / "run", framed, "--out", tmp_path / "masks", "--device", "cpu"]
    assert f"{learned}give --trim\n" in command(*segment)[2]
    report = ["report", tmp_path / "run", framed, "-o", tmp_path / "page.html", "--device", "cpu"]
    assert (
        f"{learned}name copies without (`redoseg trim`, or {tmp_path / 'run' / 'trimmed'})"
        in command(*report)[2]
    )
    copies = tmp_path / "run" / "trimmed"
    quiet = [*segment, "--quiet"]
    for line in ([*segment, "--trim"], [*segment[:2], copies, *segment[3:]], report[:2] + report[3:], quiet):
        code, _, said = command(*line)
        assert code == 0
        assert learned not in said


def test_corrected_masks_of_whole_photos_are_refused_with_the_cure(framed, tmp_path):
    run = AutoFolder(tmp_path / "run")
    done_with(framed, run.path, trim=True)
    with refusal(
        DataError, match=r"has learned .*trimmed \(--trim\), so correct masks of those: `redoseg segment"
    ):
        redoseg.fix(run.path, run.masks, tmp_path / "better", device="cpu")
    masks = tmp_path / "masks"
    redoseg.segment_files(Segmenter.from_pretrained(run.path, device="cpu"), run.trimmed, masks)
    for file in sorted(masks.rglob("*.png"))[:2]:
        with Image.open(file) as mask:
            turned = Image.fromarray(255 - np.asarray(mask))
        turned.save(file)
    better = redoseg.fix(run.path, masks, tmp_path / "better", device="cpu", steps=1, batch=4)
    assert (better / "model").is_dir()


def test_run_again_it_does_nothing_twice_and_says_the_same(data, done, tmp_path, monkeypatch):
    """A mask that was corrected by hand stays."""
    monkeypatch.setattr(automation, "distill", lambda *_, **__: pytest.fail("a student was trained again"))
    finished = AutoFolder(shutil.copytree(done.path, tmp_path / "run"))
    mask = next(finished.masks.iterdir())
    mask.write_bytes(b"corrected")
    again = done_with(data, finished.path)
    assert again.as_json() == {name: read_json(done.report)[name] for name in again.as_json()}
    assert mask.read_bytes() == b"corrected"


def test_a_student_that_diverges_is_passed_over(data, tmp_path, monkeypatch):
    def unless_diverging(config, **options):
        if config.out.name in diverging:
            raise DivergenceError("a loss was not finite")
        return distill(config, **options)

    monkeypatch.setattr(automation, "distill", unless_diverging)
    diverging = {"boxes", "round-2"}
    found = done_with(data, tmp_path / "run")
    assert (found.students, found.kept) == ({"disc": 0.2, "boxes": -1, "round-2": -1}, "disc")
    diverging = {"disc", "boxes"}
    with refusal(DivergenceError, match="no student could be trained: try another --seed"):
        done_with(data, tmp_path / "other")


def test_one_folder_may_be_given_by_itself(data, tmp_path):
    ways: list[Any] = [data, str(data), (data,), [str(data)]]
    for given in ways:
        assert AutoConfig(data=given, out=tmp_path).data == (str(data),)
    with refusal(DataError, match="there is no .*nowhere"):
        done_with(tmp_path / "nowhere", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_page_reads_photos_of_a_compressed_archive_too(data, done, tmp_path):
    packed = tmp_path / "photos.tar.gz"
    with tarfile.open(packed, "w:gz") as tar:
        tar.add(data / "images", "images")
    jobs, _, _ = plan_jobs([packed], tmp_path / "masks")
    refs = {job.name: job.ref for job in jobs}
    masks = [
        WrittenMask(job.name, str(done.masks / job.target.name), 0.1 * index, 0.5, None)
        for index, job in enumerate(jobs)
    ]
    ours, theirs = {path.stem: path for path in (data / "images").iterdir()}, masks_page(masks, refs)
    plain = [dataclasses.replace(mask, photo=str(ours[Path(mask.mask).stem])) for mask in masks]
    of_files = {job.name: job.ref for job in plan_jobs([data / "images"], tmp_path / "masks")[0]}
    assert np.array_equal(np.asarray(masks_page(plain, of_files)), np.asarray(theirs))


@pytest.mark.slow
def test_killed_at_a_write_to_its_folder_it_ends_with_equal_masks(data, done, tmp_path, monkeypatch):
    out, killed = tmp_path / "run", []
    for when in range(1, 60, 2):
        with monkeypatch.context() as patch:
            writes = dying(patch, when, out)
            try:
                done_with(data, out)
                break
            except Killed:
                killed.append(writes[-1].name)
    assert "auto.json" in killed
    assert len({*killed}) > 3
    assert not asides(out)
    ours = AutoFolder(out)
    for folder, other in ((ours.masks, done.masks), (ours.cutouts, done.cutouts)):
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
            path.name: path.read_bytes() for path in other.iterdir()
        }
    assert ours.page.read_bytes() == done.page.read_bytes()


@pytest.mark.slow
def test_photos_that_are_broken_are_counted_and_named(data, tmp_path, command, caplog):
    folder = tmp_path / "photos"
    shutil.copytree(data, folder)
    (folder / "images" / "broken.jpg").write_bytes(b"no photo")
    line = ["auto", folder, "--out", tmp_path / "run", "--device", "cpu", "--threads", "1"]
    code, output, said = command(*line, "--cache", data.parent / "cache")
    assert code == 1
    assert "broken.jpg: not an image" in said
    with open(tmp_path / "run" / "photos.csv", newline="", encoding="utf-8") as file:
        *rows, last = csv.DictReader(file)
    assert (last["photo"], last["mask"], last["error"][:12]) == ("images/broken.jpg", "", "not an image")
    assert {row["error"] for row in rows} == {""}
    assert caplog.text.count("1 images don't decode and are left out") == 1
    assert "25 in " in output
    assert "1 photos left out, they are named above" in output
    assert read_json(tmp_path / "run" / "auto.json")["failed"] == [
        [str(folder / "images" / "broken.jpg"), "not an image, or damaged from its first bytes on"]
    ]


def test_the_command_says_what_it_found_and_where(data, done, command):
    line = ["auto", data, "--out", done.path, "--device", "cpu", "--threads", "1"]
    code, output, told = command(*line, "--cache", data.parent / "cache")
    assert code == 0
    assert "is finished: nothing is made anew" in told
    first, *others = output.splitlines()
    said = json.loads(done.report.read_text())["verdict"]
    assert first == Verdict.from_json(said).text
    assert any(f"redoseg segment {done.path} PHOTOS --out MASKS" in line for line in others)


def test_changed_photos_are_noticed(data, done, tmp_path):
    folder = tmp_path / "photos"
    shutil.copytree(data, folder)
    (folder / "images" / "000.png").unlink()
    with refusal(DataError, match="the photos have changed since"):
        done_with(folder, done.path)


def test_too_few_photos_are_refused_before_anything_is_written(tmp_path):
    folder = photos(tmp_path / "photos", train=8, val=0, masks=False)
    with refusal(DataError, match="photos to learn from: 8, too few. 20 at least"):
        done_with(folder, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_what_was_begun_otherwise_or_by_others_is_left_alone(data, done, tmp_path, command):
    with refusal(
        ConfigError, match="was begun with --seed 0, not 1: go back to that, or choose another --out"
    ):
        done_with(data, done.path, seed=1)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with refusal(ConfigError, match="wasn't made by `redoseg auto`: choose another --out"):
        done_with(data, tmp_path / "mine")
    assert (tmp_path / "mine" / "letter.txt").read_text() == "dear"
    refused_command(command, "was begun by `redoseg auto`: the same command goes on", "resume", done.path)
    refused_command(command, "drawn scenes are no photos", "auto", "digit", "--out", tmp_path / "digit")


def test_masks_are_never_put_among_the_photos(data, tmp_path):
    folder = tmp_path / "photos"
    shutil.copytree(data / "images", folder)
    with refusal(DataError, match="is among the photos"):
        done_with(folder, folder / "run")
    assert not (folder / "run").exists()


@pytest.mark.parametrize(
    ("score", "sure", "found"),
    [
        (0.4, 0.8, "found"),
        (0.4, 0.5, "doubtful"),
        (0.2, 0.9, "doubtful"),
        (0.05, 0.9, "not found"),
        (0.4, 0.3, "not found"),
        (0, 0, "not found"),
    ],
)
def test_the_verdict_needs_a_score_and_sure_masks(score, sure, found):
    verdict = Verdict(score, sure, steady=1.0)
    assert verdict.found == found
    expected = {"verdict": found, "measure": MEASURE, "score": score, "sure": sure, "steady": 1.0}
    assert verdict.as_json() == expected
    assert Verdict.from_json(expected) == verdict
    assert f"{sure:.0%} of the masks are sure" in verdict.text


def test_students_are_compared_by_score_and_sure_share(data, tmp_path, monkeypatch):
    verdicts = {"disc": judged(0.4, 0.81), "boxes": judged(0.5, 0.49), "round-2": judged(0.6, 0.25)}
    monkeypatch.setattr(automation, "verdict_of", lambda run: verdicts.get(run.path.name, verdicts["disc"]))
    found = done_with(data, tmp_path / "run")
    assert found.kept == "disc"
    assert found.students == pytest.approx({"disc": 0.36, "boxes": 0.35, "round-2": 0.3})
    assert found.verdict.score == 0.4


def test_what_an_earlier_version_noted_is_judged_anew(data, tmp_path, monkeypatch):
    verdicts = {"disc": judged(0.5, 0.64), "boxes": judged(0.4, 0.49), "round-2": judged(0.6, 0.64)}
    monkeypatch.setattr(automation, "verdict_of", lambda run: verdicts.get(run.path.name, judged(0.1, 1)))
    folder = AutoFolder(tmp_path / "run")
    done_with(data, folder.path)
    report = read_json(folder.report)
    begun = {name: report[name] for name in ("redoseg", "config", "data", "plan")}
    begun["config"].pop("starts")
    write_json(folder.report, begun | {"students": {"disc": 0.5, "boxes": 0.4}})
    shutil.rmtree(folder.student("round-2"))
    found = done_with(data, folder.path)
    assert found.students == pytest.approx({"disc": 0.4, "boxes": 0.28, "round-2": 0.48, "round-3": 0.1})


def test_students_that_were_judged_by_another_measure_are_not_compared(data, tmp_path, monkeypatch):
    monkeypatch.setattr(automation, "verdict_of", verdict_of)
    folder = AutoFolder(tmp_path / "run")
    done_with(data, folder.path)
    report = read_json(folder.report)
    begun = {name: report[name] for name in ("redoseg", "config", "data", "plan", "students")}
    write_json(folder.report, begun)
    judged = RunFolder(folder.student("disc")).verdict
    verdict = read_json(judged)
    write_json(judged, {name: verdict[name] for name in ("verdict", "score", "sure")})
    with pytest.raises(ModelError, match="was judged by another version of redoseg") as refused:
        done_with(data, folder.path)
    assert "\n" not in str(refused.value)
    assert read_json(folder.report) == begun


def test_where_no_mask_is_sure_the_scores_put_students_in_order():
    assert Verdict(0.5, 0.36).worth == pytest.approx(0.3)
    assert Verdict(0.5, 0.36, steady=0.65).worth == pytest.approx(0.195)
    assert Verdict(0.5, 0.36, steady=0.325).worth == pytest.approx(0.3 * 0.325 / 2)
    assert Verdict(0.5, 0.36, steady=-0.5).worth == 0
    assert Verdict(0.2, 0.0).worth < Verdict(0.3, 0.0).worth < Verdict(0.3, 0.02).worth


@pytest.mark.parametrize(("minutes", "first", "later"), [(None, 300, 600), (1e-6, 60, 60)])
def test_the_plan_fits_the_minutes(data, tmp_path, minutes, first, later):
    config = config_of(data, tmp_path / "run", minutes=minutes)
    dataset = open_dataset(config.data, size=64, cache=config.cache)
    plan = make_plan(config, dataset, torch.device("cpu"))
    assert (plan.first_steps, plan.steps, plan.first_images, plan.batch) == (first, later, 25, 12)
    assert {"saliency": "first:saliency", "boxes": "first:boxes"}.items() <= plan.starts.items()
    assert [*plan.parts] == [*plan.starts, "round-2", "round-3"]
    assert min(plan.parts.values()) > 0
    assert sum(plan.parts.values()) < plan.minutes < 1.5 * sum(plan.parts.values())
    assert Plan.from_json(json.loads(json.dumps(plan.as_json()))) == plan


def test_the_time_that_is_left_goes_by_the_pace_so_far():
    parts = {"game": 22.0, "boxes": 2.0, "round-2": 5.0, "round-3": 5.0}
    starts = {"game": "game", "boxes": "first:boxes"}
    plan = dataclasses.replace(PLAN, starts=starts, minutes=36.0, parts=parts)
    left = TimeLeft(plan)
    assert left.text([]) == "; about 36 minutes left"
    left.took("game", 100.0)  # it began anew: students take no longer for that
    assert left.text(["game"]) == "; about 14 minutes left"
    left.took("boxes", 4.0)
    assert left.text(["game", "boxes"]) == "; about 24 minutes left"
    left.took("round-2", 3.0)
    assert left.text(["game", "boxes", "round-2"]) == "; about 7 minutes left"
    assert TimeLeft(plan).text(["game", "boxes", "round-2", "round-3"]) == "; about 2 minutes left"
    assert TimeLeft(PLAN).text([]) == ""


def test_it_is_a_function_too(data, done):
    assert redoseg.auto is auto
    assert redoseg.AutoConfig is AutoConfig


def test_how_an_option_was_given_is_said_as_it_is_typed():
    assert _otherwise("seed", 0, 1) == "with --seed 0, not 1"
    assert _otherwise("minutes", 12.0, None) == "with --minutes 12.0, not without it"
    assert _otherwise("minutes", None, 5.0) == "without --minutes, not with 5.0"
