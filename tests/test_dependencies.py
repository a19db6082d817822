"""Every package that the code imports is declared, pinned, and has its reason in CONTRIBUTING.md."""

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CALLED = {"PIL": "pillow", "cv2": "opencv-python-headless", "sklearn": "scikit-learn"}
"""Modules whose distribution has another name."""


def name_of(requirement: str) -> str:
    """'ray[data]>=2.40; python_version < "3.14"' -> "ray"."""
    found = re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*", requirement)
    assert found, requirement
    return found[0].lower()


def declared() -> dict[str, set[str]]:
    """Distribution -> where pyproject.toml declares it: "plain" or the names of extras."""
    places: dict[str, set[str]] = {}
    for place, requirements in {"plain": PROJECT["dependencies"], **PROJECT["optional-dependencies"]}.items():
        for requirement in requirements:
            if name_of(requirement) != "redoseg":  # an extra that brings another one
                places.setdefault(name_of(requirement), set()).add(place)
    return places


def imported_by(code: str) -> set[str]:
    """Distributions that the code imports, inside functions and `if TYPE_CHECKING` too."""
    modules: set[str] = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            modules |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            modules.add(node.module.partition(".")[0])
    others = modules - sys.stdlib_module_names - {"redoseg"}
    return {CALLED.get(module, module.replace("_", "-")) for module in others}


def test_every_import_is_declared():
    files = sorted((ROOT / "src" / "redoseg").rglob("*.py"))
    imported = {name for file in files for name in imported_by(file.read_text(encoding="utf-8"))}
    assert {"torch", "pillow", "urllib3"} <= imported
    assert imported - declared().keys() == set()


def test_every_dependency_has_a_pin():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.lower().split("==") for line in lines if line and not line.startswith("#"))
    assert declared().keys() - pins.keys() == set()
    assert all(re.fullmatch(r"[\d.]+", version) for version in pins.values())


def test_every_dependency_has_its_reason_and_its_extra():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([a-z][\w-]*) \| ([a-z, ]+) \| ([^|]+) \| ([^|]+) \|$", text, re.MULTILINE)
    assert {name: set(extras.split(", ")) for name, extras, *_ in rows if name != "package"} == declared()
    assert all(why.strip() and saved.strip() for *_, why, saved in rows)


@pytest.mark.parametrize(
    "line",
    [
        "import cv2.ximgproc",
        "def f():\n    from PIL import Image",
        "import os, sklearn",
        "import huggingface_hub",
    ],
)
def test_an_import_is_seen_by_its_distribution(line):
    names = {"opencv-python-headless", "pillow", "scikit-learn", "huggingface-hub"}
    assert len(imported_by(line) & names) == 1
    assert imported_by("from .files import x\nimport redoseg.files, json") == set()
