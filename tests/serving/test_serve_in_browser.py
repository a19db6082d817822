"""The page of `redoseg serve` in a real browser: `make browser`."""

import io
import json
import shutil
import zipfile

import numpy as np
import pytest
from PIL import Image

from redoseg.serving.limits import Limits
from served import serving

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A bright disc on green, and one that is hard to see."""
    folder = tmp_path_factory.mktemp("browsed") / "photos"
    (folder / "sub").mkdir(parents=True)
    y, x = np.mgrid[:120, :160]
    inside = np.hypot(y - 60, x - 80) < 35
    noise = np.random.default_rng(0).normal(0, 10, (120, 160, 1))
    for name, colour in (("plain.png", (240, 200, 40)), ("sub/faint.png", (62, 118, 45))):
        picture = np.where(inside[..., None], colour, (45, 95, 45)) + noise
        Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(folder / name)
    return folder


@pytest.fixture(scope="module")
def corrections(tmp_path_factory):
    return tmp_path_factory.mktemp("corrected") / "corrections"


@pytest.fixture(autouse=True)
def no_corrections(corrections):
    """What a test has corrected, no other test sees."""
    yield
    shutil.rmtree(corrections, ignore_errors=True)


@pytest.fixture(scope="module")
def served(photos, corrections):
    with serving("flowers", [photos], corrections=corrections, limits=Limits(rate=0)) as it:
        yield it


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    with serving("digits", corrections=tmp_path_factory.mktemp("c"), limits=Limits(rate=0)) as it:
        yield it


@pytest.fixture
def opened(browser):
    """Opens a server's page, which must raise no error and be refused nothing, in a window of its own."""
    contexts, errors = [], []

    def opened(address, **options):
        contexts.append(browser.new_context(**{"viewport": {"width": 1200, "height": 900}} | options))
        page = contexts[-1].new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda line: errors.append(line.text) if _is_error(line) else None)
        page.goto(address)
        page.wait_for_selector("#brush option:nth-child(3)", state="attached")  # of the model's regions
        return page

    yield opened
    for context in contexts:
        context.close()
    assert errors == []


def _is_error(line):
    """Such as something that the page's own rules forbid; refusals, which Chromium notes, too, are none."""
    return line.type == "error" and not line.text.startswith("Failed to load resource")


def upload(page, *files):
    page.set_input_files("#files", [str(file) for file in files])
    finished(page)


def finished(page):
    """Wait until all photos are on the grid and drawn."""
    page.wait_for_selector("#grid li[data-drawn]")
    page.wait_for_selector("#work", state="hidden")


def seen(page, selector, what="white"):
    """How many pixels of a canvas are white, or opaque."""
    test = {"white": "d[i] === 255 && d[i+1] === 255 && d[i+2] === 255", "opaque": "d[i+3] === 255"}[what]
    script = (
        "c => { const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; let n = 0;"
        f" for (let i = 0; i < d.length; i += 4) if ({test}) n += 1; return n }}"
    )
    return page.eval_on_selector(selector, script)


def enlarge(page, name):
    page.click(f"#grid li:has-text('{name}') button")
    page.wait_for_selector(f"#canvas[data-drawn*='{name}']")


def test_a_photo_is_uploaded_and_its_mask_is_seen(opened, served, photos):
    page = opened(served.address)
    upload(page, photos / "plain.png")
    page.select_option("#view", "mask")
    page.wait_for_selector("#grid li[data-drawn^='mask']")
    content = (photos / "plain.png").read_bytes()
    area = served.post("/api/segment", content).json()["area"]
    assert seen(page, "#grid canvas") / (160 * 120) == pytest.approx(area, abs=0.01)
    assert "1 photo, 1 of them sure" in page.inner_text("#count")
    page.select_option("#view", "cutout")
    page.wait_for_selector("#grid li[data-drawn^='cutout']")
    assert seen(page, "#grid canvas", "opaque") / (160 * 120) == pytest.approx(area, abs=0.01)


def test_the_slider_moves_the_mask(opened, served, photos):
    page = opened(served.address)
    upload(page, photos / "sub" / "faint.png")
    page.select_option("#view", "mask")
    counts = []
    for threshold in ("0.05", "0.5", "0.95"):
        page.fill("#threshold", threshold)
        page.wait_for_selector(f"#grid li[data-drawn='mask {float(threshold)}']")
        counts.append(seen(page, "#grid canvas"))
    assert counts[0] > counts[1] > counts[2]
    assert page.inner_text("#threshold-value") == "0.95"


def test_the_doubtful_come_first(opened, served, photos):
    page = opened(served.address)
    upload(page, photos / "plain.png", photos / "sub" / "faint.png")
    doubts = page.eval_on_selector_all("#grid li", "cards => cards.map(card => card.photo.said.doubt)")
    assert doubts == sorted(doubts, reverse=True)
    page.select_option("#order", "name")
    assert page.inner_text("#grid li:first-child .name") == "faint.png"


def test_without_refining_masks_are_the_networks(opened, served, photos):
    page = opened(served.address)
    upload(page, photos / "sub" / "faint.png")
    content = (photos / "sub" / "faint.png").read_bytes()
    texts = []
    for query in ("", "?refine=off"):
        said = served.post(f"/api/segment{query}", content).json()
        texts.append(f"doubt {said['doubt']:.2f}, area {said['area']:.2f}")
    assert texts[0] != texts[1]
    assert page.inner_text("#grid .numbers") == texts[0]
    page.uncheck("#refine")
    page.wait_for_selector(f"#grid .numbers:has-text('{texts[1]}')")


def test_what_is_added_while_others_are_sent_costs_none(opened, served, photos, tmp_path):
    page = opened(served.address)
    many = [tmp_path / f"{number}.png" for number in range(12)]
    for file in many:
        file.write_bytes((photos / "plain.png").read_bytes())
    page.set_input_files("#files", [str(file) for file in many])
    page.uncheck("#refine")
    page.set_input_files("#files", str(photos / "plain.png"))
    page.wait_for_selector("#grid li:nth-child(13)[data-drawn]")
    finished(page)
    assert "13 photos" in page.inner_text("#count")
    assert page.locator("#failures li").count() == 0


def test_after_a_stop_others_can_be_sent(opened, served, photos, tmp_path):
    page = opened(served.address)
    many = [tmp_path / f"{number}.png" for number in range(30)]
    for file in many:
        file.write_bytes((photos / "plain.png").read_bytes())
    page.set_input_files("#files", [str(file) for file in many])
    page.click("#stop")
    left = int(page.inner_text("#status").split()[1])
    page.set_input_files("#files", str(photos / "sub" / "faint.png"))
    page.wait_for_selector("#grid li:has-text('faint.png')[data-drawn]")
    page.wait_for_selector("#work", state="hidden")
    assert page.locator("#grid li").count() == 30 - left + 1
    assert 0 < left < 30


def test_two_photos_of_one_name_are_two(opened, served, photos, tmp_path):
    page = opened(served.address)
    (tmp_path / "plain.png").write_bytes((photos / "sub" / "faint.png").read_bytes())
    upload(page, photos / "plain.png")
    page.set_input_files("#files", str(tmp_path / "plain.png"))
    page.wait_for_selector("#grid li:nth-child(2)[data-drawn]")
    names = page.eval_on_selector_all("#grid li", "cards => cards.map(card => card.photo.name).sort()")
    assert names == ["plain (2).png", "plain.png"]
    assert "1 had the name of another photo" in page.inner_text("#status")


def test_what_is_painted_stays_with_its_photo(opened, served, photos):
    page = opened(served.address)
    upload(page, photos / "plain.png", photos / "sub" / "faint.png")
    page.select_option("#view", "mask")
    page.select_option("#order", "name")
    enlarge(page, "faint.png")
    page.select_option("#brush", "1")
    page.fill("#brush-size", "40")
    box = page.locator("#canvas").bounding_box()
    before = seen(page, "#canvas")
    page.mouse.click(box["x"] + 5, box["y"] + 5)
    painted = seen(page, "#canvas")
    assert painted > before
    page.click("#next")
    page.wait_for_selector("#canvas[data-drawn*='plain.png']")
    page.click("#undo")
    assert page.inner_text("#saved") == "There is nothing to undo."
    page.click("#previous")
    page.wait_for_selector("#canvas[data-drawn*='faint.png']")
    assert page.inner_text("#saved") == "What you painted is not saved yet."
    assert seen(page, "#canvas") == painted
    page.click("#undo")
    assert seen(page, "#canvas") == before


def test_samples_and_what_cant_be_read(opened, served, photos, tmp_path):
    page = opened(served.address)
    page.click("#samples")
    finished(page)
    assert page.locator("#grid li").count() == 2
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    with page.expect_response(lambda answer: answer.status == 415):
        page.set_input_files("#files", str(tmp_path / "broken.jpg"))
    page.wait_for_selector("#failures:has-text('1 could not be done')")
    assert "broken.jpg: not an image" in page.text_content("#failures li")
    page.click("#clear")
    page.wait_for_selector("#found", state="hidden")
    assert page.locator("#grid li").count() == 0


def test_a_folder_is_sent_by_the_names_within_it(opened, served, photos):
    page = opened(served.address)
    page.set_input_files("#folder", str(photos))
    finished(page)
    names = page.eval_on_selector_all("#grid li", "cards => cards.map(card => card.photo.name).sort()")
    assert names == ["plain.png", "sub/faint.png"]


def test_a_mask_is_painted_and_saved(opened, served, photos, corrections):
    page = opened(served.address)
    upload(page, photos / "plain.png")
    page.select_option("#view", "mask")
    enlarge(page, "plain.png")
    before = seen(page, "#canvas")
    page.select_option("#brush", "1")
    page.fill("#brush-size", "20")
    box = page.locator("#canvas").bounding_box()
    scale = box["width"] / 160  # it is shown larger than it is
    page.mouse.move(box["x"] + 15 * scale, box["y"] + 15 * scale)
    page.mouse.down()
    page.mouse.move(box["x"] + 40 * scale, box["y"] + 15 * scale)
    page.mouse.up()
    painted = seen(page, "#canvas") - before
    assert painted > 300
    page.select_option("#brush", "0")
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.up()
    erased = before + painted - seen(page, "#canvas")
    assert erased > 200
    page.click("#undo")
    assert seen(page, "#canvas") == before + painted
    page.click("#save")
    page.wait_for_selector("#saved:has-text('Saved')")
    with Image.open(corrections / "plain.png.png") as saved:
        mask = np.array(saved)
    assert mask.shape == (120, 160)
    assert (mask > 0).sum() == before + painted
    assert mask[15, 20] == 255
    with page.expect_download() as download:
        page.click("#one")
    with Image.open(download.value.path()) as one:
        np.testing.assert_array_equal(np.array(one), mask)
    page.click("#close")
    assert "corrected" in page.inner_text("#grid .tick")


def test_a_saved_mask_is_there_when_the_page_is_loaded_anew(opened, served, photos, corrections):
    page = opened(served.address)
    upload(page, photos / "sub" / "faint.png")
    page.select_option("#view", "mask")
    enlarge(page, "faint.png")
    model = seen(page, "#canvas")
    page.select_option("#brush", "1")
    box = page.locator("#canvas").bounding_box()
    assert box["width"] > 400  # small photos are made large
    page.mouse.click(box["x"] + 9, box["y"] + 9)
    assert page.inner_text("#grid .tick") == "not saved"
    page.click("#save")
    page.wait_for_selector("#saved:has-text('learns from it')")
    painted = seen(page, "#canvas")
    again = opened(served.address)
    upload(again, photos / "sub" / "faint.png")
    assert again.inner_text("#grid .tick") == "corrected"
    again.select_option("#view", "mask")
    enlarge(again, "faint.png")
    assert seen(again, "#canvas") == painted
    again.click("#save")
    again.wait_for_selector("#saved:has-text('Saved as it is')")
    again.click("#forget")
    again.wait_for_selector("#grid .tick:text-is('')", state="attached")
    again.wait_for_selector("#forget", state="hidden")
    again.wait_for_selector("#canvas[data-drawn]")
    again.wait_for_timeout(500)
    assert seen(again, "#canvas") == model
    assert not (corrections / "faint.png.png").exists()


def test_the_brush_goes_by_keyboard(opened, served, photos):
    page = opened(served.address)
    upload(page, photos / "plain.png")
    page.select_option("#view", "mask")
    page.focus("#grid li button")
    page.keyboard.press("Enter")
    page.wait_for_selector("#canvas[data-drawn]")
    page.select_option("#brush", "0")
    before = seen(page, "#canvas")
    page.focus("#canvas")
    page.keyboard.press("Space")
    page.keyboard.press("Shift+ArrowRight")
    assert seen(page, "#canvas") < before - 200
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.closest('#grid li') !== null")


def test_redrawing_changes_the_region_and_nothing_else(opened, digits, photos):
    page = opened(digits.address)
    upload(page, photos / "plain.png")
    page.click("#grid li button")
    page.wait_for_selector("#canvas[data-drawn]")
    page.click("#redraw")
    page.wait_for_selector("#redrawn img[alt^='code']")
    script = (
        "async () => Promise.all([...document.querySelectorAll('#redrawn img')].map(async image => {"
        " await image.decode(); const c = new OffscreenCanvas(image.naturalWidth, image.naturalHeight);"
        " const x = c.getContext('2d'); x.drawImage(image, 0, 0);"
        " return [...x.getImageData(0, 0, c.width, c.height).data] }))"
    )
    photo, mask, *redrawn = (
        np.array(one).reshape(32, 32, 4)[..., :3].astype(int) for one in page.evaluate(script)
    )
    assert len(redrawn) == 4
    for one in redrawn:
        assert np.abs(one - photo)[mask[..., 0] == 0].max() <= 1
    assert max(np.abs(one - photo)[mask[..., 0] > 128].max(initial=0) for one in redrawn) > 5
    page.click("#walk")
    page.wait_for_selector("#redrawn img[alt='step 8']", state="attached")
    page.fill("#walk-at", "7")
    assert page.is_visible("#redrawn img[alt='step 8']")
    assert not page.is_visible("#redrawn img[alt='step 1']")


def test_all_formats_are_downloaded(opened, served, photos):
    page = opened(served.address)
    upload(page, photos / "plain.png", photos / "sub" / "faint.png")
    for box in page.locator("#download input[type=checkbox]").all():
        box.check()
    with page.expect_download() as download:
        page.click("text=Download masks.zip")
    with zipfile.ZipFile(download.value.path()) as archive:
        names = set(archive.namelist())
        coco = json.loads(archive.read("coco.json"))
        with Image.open(io.BytesIO(archive.read("cutout/plain.png"))) as cutout:
            assert cutout.mode == "RGBA"
    assert {image["file_name"] for image in coco["images"]} == {"plain.png", "faint.png"}
    kinds = {name.partition("/")[0] for name in names}
    assert kinds >= {
        "mask", "soft", "rgba", "cutout", "overlay", "coco.json", "labelme", "yolo", "colmap", "photos.csv",
        "measurements.csv",
    }  # fmt: skip
    page.wait_for_selector("#status:has-text('masks.zip is downloaded')")


def violations(page):
    from axe_playwright_python.sync_playwright import Axe  # noqa: PLC0415

    found = Axe().run(page).response["violations"]
    return [(one["id"], [node["html"][:120] for node in one["nodes"]]) for one in found]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 390])
def test_axe_finds_nothing(opened, served, digits, photos, scheme, width):
    """bypass_csp: axe is a script from elsewhere."""
    options = {"color_scheme": scheme, "viewport": {"width": width, "height": 800}, "bypass_csp": True}
    page = opened(digits.address, **options)
    assert violations(page) == []
    upload(page, photos / "plain.png")
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    page.click("#grid li button")
    page.wait_for_selector("#canvas[data-drawn]")
    page.click("#redraw")
    page.wait_for_selector("#redrawn img[alt^='code']")
    assert violations(page) == []


def test_axe_finds_nothing_in_the_apis_page(browser, served):
    context = browser.new_context(bypass_csp=True)
    page = context.new_page()
    page.goto(f"{served.address}/api/docs")
    page.wait_for_selector("#operations section")
    assert "POST /api/segment" in page.inner_text("#operations")
    assert violations(page) == []
    context.close()


def test_a_token_is_kept_by_the_browser_and_out_of_its_address(opened, photos, tmp_path):
    with serving("flowers", [photos], token="open-sesame", corrections=tmp_path) as it:
        page = opened(f"{it.address}/?token=open-sesame")
        assert page.url == f"{it.address}/"
        page.click("#samples")
        finished(page)
        assert page.locator("#grid li").count() == 2
