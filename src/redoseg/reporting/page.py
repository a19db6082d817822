"""The page itself: its text and style, the photos' numbers in it, their pictures in it or beside it."""

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from redoseg.errors import DataError
from redoseg.files import asides, leftovers, leftovers_of, remove, write_aside
from redoseg.reporting.pictures import Shown
from redoseg.version import __version__

INSIDE = 500
"""So many photos, at most, whose pictures are in the page; those of more lie beside it."""
_A_FILE = 100  # pictures in a file beside the page
_MARK = '<meta name="generator" content="redoseg report'
_HEAD = 600  # bytes in which the mark is
_CALL = "redosegPictures("
_OWN_FILE = re.compile(r"[0-9a-f]{16}\.js")


@dataclass(frozen=True)
class Content:
    """What a page says: a `title`, a `summary` (HTML), the photos `shown` and their `pictures`, (name,
    reason) of those that `failed`, and the part on the run (HTML, or empty). `model` is what MODEL is."""

    title: str
    model: str
    summary: str
    shown: Sequence[Shown]
    pictures: "Pictures"
    failed: Sequence[tuple[str, str]]
    run: str


class Pictures:
    """The pictures of a page, as they come: in the page if there are at most `INSIDE`, else in files beside
    it. A file is named after its content, so that those of a page that is there already stay as they are."""

    def __init__(self, out: Path, count: int) -> None:
        self.folder, self.apart = files_beside(out), count > INSIDE
        self.inside: list[str] = []
        self.files: list[str] = []
        self._count = 0

    def add(self, picture: bytes) -> None:
        """Take one more picture, a JPEG. OSError."""
        self.inside.append(base64.b64encode(picture).decode())
        self._count += 1
        if self.apart and len(self.inside) == _A_FILE:
            self.close()

    def close(self) -> None:
        """Write what is left. OSError."""
        if not self.apart or not self.inside:
            return
        text = f"{_CALL}{self._count - len(self.inside)}, {json.dumps(self.inside)});\n"
        name = f"{hashlib.blake2b(text.encode(), digest_size=8).hexdigest()}.js"
        self.folder.mkdir(parents=True, exist_ok=True)
        write_aside(self.folder / name, lambda aside: aside.write_text(text, encoding="utf-8"))
        self.files.append(name)
        self.inside = []


def files_beside(out: Path) -> Path:
    """The folder of the pictures that are not in the page."""
    return out.with_name(f"{out.stem if out.suffix == '.html' else out.name}_files")


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
        left = asides(beside) if beside.is_dir() else []
        strange = [beside] if not beside.is_dir() else [*beside.iterdir()]
        strange = [file for file in strange if file not in left and not _is_own(file)]
        if strange:
            raise DataError(f"{strange[0]} is in the way and no part of a report: choose another name")


def _is_own(file: Path) -> bool:
    """Whether a file holds pictures of a report."""
    if not (_OWN_FILE.fullmatch(file.name) and file.is_file()):
        return False
    with open(file, encoding="utf-8", errors="replace") as opened:
        return opened.read(len(_CALL)) == _CALL


def write_page(out: Path, content: Content) -> None:
    """Write the page, whose pictures are there already, and remove those of the one before. Raises as
    `check_page`, OSError."""
    check_page(out)
    content.pictures.close()
    out.parent.mkdir(parents=True, exist_ok=True)
    page = _page(content)
    write_aside(out, lambda aside: aside.write_text(page, encoding="utf-8"))
    beside, kept = files_beside(out), {*content.pictures.files}
    remove(leftovers_of([out]))
    if beside.is_dir():
        old = [file for file in beside.iterdir() if file.name not in kept and _is_own(file)]
        remove([*old, *leftovers(beside)])
        if old and not any(beside.iterdir()):
            beside.rmdir()


def _page(content: Content) -> str:
    assets = files("redoseg.reporting").joinpath("assets")
    read = {name: assets.joinpath(name).read_text(encoding="utf-8") for name in _ASSETS}
    photos, pictures = [photo.as_json() for photo in content.shown], content.pictures
    data = {
        # The same photos with the same masks keep the ticks that a browser has of them.
        "id": hashlib.sha256(json.dumps([content.model, photos]).encode()).hexdigest()[:16],
        "model": content.model, "redoseg": __version__, "photos": photos, "pictures": pictures.inside,
        "beside": pictures.folder.name if pictures.apart else "", "files": pictures.files, "a_file": _A_FILE,
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
