"""The page itself: its text and style, the photos' numbers in it, their pictures in it or beside it."""

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from redoseg.errors import DataError
from redoseg.files import remove, write_aside
from redoseg.reporting.pictures import Shown
from redoseg.version import __version__

INSIDE = 500
"""So many photos, at most, whose pictures are in the page; those of more lie beside it."""
_A_FILE = 100  # pictures in a file beside the page
_MARK = '<meta name="generator" content="redoseg report'
_HEAD = 600  # bytes in which the mark is
_OWN_FILE = re.compile(r"\d{4,}\.js")


@dataclass(frozen=True)
class Content:
    """What a page says: a `title`, a `summary` (HTML), the photos `shown`, (name, reason) of those that
    `failed`, and the part on the run (HTML, or empty). `model` is what MODEL was called."""

    title: str
    model: str
    summary: str
    shown: Sequence[Shown]
    failed: Sequence[tuple[str, str]]
    run: str


def files_beside(out: Path) -> Path:
    """The folder of the pictures that are not in the page."""
    return out.with_name(f"{out.stem}_files")


def check_page(out: Path) -> None:
    """DataError if `out` or the folder beside it holds something that is no report of redoseg's."""
    if out.is_dir():
        raise DataError(f"{out} is a folder: name a file for the page, such as {out / 'report.html'}")
    if out.suffix.lower() not in (".html", ".htm"):
        raise DataError(f"{out} is no name of a page: use one that ends in .html")
    if out.exists():
        with open(out, encoding="utf-8", errors="replace") as file:
            if _MARK not in file.read(_HEAD):
                raise DataError(f"{out} is there and is no report of redoseg's: choose another name")
    beside = files_beside(out)
    if beside.exists():
        strange = [beside] if not beside.is_dir() else [*beside.iterdir()]
        strange = [file for file in strange if not _OWN_FILE.fullmatch(file.name)]
        if strange:
            raise DataError(f"{strange[0]} is in the way and no part of a report: choose another name")


def write_page(out: Path, content: Content) -> None:
    """Write the page, and the folder beside it for more than `INSIDE` photos: pictures first, so that a page
    that is there has all of them. Raises as `check_page`, OSError."""
    check_page(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    beside, apart = files_beside(out), len(content.shown) > INSIDE
    pictures = [photo.as_base64() for photo in content.shown]
    if apart:
        beside.mkdir(exist_ok=True)
        for name, text in _files(pictures):
            write_aside(beside / name, lambda aside, text=text: aside.write_text(text, encoding="utf-8"))  # type: ignore[misc]
    page = _page(content, [] if apart else pictures, beside.name if apart else "")
    write_aside(out, lambda aside: aside.write_text(page, encoding="utf-8"))
    if beside.is_dir():
        kept = {name for name, _ in _files(pictures)} if apart else set()
        remove(file for file in [*beside.iterdir()] if file.name not in kept)
        if not apart:
            beside.rmdir()


def _files(pictures: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Name and content of each file of pictures. They are scripts: a page from the disk may load no other."""
    for start in range(0, len(pictures), _A_FILE):
        part = json.dumps(list(pictures[start : start + _A_FILE]))
        yield f"{start // _A_FILE:04}.js", f"redosegPictures({start}, {part});\n"


def _page(content: Content, pictures: Sequence[str], beside: str) -> str:
    assets = files("redoseg.reporting").joinpath("assets")
    read = {name: assets.joinpath(name).read_text(encoding="utf-8") for name in _ASSETS}
    names = [photo.name for photo in content.shown]
    data = {
        "id": hashlib.sha256(json.dumps([content.model, names]).encode()).hexdigest()[:16],
        "model": content.model, "redoseg": __version__,
        "photos": [photo.as_json() for photo in content.shown],
        "pictures": list(pictures), "beside": beside, "a_file": _A_FILE,
    }  # fmt: skip
    failed = "".join(f"<li>{escape(name)}: {escape(reason)}</li>" for name, reason in content.failed)
    left = f"<summary>{len(content.failed)} photos could not be read</summary><ul>{failed}</ul>"
    return Template(read["report.html"]).substitute(
        version=escape(__version__), title=escape(content.title), summary=content.summary,
        style=read["report.css"], script=read["report.js"], data=_in_script(data),
        failed=f"<details>{left}</details>" if content.failed else "",
        run=f"<section aria-labelledby='run'><h2 id='run'>The run</h2>{content.run}</section>"
        if content.run
        else "",
    )  # fmt: skip


_ASSETS = ("report.html", "report.css", "report.js")


def _in_script(data: dict[str, Any]) -> str:
    """JSON that can't end the element that it is in, whatever a photo is called."""
    return json.dumps(data, ensure_ascii=False).replace("<", "\\u003c")
