"""The API: what it answers is what `redoseg segment` writes, and what it refuses is refused in one line."""

import base64
import csv
import io
import json
import shutil
import threading
import zipfile
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image

from redoseg.config import SegmentConfig
from redoseg.data.corrections import find_corrections
from redoseg.segmentation.plan import list_photos
from redoseg.segmentation.segment import WrittenMask, segment_files
from redoseg.segmentation.segmenter import Segmenter
from redoseg.serving.limits import Limits
from served import serving

TYPES = ("mask", "soft", "rgba", "cutout", "overlay")


def discs(folder, count=3):
    """Photos of a bright disc, each of its own size."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for number in range(count):
        height, width = 90 + 10 * number, 120
        y, x = np.mgrid[:height, :width]
        inside = np.hypot(y - height / 2, x - 60) < 30
        noise = random.normal(0, 8, (height, width, 3))
        picture = np.where(inside[..., None], (240, 200, 40), (40, 90, 40)) + noise
        Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(folder / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return discs(tmp_path_factory.mktemp("served") / "photos")


@pytest.fixture(scope="module")
def corrections(tmp_path_factory):
    return tmp_path_factory.mktemp("corrected") / "corrections"


@pytest.fixture(scope="module")
def served(photos, corrections):
    with serving("flowers", [photos], corrections=corrections, limits=Limits(rate=0, megapixels=1)) as it:
        yield it


@pytest.fixture(autouse=True)
def no_corrections(corrections):
    """What a test has corrected, no other test sees."""
    yield
    shutil.rmtree(corrections, ignore_errors=True)


@pytest.fixture
def album(served):
    made = served.post("/api/albums")
    assert made.status == 201
    address = f"/api/albums/{made.json()['album']}"
    yield address
    served.ask("DELETE", address)


def pixels(content):
    with Image.open(io.BytesIO(content)) as image:
        return np.array(image)


@pytest.mark.parametrize("type", TYPES)
def test_a_picture_is_what_the_command_writes(served, photos, tmp_path, type):
    segmenter = Segmenter.from_pretrained("flowers")
    segment_files(segmenter, photos / "1.png", tmp_path, config=SegmentConfig(type=(type,), threshold=0.4))
    answer = served.post(f"/api/segment?type={type}&threshold=.4", (photos / "1.png").read_bytes())
    assert (answer.status, answer.headers["content-type"]) == (200, "image/png")
    np.testing.assert_array_equal(pixels(answer.body), pixels((tmp_path / "1.png").read_bytes()))


def test_what_is_said_is_what_the_command_says(served, photos, tmp_path):
    segmenter, said = Segmenter.from_pretrained("flowers"), list[WrittenMask]()
    segment_files(segmenter, photos / "0.png", tmp_path, each=said.append)
    answer = served.post("/api/segment", (photos / "0.png").read_bytes()).json()
    wanted = said[0].as_dict()
    assert {name: answer[name] for name in ("doubt", "area")} == {n: wanted[n] for n in ("doubt", "area")}
    assert tuple(answer["box"]) == wanted["box"]
    assert (answer["width"], answer["height"], answer["regions"]) == (120, 90, 2)
    assert "photo" not in answer


def test_the_pictures_in_json_fit_each_other(served, photos):
    answer = served.post("/api/segment?side=60", (photos / "2.png").read_bytes()).json()
    assert answer["shown"] == [60, 55]
    photo = pixels(base64.b64decode(answer["photo"]))
    (soft,) = (pixels(base64.b64decode(mask)) for mask in answer["soft"])
    assert photo.shape == (55, 60, 3)
    assert soft.shape == (55, 60)
    assert (soft > 127).mean() == pytest.approx(answer["area"], abs=0.02)


def test_without_refining_it_is_the_networks_mask(served, photos):
    content = (photos / "0.png").read_bytes()
    found = pixels(served.post("/api/segment?type=mask&refine=off", content).body)
    plain = Segmenter.from_pretrained("flowers", refine="off")(photos / "0.png")
    np.testing.assert_array_equal(found > 0, plain.labels > 0)


@pytest.mark.parametrize(
    ("query", "status", "said"),
    [
        ("type=png", 400, "choose from json, mask"),
        ("typ=mask", 400, "there is no parameter 'typ'"),
        ("threshold=3", 400, "threshold is 3.0: it must be above 0 and below 1"),
        ("threshold=much", 400, "it must be a number"),
        ("region=2", 400, "region is 2: the model's regions are 0 to 1"),
        ("side=5", 400, "side is 5: it must be from 32 to 2048"),
        ("largest=maybe", 400, "it must be 1 or 0"),
        ("largest=1&instances=.1", 400, "give one of them"),
        ("refine=maybe", 400, "choose from auto, off"),
    ],
)
def test_a_parameter_that_cant_be_is_refused(served, photos, query, status, said):
    answer = served.post(f"/api/segment?{query}", (photos / "0.png").read_bytes())
    assert answer.status == status
    assert said in answer.error


def icon():
    """An icon of 16 x 16 pixels with a far larger picture in it, which Pillow decodes to learn its size."""
    stream = io.BytesIO()
    Image.new("RGBA", (16, 16)).save(stream, "ICO")
    return stream.getvalue()


def bomb():
    """A PNG of 20,000 x 20,000 black pixels: some hundred kB."""
    stream = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(stream, "PNG")
    return stream.getvalue()


def large():
    stream = io.BytesIO()
    Image.new("RGB", (1100, 1000)).save(stream, "PNG")
    return stream.getvalue()


def cut_short():
    stream = io.BytesIO()
    Image.effect_noise((200, 200), 50).save(stream, "PNG")
    return stream.getvalue()[:900]


@pytest.mark.parametrize(
    ("content", "status", "said"),
    [
        (lambda: b"", 400, "no body"),
        (lambda: b"no image at all", 415, "not an image"),
        (lambda: b"%PDF-1.7 " * 20, 415, "not an image"),
        (icon, 415, "not an image"),
        (bomb, 413, "more than 1 million pixels"),
        (large, 413, "1100 x 1000 are more than 1 million pixels"),
        (cut_short, 415, ""),
    ],
)
def test_what_is_no_photo_is_refused(served, content, status, said):
    answer = served.post("/api/segment", content())
    assert answer.status == status
    assert said in answer.error


def test_a_file_that_is_too_large_is_refused_before_it_has_come(served):
    head = served.post("/api/segment", b"x", content_length=str(33 << 20))
    assert (head.status, head.error) == (413, "more than 32 MB: make it smaller first")
    streamed = served.ask("POST", "/api/segment", iter([b"x" * (1 << 20)] * 33))
    assert streamed.status == 413


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/assets/../app.py", 404),
        ("GET", "/assets/%2e%2e/app.py", 404),
        ("DELETE", "/api/model", 405),
        ("GET", "/api/albums/none", 404),
        ("GET", "/api/albums/none/masks.zip", 404),
        ("GET", "/api/samples/none.png", 404),
        ("GET", "/api/samples/..%2f..%2fetc%2fpasswd", 404),
    ],
)
def test_what_is_not_there_is_said(served, method, path, status):
    answer = served.ask(method, path)
    assert answer.status == status
    assert answer.error


def test_pages_of_others_get_nothing(served):
    assert served.get("/api/model", Origin="http://elsewhere.example").status == 403
    assert served.get("/api/model", Origin="null").status == 403
    assert served.get("/api/model", Sec_Fetch_Site="cross-site").status == 403
    assert served.get("/api/model", Origin=served.address).status == 200
    answer = served.ask("OPTIONS", "/api/segment", Origin="http://elsewhere.example")
    assert not [name for name in answer.headers if name.lower().startswith("access-control")]


def test_what_is_no_address_is_no_error_of_the_server(served):
    answer = served.get("/api/model", Origin="http://[")
    assert answer.status == 403
    assert "X-Frame-Options" in answer.headers
    assert (
        served.post("/api/segment?region=1&region=0", b"x").error == "region is given 2 times: give it once"
    )


def test_every_answer_keeps_browsers_in(served):
    for path in ("/", "/api/model", "/nothing", "/assets/page.js"):
        headers = served.get(path).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "default-src 'none'" in headers["Content-Security-Policy"]


def test_samples_are_photos_that_were_named(served, photos):
    names = served.get("/api/samples").json()["samples"]
    assert names == ["0.png", "1.png", "2.png"]
    assert served.get("/api/samples/1.png").body == (photos / "1.png").read_bytes()


def test_an_album_keeps_photos_until_it_is_removed(served, photos, album):
    content = (photos / "0.png").read_bytes()
    added = served.put(f"{album}/photos/a/b%20c.png", content)
    assert added.json() == served.post("/api/segment", content).json()
    assert served.get(album).json()["photos"] == ["a/b c.png"]
    assert served.get(f"{album}/files/a/b%20c.png").body == content
    shown = served.get(f"{album}/photos/a/b%20c.png?type=mask")
    assert shown.body == served.post("/api/segment?type=mask", content).body
    assert served.ask("DELETE", album).status == 204
    assert served.get(album).status == 404


@pytest.mark.parametrize(
    "name", ["%2e%2e/x.png", "a/../x.png", "/x.png", "a%5cb.png", ".hidden.png", "a%00.png"]
)
def test_a_name_that_leads_elsewhere_is_refused(served, photos, album, name):
    answer = served.put(f"{album}/photos/{name}", (photos / "0.png").read_bytes())
    assert answer.status == 400
    assert served.get(album).json()["photos"] == []


@pytest.mark.parametrize(
    "name", ["9.41.00\u202fAM.png", "a:b #%?.png", "\u3000.png", "\U0001f469\u200d\U0001f33e.png"]
)
def test_odd_names_are_names(served, photos, album, name):
    content = (photos / "0.png").read_bytes()
    assert served.put(f"{album}/photos/{quote(name)}", content).status == 200
    assert served.get(album).json()["photos"] == [name]
    assert served.get(f"{album}/photos/{quote(name)}?type=mask").status == 200
    with zipfile.ZipFile(io.BytesIO(served.get(f"{album}/masks.zip").body)) as archive:
        assert len(archive.namelist()) == 2  # photos.csv and one mask


def test_what_is_no_photo_is_not_kept(served, photos, album):
    assert served.put(f"{album}/photos/a.png", b"no image").status == 415
    assert served.get(album).json()["photos"] == []
    assert served.put(f"{album}/photos/a.png", (photos / "0.png").read_bytes()).status == 200
    within = served.put(f"{album}/photos/a.png/b.png", (photos / "0.png").read_bytes())
    assert (within.status, "a folder's name" in within.error) == (409, True)


def test_the_archive_is_what_the_command_writes(served, photos, album, tmp_path):
    for name in ("0.png", "1.png"):
        served.put(f"{album}/photos/sub/{name}", (photos / name).read_bytes())
    config = SegmentConfig(
        type=("mask", "cutout"), annotations=("coco", "labelme", "yolo", "colmap"), category="flower"
    )
    there = tmp_path / "there" / "sub"
    there.mkdir(parents=True)
    for name in ("0.png", "1.png"):
        (there / name).write_bytes((photos / name).read_bytes())
    segment_files(Segmenter.from_pretrained("flowers"), there.parent, tmp_path / "out", config=config)
    query = "type=mask,cutout&annotations=coco,labelme,yolo,colmap&category=flower&measurements=1"
    answer = served.get(f"{album}/masks.zip?{query}")
    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.body)) as archive:
        found = {name: archive.read(name) for name in archive.namelist()}
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file() and path.name[0] != "."]
    wanted = {path.relative_to(tmp_path / "out").as_posix(): path for path in files}
    assert set(found) == {*wanted, "photos.csv", "measurements.csv"}
    for name in wanted:
        if not name.startswith("labelme"):  # they say where the photos lie
            assert found[name] == wanted[name].read_bytes(), name
    label = json.loads(found["labelme/0.json"])
    assert label["imagePath"] == "../../photos/sub/0.png"
    rows = list(csv.DictReader(io.StringIO(found["photos.csv"].decode())))
    assert [(row["photo"], row["mask"]) for row in rows] == [
        (f"sub/{name}", f"mask/{name}") for name in ("0.png", "1.png")
    ]
    measured = list(csv.DictReader(io.StringIO(found["measurements.csv"].decode())))
    assert [row["photo"] for row in measured] == ["sub/0.png", "sub/1.png"]
    assert served.get(album).json()["packed"] == 2


@pytest.mark.parametrize("query", ["type=nothing", "annotations=voc", "annotations=coco,coco-rle", "x=1"])
def test_an_archive_that_cant_be_is_refused(served, photos, album, query):
    served.put(f"{album}/photos/0.png", (photos / "0.png").read_bytes())
    answer = served.get(f"{album}/masks.zip?{query}")
    assert answer.status == 400
    assert answer.error


def test_what_is_left_out_of_the_archive_is_in_its_table(served, photos, album):
    for name in ("a.png", "b.txt"):
        served.put(f"{album}/photos/{name}", (photos / "0.png").read_bytes())
    with zipfile.ZipFile(io.BytesIO(served.get(f"{album}/masks.zip").body)) as archive:
        rows = list(csv.DictReader(io.StringIO(archive.read("photos.csv").decode())))
    assert [(row["photo"], bool(row["error"])) for row in rows] == [("a.png", False), ("b.txt", True)]


@pytest.mark.parametrize("wanted", ["garbage", "bytes=99999999999-", "bytes=0-3"])
def test_an_archive_is_sent_whole_and_leaves_nothing(served, photos, album, wanted):
    served.put(f"{album}/photos/0.png", (photos / "0.png").read_bytes())
    answer = served.get(f"{album}/masks.zip", Range=wanted)
    assert answer.status == 200
    with zipfile.ZipFile(io.BytesIO(answer.body)) as archive:
        assert "0.png" in archive.namelist()
    assert served.ask("HEAD", f"{album}/masks.zip").status == 405


def test_corrections_and_a_folder_of_that_name_dont_meet(served, photos, album):
    content = (photos / "0.png").read_bytes()
    for name in ("a.png", "corrections/a.png", "b/c.png"):
        served.put(f"{album}/photos/{name}", content)
    served.put(f"{album}/corrections/a.png", strokes(45, 60, 1, (0, 0, 5, 5)))
    with zipfile.ZipFile(io.BytesIO(served.get(f"{album}/masks.zip").body)) as archive:
        names = archive.namelist()
    assert len(names) == len(set(names))
    assert {"corrections/a.png", "corrections-painted/a.png.png"} <= set(names)


def test_no_path_of_the_server_is_told(served, photos, album):
    for name in ("a.jpg", "a.png"):
        served.put(f"{album}/photos/{name}", (photos / "0.png").read_bytes())
    answer = served.get(f"{album}/masks.zip?annotations=yolo")
    assert answer.status == 400
    assert "a.jpg" in answer.error
    assert "tmp" not in answer.error


def test_an_archive_of_no_photos_is_refused(served, album):
    assert served.get(f"{album}/masks.zip").status == 404


def strokes(height, width, region, box):
    drawn = np.full((height, width), 255, np.uint8)
    left, top, right, bottom = box
    drawn[top:bottom, left:right] = region
    stream = io.BytesIO()
    Image.fromarray(np.stack([drawn] * 3, -1)).save(stream, "PNG")  # as a canvas writes it
    return stream.getvalue()


def test_a_painted_mask_is_saved_where_fix_finds_it(served, photos, corrections, album):
    content = (photos / "0.png").read_bytes()
    served.put(f"{album}/photos/0.png", content)
    before = pixels(served.post("/api/segment?type=mask", content).body) > 0
    painted = served.put(f"{album}/corrections/0.png", strokes(45, 60, 1, (0, 0, 10, 5)))
    assert painted.status == 200, painted.body
    wanted = before.copy()
    wanted[:10, :20] = True
    assert painted.json()["area"] == pytest.approx(wanted.mean())
    found = find_corrections(corrections, list_photos([photos])[0], 2)
    assert [one.photo.entry.path for one in found.found] == ["0.png"]
    np.testing.assert_array_equal(found.found[0].read() > 0, wanted)
    # What is shown and downloaded from now on is the corrected one, and it can be corrected again.
    np.testing.assert_array_equal(pixels(served.get(f"{album}/photos/0.png?type=mask").body) > 0, wanted)
    assert served.get(f"{album}/photos/0.png").json()["box"][:2] == [0, 0]
    assert served.put(f"{album}/corrections/0.png", strokes(45, 60, 0, (0, 0, 60, 45))).json()["area"] == 0
    with zipfile.ZipFile(io.BytesIO(served.get(f"{album}/masks.zip").body)) as archive:
        assert not pixels(archive.read("corrections/0.png.png")).any()


def test_a_mask_that_was_saved_is_there_again_and_can_be_forgotten(served, photos, corrections, album):
    content = (photos / "0.png").read_bytes()
    model = pixels(served.post("/api/segment?type=mask", content).body) > 0
    assert served.put(f"{album}/photos/0.png", content).json()["corrected"] is False
    served.put(f"{album}/corrections/0.png", strokes(45, 60, 1, (0, 0, 10, 5)))
    saved = (corrections / "0.png.png").read_bytes()
    again = f"/api/albums/{served.post('/api/albums').json()['album']}"  # the page was loaded anew
    said = served.put(f"{again}/photos/0.png?side=60", content).json()
    assert said["corrected"] is True
    (soft,) = (pixels(base64.b64decode(mask)) for mask in said["soft"])
    assert set(np.unique(soft)) == {0, 255}
    assert (soft[:5, :10] == 255).all()
    with zipfile.ZipFile(io.BytesIO(served.get(f"{again}/masks.zip").body)) as archive:
        assert archive.read("corrections/0.png.png") == saved
    nothing = strokes(45, 60, 1, (0, 0, 0, 0))
    assert served.put(f"{again}/corrections/0.png", nothing).json()["replaced"] is False
    assert (corrections / "0.png.png").read_bytes() == saved
    assert served.ask("DELETE", f"{again}/corrections/0.png").status == 204
    assert not (corrections / "0.png.png").exists()
    np.testing.assert_array_equal(pixels(served.get(f"{again}/photos/0.png?type=mask").body) > 0, model)
    served.ask("DELETE", again)


def test_a_mask_of_somebody_else_is_not_written_over(served, photos, corrections, album):
    served.put(f"{album}/photos/2.png", (photos / "2.png").read_bytes())
    corrections.mkdir(exist_ok=True)
    Image.new("L", (5, 5)).save(corrections / "2.png.png")
    theirs = (corrections / "2.png.png").read_bytes()
    answer = served.put(f"{album}/corrections/2.png", strokes(55, 60, 1, (0, 0, 5, 5)))
    assert answer.status == 409
    assert "choose other --corrections" in answer.error
    assert (corrections / "2.png.png").read_bytes() == theirs


@pytest.mark.parametrize("query", ["region=0", "region=1", "instances=.01", "type=mask", "side=64"])
def test_a_correction_is_of_all_regions_and_of_no_pieces(served, photos, album, query):
    served.put(f"{album}/photos/1.png", (photos / "1.png").read_bytes())
    answer = served.put(f"{album}/corrections/1.png?{query}", strokes(50, 60, 1, (0, 0, 5, 5)))
    assert answer.status == 400
    assert "there is no parameter" in answer.error


def test_a_corrected_photo_is_shown_as_it_is_corrected(served, photos, album):
    served.put(f"{album}/photos/1.png", (photos / "1.png").read_bytes())
    first = served.put(f"{album}/corrections/1.png", strokes(50, 60, 0, (0, 0, 60, 25))).json()
    shown = {
        query: pixels(served.get(f"{album}/photos/1.png?{query}").body)
        for query in ("type=mask", "type=mask&threshold=.9", "type=mask&region=0", "type=soft")
    }
    mask = shown["type=mask"] > 0
    assert mask.mean() == pytest.approx(first["area"])
    assert not mask[:50].any()
    np.testing.assert_array_equal(shown["type=mask&threshold=.9"] > 0, mask)
    np.testing.assert_array_equal(shown["type=mask&region=0"] > 0, ~mask)
    np.testing.assert_array_equal(shown["type=soft"], np.where(mask, 65535, 0))


def test_a_mask_of_another_photo_of_that_name_is_replaced_and_that_is_said(served, photos, corrections):
    said = []
    for name, height in (("0.png", 45), ("1.png", 50)):  # another photo of the same name
        page = f"/api/albums/{served.post('/api/albums').json()['album']}"
        served.put(f"{page}/photos/same.png", (photos / name).read_bytes())
        for _ in range(2):
            answer = served.put(f"{page}/corrections/same.png", strokes(height, 60, 1, (0, 0, 5, 5)))
            said.append(answer.json()["replaced"])
        served.ask("DELETE", page)
    assert said == [False, False, True, False]


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"no PNG", 415),
        (strokes(50, 60, 2, (0, 0, 1, 1)), 400),
        (strokes(2000, 2400, 1, (0, 0, 1, 1)), 400),
        (strokes(60, 50, 1, (0, 0, 1, 1)), 400),
    ],
)
def test_what_cant_have_been_painted_is_refused(served, photos, album, content, status):
    served.put(f"{album}/photos/1.png", (photos / "1.png").read_bytes())
    answer = served.put(f"{album}/corrections/1.png", content)
    assert answer.status == status
    assert answer.error


def test_many_clients_at_once_get_right_answers_or_are_told_to_come_again(photos, tmp_path):
    content = (photos / "0.png").read_bytes()
    limits = Limits(rate=0, queue=0)
    with serving("flowers", [photos], corrections=tmp_path, limits=limits) as busy:
        right = busy.post("/api/segment?type=mask", content).body
        answers = []

        def client():
            for _ in range(5):
                answers.append(busy.post("/api/segment?type=mask", content))

        threads = [threading.Thread(target=client) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(answers) == 80
    assert {answer.status for answer in answers} == {200, 503}
    assert all(answer.body == right for answer in answers if answer.status == 200)
    assert all(answer.headers["Retry-After"] == "1" for answer in answers if answer.status == 503)


def test_a_token_is_asked_for(photos, tmp_path):
    with serving("flowers", [photos], token="open sesame?".replace(" ", "-"), corrections=tmp_path) as it:
        for path in ("/", "/?token=wrong", "/api/model", "/assets/page.js", "/api/model?token=open-sesame?"):
            assert it.get(path).status == 401, path
        assert it.get("/api/model", Authorization="Bearer wrong").status == 401
        assert it.get("/api/model", Authorization="Bearer open-sesame?").status == 200
        page = it.get("/?token=open-sesame?")
        assert (page.status, page.headers["location"]) == (303, "/")
        cookie = page.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "samesite=lax" in cookie.lower()
        kept = cookie.partition(";")[0]
        assert it.get("/api/model", Cookie=kept).status == 200
        assert (
            it.get("/api/model", Cookie=f'other={{"x":1}}; b=x y; {kept}').status == 200
        )  # of other programs


def test_only_its_own_names_are_answered(photos, tmp_path):
    with serving("flowers", [photos], hosts=("127.0.0.1", "localhost"), corrections=tmp_path) as it:
        assert it.get("/api/model", Host="localhost:80").status == 200
        assert it.get("/api/model", Host="rebound.example").status == 403


def test_the_description_has_every_address(served):
    described = served.get("/api/openapi.json").json()
    from redoseg.serving.app import _routes  # noqa: PLC0415

    stand_in: Any = None
    routes = _routes(stand_in)
    found = {
        (route.path.replace(":path", ""), method.lower())
        for route in routes
        for method in route.methods - {"HEAD"}
        if route.path.startswith("/api/") and route.path not in ("/api/docs", "/api/openapi.json")
    }
    wanted = {(path, method) for path, methods in described["paths"].items() for method in methods}
    assert found == wanted
