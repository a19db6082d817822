"""What others may rely on."""

import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import redoseg
from redoseg import errors

ROOT = Path(__file__).resolve().parents[1]
ERRORS = {
    "CollapseError", "ConfigError", "DataError", "DivergenceError", "ElsewhereError", "MissingExtraError",
    "ModelError", "ProcessError", "RedosegError",
}  # fmt: skip
PUBLIC = ERRORS | {
    "DistillConfig", "Evaluation", "MaskNetwork", "SegmentConfig", "Segmenter", "TrainConfig", "__version__",
    "AutoConfig", "auto", "distill", "evaluate", "export", "fix", "open_dataset", "redraw", "report",
    "resume", "segment_files", "serve", "train", "train_tries",
}  # fmt: skip


def test_public_names_are_these():
    assert set(redoseg.__all__) == PUBLIC
    assert len(redoseg.__all__) == len(PUBLIC)
    assert set(dir(redoseg)) >= PUBLIC


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_each_can_be_imported_and_says_what_it_is(name):
    public = getattr(redoseg, name)
    assert getattr(importlib.import_module("redoseg"), name) is public
    if name != "__version__":
        assert public.__name__ == name
        assert inspect.getdoc(public)
        assert public.__module__.startswith("redoseg.")


def test_a_star_import_gives_them():
    names: dict[str, object] = {}
    exec("from redoseg import *", names)
    assert names.keys() >= PUBLIC


def test_other_names_are_no_attributes():
    with pytest.raises(AttributeError, match="module 'redoseg' has no attribute 'segment'"):
        redoseg.segment  # noqa: B018


def test_the_version_is_a_number_with_points():
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.?[a-z]+\d*)?", redoseg.__version__)


def test_the_version_is_that_of_the_citation_and_of_the_changelogs_newest_section():
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    released = re.findall(r"^## \[(\d[^\]]*)\] - (\d{4}-\d\d-\d\d)$", changelog, re.MULTILINE)
    assert released[0][0] == redoseg.__version__
    assert f"version: {redoseg.__version__}\ndate-released: {released[0][1]}\n" in citation


def test_every_kind_of_error_is_public_and_described():
    kinds = {
        name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)
    }
    assert kinds == ERRORS
    assert all(issubclass(getattr(redoseg, name), redoseg.RedosegError) for name in ERRORS)
    page = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    assert [name for name in ERRORS if f"`{name}`" not in page] == []
    assert [name for name in ERRORS if name not in (errors.__doc__ or "")] == []


def test_supervised_is_a_module_that_is_imported_when_it_is_used():
    code = "import redoseg; redoseg.supervised.fit; print(redoseg.supervised.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "redoseg.training.supervised"


def test_import_brings_nothing_that_is_slow():
    slow = "{'torch', 'numpy', 'PIL', 'scipy', 'rich', 'tyro', 'huggingface_hub', 'sklearn'}"
    code = f"import sys, redoseg; print(sorted({slow} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_names_in_the_documents_exist(page):
    text = page.read_text(encoding="utf-8")
    for attribute in sorted(set(re.findall(r"\bredoseg\.([A-Za-z_]\w*)\b", text))):
        assert hasattr(redoseg, attribute) or importlib.util.find_spec(f"redoseg.{attribute}"), attribute


def test_the_package_is_typed():
    assert (Path(redoseg.__file__).parent / "py.typed").is_file()
