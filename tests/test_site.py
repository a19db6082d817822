"""The web site: every public name has its place, and links out of docs/ hold there."""

import dataclasses
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import redoseg
from loaded_scripts import script

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def links():
    """scripts/site_links.py as a module."""
    return script("site_links")


def test_every_public_name_is_described_on_a_page():
    pages = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs" / "api").glob("*.md"))
    described = re.findall(r"^::: ([\w.]+)\.(\w+)$", pages, re.MULTILINE)
    objects = [getattr(import_module(home), name) for home, name in described]
    errors = {name for name in redoseg.__all__ if name.endswith("Error")}  # on docs/errors.md: test_public.py
    others = set(redoseg.__all__) - errors - {"__version__"}
    assert [name for name in others if getattr(redoseg, name) not in objects] == []
    assert redoseg.supervised.fit in objects


def test_readme_becomes_a_page_of_docs(links):
    readme = (
        "[a](docs/data.md#b) [c](CITATION.cff) ![d](docs/images/demo.png) [e](https://x.org) [f](#try-it)"
    )
    assert links.as_first_page(readme) == (
        "[a](data.md#b) [c](../CITATION.cff) ![d](images/demo.png) [e](https://x.org) [f](#try-it)"
    )


def test_what_lies_outside_is_brought_along_or_loses_its_link(links, tmp_path):
    (tmp_path / "results").mkdir()
    for file in ("results/a.png", "README.md"):
        (tmp_path / file).write_text("")
    page = "![one [1]](../results/a.png) [two](../results) [three](../README.md#x) [four](data.md)"
    assert (
        links.with_links_inside(page, tmp_path) == "![one [1]](files/results/a.png) two three [four](data.md)"
    )
    nested = links.with_links_inside("[one](../../results/a.png)", tmp_path, "../")
    assert nested == "[one](../files/results/a.png)"


@pytest.mark.slow
def test_it_is_built_without_a_warning(tmp_path):
    pytest.importorskip("mkdocs", reason="the site is built with the extra docs: make docs")
    pytest.importorskip("material")
    pytest.importorskip("mkdocstrings")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", tmp_path],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for config, page in ((redoseg.TrainConfig, "training"), (redoseg.DistillConfig, "distilling")):
        html = (tmp_path / "api" / f"{page}.html").read_text(encoding="utf-8")
        home = f"{config.__module__}.{config.__name__}"
        options = [field.name for field in dataclasses.fields(config)]
        assert [name for name in options if f'id="{home}.{name}"' not in html] == []
        assert "Number of images in a batch." in html  # what an option's docstring says
    assert (tmp_path / "files" / "results" / "faces" / "page.webp").is_file()
    first = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert 'href="data.html"' in first
