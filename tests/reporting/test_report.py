"""A page of photos with their masks: what it says is what the segmenter finds, whatever photos are called."""

import base64
import io
import json
import re
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import redoseg
from redoseg import files
from redoseg.config import TrainConfig
from redoseg.data.dataset import open_dataset
from redoseg.errors import ConfigError, DataError, ModelError
from redoseg.label_free.verdict import SURE
from redoseg.models.run_log import curves_of, read_log
from redoseg.reporting import page as pages
from redoseg.reporting.charts import draw_chart
from redoseg.reporting.pictures import named
from redoseg.reporting.report import report
from redoseg.segmentation.plan import list_photos
from redoseg.segmentation.segmenter import Segmenter
from refusals import refusal, refused_command
from tinyruns import TINY, photos, tiny, trained


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Seven photos, of three sizes; one's name would end a script."""
    out = tmp_path_factory.mktemp("report") / "photos"
    (out / "inner").mkdir(parents=True)
    random = np.random.default_rng(0)
    names = ("a", "b", "c", "inner/d", "e</script><b>", "f", "g")
    sizes = ((64, 48), (48, 64), (700, 300))
    for number, name in enumerate(names):
        width, height = sizes[number % 3]
        picture = np.full((height, width, 3), random.integers(60, 120, 3), np.uint8)
        picture[height // 4 : -height // 4, width // 3 : -width // 3] = random.integers(180, 255, 3)
        file = out / f"{name}.png"
        file.parent.mkdir(exist_ok=True, parents=True)
        Image.fromarray(picture).save(file)
    return out


def data_of(page: Path):
    """What the page's script reads."""
    text = page.read_text(encoding="utf-8")
    match = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    return json.loads(match[1])


def panels_of(picture: str):
    """Photo, soft mask and votes: three arrays."""
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(picture))))
    return np.split(image.astype(int), 3, axis=1)


@pytest.fixture(scope="module")
def page(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("page") / "report.html"
    found = report("flowers", [folder], out)
    assert (found.page, found.shown, found.failed, found.left_out, found.beyond) == (out, 7, [], 0, 0)
    assert found.sure == sum(photo["doubt"] <= SURE for photo in data_of(out)["photos"])
    return out


def test_each_photo_has_the_doubt_and_the_mask_that_the_segmenter_finds(folder, page):
    data, segmenter = data_of(page), Segmenter.from_pretrained("flowers")
    names = [file.relative_to(folder).as_posix() for file in folder.rglob("*.png")]
    assert sorted(photo["name"] for photo in data["photos"]) == sorted(names)
    for photo, picture in zip(data["photos"], data["pictures"], strict=True):
        file = folder / photo["name"]
        found = segmenter.segment([file])[0]
        height, width = found.masks.shape[1:]
        assert photo["doubt"] == pytest.approx(found.doubt, abs=1e-4)
        assert photo["size"] == [width, height]
        assert max(photo["panel"]) == min(320, max(photo["size"]))
        shown, soft, votes = panels_of(picture)
        assert soft.shape == votes.shape == (*photo["panel"][::-1], 3)
        original = Image.open(file).resize(tuple(photo["panel"]))
        assert np.abs(shown - np.asarray(original, int)).mean() < 4
        expected = Image.fromarray(found.masks[1]).resize(tuple(photo["panel"]), Image.Resampling.BILINEAR)
        assert ((soft[..., 0] > 127) != (np.asarray(expected) > 0.5)).mean() < 0.02
        assert photo["area"] == pytest.approx((found.masks[1] > 0.5).mean(), abs=0.02)


def test_no_name_ends_the_script_and_nothing_is_fetched(page):
    text = page.read_text(encoding="utf-8")
    assert "</script><b>" not in text
    assert not re.findall(r"""(?:src|href)=["'](?!data:)[^"']*["']|https?://|url\(|@import""", text)


def test_the_same_photos_are_the_same_page(folder, page, tmp_path):
    again = tmp_path / "report.html"
    report("flowers", [folder], again)
    assert again.read_bytes() == page.read_bytes()


def test_pictures_of_many_photos_lie_beside_the_page(folder, page, tmp_path, monkeypatch):
    monkeypatch.setattr(pages, "INSIDE", 4)
    monkeypatch.setattr(pages, "_A_FILE", 3)
    out = tmp_path / "some name.html"
    report("flowers", [folder], out)
    data, beside = data_of(out), tmp_path / "some name_files"
    assert (data["pictures"], data["beside"], data["a_file"]) == ([], beside.name, 3)
    assert sorted(data["files"]) == sorted(file.name for file in beside.iterdir())
    found: dict[int, str] = {}
    for name in data["files"]:
        text = (beside / name).read_text()
        start, part = re.fullmatch(r"redosegPictures\((\d+), (\[.*\])\);\n", text).groups()
        found.update(enumerate(json.loads(part), int(start)))
    assert [found[number] for number in range(7)] == data_of(page)["pictures"]
    before = {file.name: file.read_bytes() for file in beside.iterdir()}
    report("flowers", [folder], out)
    assert before == {file.name: file.read_bytes() for file in beside.iterdir()}
    report("flowers", [folder / "a.png", folder / "b.png"], out)  # fewer: none is left beside
    assert len(data_of(out)["pictures"]) == 2
    assert not beside.exists()


def test_a_report_that_was_killed_is_no_hindrance_and_leaves_the_old_page_whole(
    folder, tmp_path, monkeypatch
):
    monkeypatch.setattr(pages, "INSIDE", 2)
    monkeypatch.setattr(pages, "_A_FILE", 2)
    out, beside = tmp_path / "r.html", tmp_path / "r_files"
    report("flowers", [folder], out)
    before = {file: file.read_bytes() for file in (out, *beside.iterdir())}
    with monkeypatch.context() as patch:
        patch.setattr(pages, "_page", lambda content: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            report("faces", [folder], out)
    assert {file: file.read_bytes() for file in before} == before
    (beside / f".0123456789abcdef.js.{files._machine()}-{2**22 + 1}").write_text("torn")
    report("flowers", [folder], out)
    assert {file: file.read_bytes() for file in (out, *beside.iterdir())} == before


def test_some_are_evenly_spaced_and_the_rest_is_counted(folder, page, tmp_path):
    out = tmp_path / "report.html"
    found = report("flowers", [folder], out, most=3)
    assert (found.shown, found.beyond) == (3, 4)
    assert data_of(out)["photos"] == data_of(page)["photos"][::3]
    assert "Shown are 3 of 7 photos, evenly spaced." in out.read_text(encoding="utf-8")


@pytest.mark.parametrize("packing", ["gz", ""])
def test_photos_of_an_archive(folder, page, tmp_path, packing):
    archive = tmp_path / f"photos.tar{'.gz' if packing else ''}"
    with tarfile.open(archive, f"w:{packing}") as tar:  # type: ignore[call-overload]
        tar.add(folder, "photos")
    report("flowers", [archive], tmp_path / "report.html")
    of_files = {Path(one["name"]).name: one["doubt"] for one in data_of(page)["photos"]}
    packed = {Path(one["name"]).name: one["doubt"] for one in data_of(tmp_path / "report.html")["photos"]}
    assert packed == of_files


def test_photos_that_cannot_be_read_are_named_in_the_end(folder, tmp_path, command):
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    shutil.copy(folder / "a.png", mixed)
    (mixed / "broken.png").write_bytes((folder / "b.png").read_bytes()[:60])
    out = tmp_path / "report.html"
    code, output, error = command("report", "flowers", mixed, "-o", out)
    assert code == 1
    assert re.fullmatch(r"\d of 1 masks are sure; 1 photos, 0 left out: .*report.html\n", output)
    assert error.splitlines()[0].startswith("redoseg: broken.png: ")
    assert "1 photos could not be read" in out.read_text(encoding="utf-8")
    (mixed / "a.png").unlink()
    refused_command(command, "not one of 1 photos can be read", "report", "flowers", mixed, "-o", out)
    assert len(data_of(out)["photos"]) == 1  # what was there is still there


def test_what_is_no_report_is_not_replaced(folder, tmp_path, command):
    mine = tmp_path / "mine.html"
    mine.write_text("<html>my own page</html>")
    with refusal(DataError, "mine.html is there and is no report of redoseg's"):
        report("flowers", [folder], mine)
    assert mine.read_text() == "<html>my own page</html>"
    (tmp_path / "r_files").mkdir()
    (tmp_path / "r_files" / "notes.txt").write_text("mine")
    with refusal(DataError, "notes.txt is in the way"):
        report("flowers", [folder], tmp_path / "r.html")
    (tmp_path / "r_files" / "notes.txt").rename(tmp_path / "r_files" / "0123456789abcdef.js")
    with refusal(DataError, "0123456789abcdef.js is in the way"):
        report("flowers", [folder], tmp_path / "r.html")
    refused_command(command, "is a folder: name a file", "report", "flowers", folder, "--out", tmp_path)
    refused_command(command, "ends in .html", "report", "flowers", folder, "--out", tmp_path / "page.pdf")


def test_one_folder_may_be_given_by_itself(folder, page, tmp_path):
    report("flowers", folder, tmp_path / "a.html")
    report("flowers", str(folder), tmp_path / "b.html")
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes() == page.read_bytes()


def test_without_photos_or_a_model_there_is_one_line(folder, tmp_path, command):
    out = tmp_path / "report.html"
    with refusal(ConfigError, r"^flowers comes without photos: name some"):
        report("flowers", [], out)
    with refusal(ConfigError, r"^--most is 0: it must be at least 1$"):
        report("flowers", [folder], out, most=0)
    with refusal(DataError, "there is no .*nowhere"):
        report("flowers", [tmp_path / "nowhere"], out)
    with refusal(ModelError):
        report(tmp_path / "no-model", [folder], out)
    assert not out.exists()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    data = photos(tmp_path_factory.mktemp("data") / "photos", train=8, val=2)
    return trained(tiny(data, data.parent / "run", steps=6))


@pytest.mark.training
def test_of_a_run_it_has_curves_redraws_options_and_its_own_photos(run, tmp_path):
    out = tmp_path / "report.html"
    found = report(run.path, (), out)
    text = out.read_text(encoding="utf-8")
    assert found.shown == 10
    assert len(re.findall("<svg", text)) == len(curves_of(read_log(run.metrics)))
    for said in ("Input, mask and redraws", "--lambda-z", "6 steps in", "Verdict of the training", "IoU"):
        assert said in text


@pytest.mark.training
def test_every_training_by_command_leaves_one(run, tmp_path, command):
    options = ["--size", "32", "--f-width", "4", "--f-blocks", "1", "--batch", "4", "--steps", "2"]
    out = tmp_path / "student"
    code, output, _ = command("distill", run.path, "--out", out, "--device", "cpu", *options)
    assert code == 0
    assert f"to look at:              {out / 'report.html'}" in output
    assert len(data_of(out / "report.html")["photos"]) == 10


@pytest.mark.training
def test_of_drawn_scenes_some_are_shown(tmp_path):
    config = TrainConfig.of(data="digit", out=tmp_path / "run", **TINY | {"steps": 2, "size": 32})
    run = trained(config)
    found = report(run.path, (), tmp_path / "r.html", most=3)
    assert found.shown == 3
    assert found.beyond > 0
    said = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert f"Shown are 3 of {3 + found.beyond} photos, the first ones." in said
    assert [photo["name"] for photo in data_of(tmp_path / "r.html")["photos"]] == [
        f"digit {name}" for name in open_dataset(["digit"], size=32).split("val").names[:3]
    ]


def test_photos_behind_the_damage_of_an_archive_are_named(folder, tmp_path):
    archive = tmp_path / "photos.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, "photos")
    refs = list_photos([archive])[0]
    archive.write_bytes(archive.read_bytes()[:200])
    opened = [opener for _, opener in named(refs, [ref.name for ref in refs])]
    assert len(opened) == 7
    with pytest.raises((DataError, OSError)):
        opened[-1]()


@pytest.mark.training
def test_training_succeeds_where_the_page_cannot_be_made(run, tmp_path, command):
    copy = tmp_path / "run"
    shutil.copytree(run.path, copy)
    (copy / "report.html").write_text("someone's own")
    code, output, error = command("resume", copy)
    assert code == 0
    assert "there is no report of it: " in error
    assert "masks for your photos" in output
    assert (copy / "report.html").read_text() == "someone's own"


def test_curves_are_those_of_the_log_and_a_torn_line_is_passed_over(tmp_path):
    log = tmp_path / "metrics.jsonl"
    lines = [
        {"step": 10, "losses": {"L_G": 1.5, "L_D": 2.0}, "region_sizes": [0.7, 0.3], "val": None},
        {
            "step": 20,
            "losses": {"L_G": -0.5, "L_D": 1.0},
            "region_sizes": [0.6, 0.4],
            "label_free": 0.25,
            "val": {"per_dataset": {"iou": 0.5, "accuracy": 0.9}},
        },
    ]
    log.write_text("".join(f"{json.dumps(line)}\n" for line in lines) + '{"step": 30, "los')
    curves = curves_of(read_log(log))
    assert curves == {
        "losses": {"L_G": [(10, 1.5), (20, -0.5)], "L_D": [(10, 2.0), (20, 1.0)]},
        "share of the image": {"background": [(10, 0.7), (20, 0.6)], "object": [(10, 0.3), (20, 0.4)]},
        "label-free score": {"label-free score": [(20, 0.25)]},
        "scores by masks": {"IoU": [(20, 0.5)], "accuracy": [(20, 0.9)]},
    }
    assert read_log(tmp_path / "none.jsonl") == []


def test_odd_lines_of_a_log_and_odd_pictures_are_passed_over(run, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(run.path, copy)
    odd = [
        '{"step": null}',
        '{"step": 3, "losses": [1], "val": 7, "region_sizes": null, "seconds": null}',
        "7",
    ]
    with open(copy / "metrics.jsonl", "a") as log:
        log.write("\n".join(odd))
    (copy / "samples" / "step-old.png").write_bytes(b"")
    assert report(copy, (), tmp_path / "report.html").shown == 10
    assert curves_of(read_log(copy / "metrics.jsonl")) == curves_of(read_log(run.metrics))


def test_other_masks_are_another_page_for_the_ticks_of_a_browser(folder, page, tmp_path):
    report("faces", [folder], tmp_path / "report.html")
    assert data_of(tmp_path / "report.html")["id"] != data_of(page)["id"]


def test_a_chart_goes_from_the_lowest_value_to_the_highest():
    svg = draw_chart("a <title>", {"one": [(0, -1.0), (50, 3.0), (100, 1.0)]})
    points = re.search(r'points="([^"]*)"', svg)[1].split()
    places = [tuple(map(float, point.split(","))) for point in points]
    left, middle, right = places[:3]
    assert left[0] < middle[0] < right[0]
    assert middle[0] - left[0] == pytest.approx(right[0] - middle[0], abs=0.2)
    assert middle[1] < right[1] < left[1]  # up is less
    assert right[1] - middle[1] == pytest.approx(left[1] - right[1], abs=0.2)
    assert "a &lt;title&gt;" in svg
    shares = draw_chart("share", {"object": [(0, 0.2), (10, 0.4)]})
    assert ">0<" in shares  # shares are drawn from 0 to 1
    assert ">1<" in shares


def test_it_is_a_function_too():
    assert redoseg.report is report
