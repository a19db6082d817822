"""The notebook of examples/, cell by cell, on a few small photos and with a plan of a few steps."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from redoseg.automation import auto as automation
from redoseg.automation.folder import Plan
from redoseg.automation.plan import student_options
from tinyruns import photos

pytestmark = pytest.mark.training
NOTEBOOK = Path(__file__).parents[1] / "examples" / "own_folder.ipynb"


def run_cell(source: str, names: dict[str, Any]) -> Any:
    """Execute a cell; the value of its last line, if that is an expression, as a notebook shows it."""
    *before, last = source.splitlines()
    try:
        shown = compile(last, NOTEBOOK.name, "eval")
    except SyntaxError:
        exec(compile(source, NOTEBOOK.name, "exec"), names)
        return None
    exec(compile("\n".join(before), NOTEBOOK.name, "exec"), names)
    return eval(shown, names)


def test_every_cell_runs(tmp_path, monkeypatch):
    data = photos(tmp_path / "made", train=24, val=0, masks=False)
    shutil.move(data / "images", tmp_path / "photos")
    monkeypatch.setenv("PHOTOS", str(tmp_path / "photos"))
    monkeypatch.setenv("OUT", str(tmp_path / "run"))
    monkeypatch.setenv("REDOSEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    plan = Plan({"disc": "first:disc"}, 24, 2, 2, 1, 4, 1.0)
    monkeypatch.setattr(automation, "make_plan", lambda *_: plan)
    small = student_options() | {"f_width": 4, "f_blocks": 1}
    monkeypatch.setattr(automation, "student_options", lambda: small)
    content = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    cells = [cell["source"] for cell in content["cells"] if cell["cell_type"] == "code"]
    names: dict[str, Any] = {}
    shown = [run_cell(source, names) for source in cells]
    assert shown[1] == names["found"].verdict.text
    assert len(shown[2]) == 6
    assert "<img" in shown[3]._repr_html_()
    assert shown[5] == Path("report.html")
    assert shown[6][0] >= 12
    assert (tmp_path / "run" / "hf" / "metadata.jsonl").is_file()
    assert (tmp_path / "report.html").is_file()


def test_it_is_kept_without_outputs():
    content = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert content["nbformat"] == 4
    assert all(not cell.get("outputs") for cell in content["cells"])
