"""The page in a real browser, from the disk: `make browser`. Skipped where there is none."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from redoseg.reporting import page as pages
from redoseg.reporting.report import report

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Ninety photos of a bright disc, each of its own size: more than are drawn at first."""
    out = tmp_path_factory.mktemp("browser") / "photos"
    out.mkdir()
    random = np.random.default_rng(0)
    y, x = np.mgrid[:64, :96]
    for number in range(90):
        inside = np.hypot(y - 32, x - 48) < random.integers(10, 28)
        picture = np.where(inside[..., None], random.integers(160, 255, 3), random.integers(20, 110, 3))
        Image.fromarray(picture.astype(np.uint8)).save(out / f"{number:02}.png")
    return out


@pytest.fixture(scope="module")
def file(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("page") / "report.html"
    report("flowers", [folder], out)
    return out


@pytest.fixture
def page(browser, file):
    """The open page, which must raise no error; a browser that has seen it never before."""
    context = browser.new_context(viewport={"width": 1200, "height": 800})
    opened, errors = context.new_page(), []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.goto(file.as_uri())
    opened.wait_for_selector("#grid canvas[data-drawn]")
    yield opened
    context.close()
    assert errors == []


def numbers(page):
    """Doubt of each card that is there, in their order."""
    return page.eval_on_selector_all("#grid li", "cards => cards.map(card => card.photo.doubt)")


def settled(page, selector="#grid li:first-child canvas"):
    """Wait until the canvas shows what it should."""
    page.wait_for_function(
        "selector => { const c = document.querySelector(selector);"
        " return c.dataset.drawn && c.dataset.drawn === c.dataset.wanted }",
        arg=selector,
    )


def white(page, selector="#grid li:first-child canvas"):
    """How many pixels of a canvas are white."""
    settled(page, selector)
    return page.eval_on_selector(
        selector,
        "c => { const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; let n = 0;"
        " for (let i = 0; i < d.length; i += 4) n += d[i] === 255 && d[i + 1] === 255 && d[i + 2] === 255;"
        " return n }",
    )


def test_the_most_doubtful_come_first_and_more_come_with_scrolling(page):
    doubts = numbers(page)
    assert doubts == sorted(doubts, reverse=True)
    assert page.locator("#grid li").count() == 60
    page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
    page.wait_for_function("document.querySelectorAll('#grid li').length === 90")
    page.select_option("#order", "doubt")
    doubts = numbers(page)
    assert doubts == sorted(doubts)


def test_a_large_screen_is_filled(browser, file):
    opened = browser.new_page(viewport={"width": 2560, "height": 1440})
    opened.goto(file.as_uri())
    opened.wait_for_function("document.querySelectorAll('#grid li').length === 90")
    opened.close()


def test_the_slider_moves_the_mask(page):
    page.select_option("#view", "mask")
    at_half = white(page)
    page.fill("#threshold", "0.9")
    less = white(page)
    page.fill("#threshold", "0.1")
    assert less <= at_half <= white(page)
    assert less < white(page)
    assert page.text_content("#threshold-value") == "0.10"


def test_the_mask_is_the_one_that_the_page_was_given(page):
    """As many white pixels as the photo's area says."""
    page.select_option("#view", "mask")
    photo = page.eval_on_selector("#grid li:first-child", "card => card.photo")
    share = white(page) / (photo["panel"][0] * photo["panel"][1])
    assert share == pytest.approx(photo["area"], abs=0.03)


def test_filters_leave_what_they_say(page):
    page.fill("#doubt-from", "0.3")
    assert all(doubt >= 0.3 for doubt in numbers(page))
    shown = page.locator("#grid li").count()
    assert page.text_content("#count") == f"{shown} of 90 photos"
    page.fill("#doubt-from", "")
    page.fill("#name", "07.")
    assert page.locator("#grid .name").all_text_contents() == ["07.png"]


def test_ticks_are_kept_saved_and_read_again(page, tmp_path):
    page.locator("#grid button").first.focus()
    page.keyboard.press("w")
    page.locator("#grid button").nth(1).click()
    page.get_by_role("button", name="Right", exact=True).click()
    page.keyboard.press("Escape")
    names = page.eval_on_selector_all("#grid li", "cards => cards.map(card => card.photo.name)")
    assert page.text_content("#count") == "90 of 90 photos; 1 ticked as wrong, 1 as right"
    page.reload()
    page.wait_for_selector("#grid li.wrong")
    with page.expect_download() as download:
        page.click("#save")
    saved = tmp_path / "ticks.json"
    download.value.save_as(saved)
    ticks = json.loads(saved.read_text())
    assert ticks == {"redoseg": "ticks", "model": "flowers", "wrong": names[:1], "right": names[1:2]}
    saved.write_text(json.dumps(ticks | {"wrong": [names[2], "elsewhere.png"]}))
    page.set_input_files("#read", saved)
    page.wait_for_function("document.getElementById('kept').textContent.startsWith('1 of its')")
    assert page.locator("#grid li.wrong").count() == 2
    saved.write_text("[1, 2]")
    page.set_input_files("#read", saved)
    page.wait_for_function("document.getElementById('kept').textContent.startsWith('That file is no list')")


def test_a_photo_is_made_large_and_the_keys_go_on(page):
    page.locator("#grid button").first.click()
    first = page.text_content("#large-name")
    settled(page, "#large canvas[data-view=votes]")
    page.keyboard.press("ArrowRight")
    assert page.text_content("#large-name") != first
    page.keyboard.press("ArrowLeft")
    assert page.text_content("#large-name") == first
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.closest('li') === document.querySelector('#grid li')")


def test_pictures_beside_the_page_are_found_from_the_disk(browser, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(pages, "INSIDE", 10)
    monkeypatch.setattr(pages, "_A_FILE", 20)
    out = tmp_path / "many of them.html"
    report("flowers", [folder], out)
    opened = browser.new_page()
    opened.goto(out.as_uri())
    opened.wait_for_selector("#grid canvas[data-drawn]")
    shutil.rmtree(tmp_path / "many of them_files")
    opened.reload()
    opened.wait_for_function("document.querySelector('#grid canvas').width === 96")
    opened.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 390])
def test_axe_finds_nothing(browser, file, scheme, width):
    from axe_playwright_python.sync_playwright import Axe  # noqa: PLC0415

    opened = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": 800})
    opened.goto(file.as_uri())
    opened.wait_for_selector("#grid canvas[data-drawn]")
    found = Axe().run(opened)
    assert found.violations_count == 0, found.generate_report()
    assert opened.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    opened.locator("#grid button").first.click()
    found = Axe().run(opened)
    assert found.violations_count == 0, found.generate_report()
    opened.close()
