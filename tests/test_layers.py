"""The layout of the package: imports go one way, what starts quickly needs no torch, files stay readable."""

import ast
import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

TESTS = Path(__file__).resolve().parent
PACKAGE = TESTS.parent / "src" / "redoseg"

LEVELS = {
    0: "cores errors version",
    1: "files tensors",
    2: "config",
    3: "networks data",
    4: "models method figures datasets",
    5: "exporting segmentation redrawing label_free",
    6: "evaluation",
    7: "training baselines serving reporting",
    8: "distillation",
    9: "automation reproduction",
    10: "cli",
}
"""A package (or module) imports only from levels below its own, never from a neighbour on its level."""
TO_COME: set[str] = set()
FREE = {"__init__", "__main__"}  # these hand on names of every level, and nothing imports them

BLIND = ("method", "label_free", "distillation")  # what learns, or judges without labels, can't see scores
TORCH_FREE = [
    *("config/**/*.py", "data/**/*.py", "segmentation/**/*.py", "cli/**/*.py"),
    *("models/source.py", "models/card.py", "models/shipped.py", "models/run_folder.py"),
    "automation/folder.py",
    *("models/backends/onnx.py", "models/backends/choice.py", "exporting/readme.py"),
    *("evaluation/metrics.py", "evaluation/trivial.py"),
    *("cores.py", "errors.py", "version.py", "files.py"),
]
MOST_LINES, MOST_LINES_OF_A_FUNCTION = 300, 60
MOST_MODULES, MOST_PACKAGES = 8, 19


class Import(NamedTuple):
    importer: str  # a file relative to the package: "networks/mask.py"
    line: int
    imported: str  # likewise


def units_in(levels: dict[int, str]) -> dict[str, int]:
    """Package or module -> level. AssertionError if one is named twice."""
    pairs = [(name, level) for level, names in levels.items() for name in names.split()]
    assert len(dict(pairs)) == len(pairs), "a package has two levels"
    return dict(pairs)


def unit_of(file: str) -> str:
    """The package or module of the top level to which a file belongs: "data/native/cub.py" -> "data"."""
    return file.partition("/")[0].removesuffix(".py")


def files_of(package: Path) -> list[str]:
    return sorted(path.relative_to(package).as_posix() for path in package.rglob("*.py"))


def imports_of(package: Path) -> Iterator[Import]:
    """Every import of one of the package's files by another, inside functions and `if TYPE_CHECKING` too."""
    files = {_module(package, file): file for file in files_of(package)}
    for module, file in files.items():
        for node in ast.walk(_parse(package / file)):
            for name in _imported_names(node, module, is_package=file.endswith("__init__.py")):
                imported = files.get(name) or files.get(name.rpartition(".")[0])
                if imported and imported != file:
                    assert isinstance(node, ast.stmt)
                    yield Import(file, node.lineno, imported)


def _parse(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"), filename=str(file))


def _module(package: Path, file: str) -> str:
    return ".".join([package.name, *Path(file).with_suffix("").parts]).removesuffix(".__init__")


def _imported_names(node: ast.AST, module: str, *, is_package: bool) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    parts = module.split(".") + ([""] if is_package else [])
    base = ".".join(parts[: -node.level]) + f".{node.module or ''}" if node.level else node.module or ""
    return [f"{base.strip('.')}.{alias.name}" for alias in node.names]


def not_downward(imports: Iterable[Import], levels: dict[int, str]) -> list[str]:
    """The imports that go up, or sideways to another package. Within a package every import is allowed."""
    level = units_in(levels)
    return [
        f"{i.importer}:{i.line} imports {i.imported}"
        for i in imports
        if (importer := unit_of(i.importer)) not in FREE
        and (imported := unit_of(i.imported)) != importer
        and (imported in FREE or level[imported] >= level[importer])
    ]


def cycle(imports: Iterable[Import]) -> list[str]:
    graph: dict[str, set[str]] = {}
    for i in imports:
        graph.setdefault(i.importer, set()).add(i.imported)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def seeing_scores(imports: Iterable[Import]) -> list[str]:
    """The imports of evaluation/ by packages that must not see a score."""
    return [
        f"{i.importer}:{i.line} imports {i.imported}"
        for i in imports
        if unit_of(i.importer) in BLIND and unit_of(i.imported) == "evaluation"
    ]


def too_long(package: Path) -> Iterator[str]:
    """Files and functions that are longer than a reader should have to take in at once."""
    for file in files_of(package):
        lines = len((package / file).read_text(encoding="utf-8").splitlines())
        if lines > MOST_LINES:
            yield f"{file}: {lines} lines"
        for node in ast.walk(_parse(package / file)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > MOST_LINES_OF_A_FUNCTION:
                    yield f"{file}: {node.name} has {lines} lines"


def test_every_package_and_module_has_a_level() -> None:
    units = {unit_of(file) for file in files_of(PACKAGE)} - FREE
    named = units_in(LEVELS).keys()
    assert units - named == set(), "packages without a level"
    assert named - units <= TO_COME, "levels without a package"


def test_the_page_has_a_row_for_every_package() -> None:
    page = (PACKAGE.parents[1] / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = page.split("| package |")[1].split("\n\n")[0]
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| `([\w./]+)` \|", table, re.MULTILINE)
    assert sorted(name for name, _ in rows) == sorted({unit_of(file) for file in files_of(PACKAGE)} - FREE)
    assert all(unit_of(first) == name and (PACKAGE / first).is_file() for name, first in rows)
    picture = page.split("```mermaid")[1].split("```")[0]
    assert [name for name, _ in rows if not re.search(rf"\b{name}\b", picture)] == []


def test_imports_go_down() -> None:
    assert not_downward(imports_of(PACKAGE), LEVELS) == []


def test_no_imports_go_round() -> None:
    assert cycle(imports_of(PACKAGE)) == []


def test_what_learns_sees_no_score() -> None:
    assert seeing_scores(imports_of(PACKAGE)) == []


def test_files_and_functions_are_short() -> None:
    assert list(too_long(PACKAGE)) == []


def test_the_top_level_can_be_read_at_a_glance() -> None:
    modules = list(PACKAGE.glob("*.py"))
    packages = list(PACKAGE.glob("*/__init__.py"))
    assert len(modules) <= MOST_MODULES
    assert len(packages) <= MOST_PACKAGES


def test_scripts_beside_the_package_import_what_it_has() -> None:
    """Benchmarks, experiments and scripts are outside of mypy's sight, and a move of a module breaks them."""
    folders = ("benchmarks", "examples", "experiments", "scripts")
    scripts = [path for folder in folders for path in sorted((TESTS.parent / folder).glob("*.py"))]
    assert len(scripts) > 20
    missing = [
        f"{path.relative_to(TESTS.parent)}: {name}"
        for path in scripts
        for node in ast.walk(_parse(path))
        for name in _imported_names(node, path.stem, is_package=False)
        if name.startswith("redoseg.") and not _is_there(name)
    ]
    assert missing == []


def _is_there(name: str) -> bool:
    """Whether "redoseg.x.y" is a module, or a name in one."""
    try:
        module, _, attribute = name.rpartition(".")
        return hasattr(importlib.import_module(module), attribute) or bool(importlib.util.find_spec(name))
    except ModuleNotFoundError:
        return False


def test_every_folder_of_code_is_a_package() -> None:
    """The wheel is built from packages alone: a folder without __init__.py would be left out."""
    folders = {path.parent for path in PACKAGE.rglob("*.py")}
    assert [folder for folder in folders if not (folder / "__init__.py").is_file()] == []


def test_torch_free_modules_do_not_import_torch() -> None:
    """Not even through what they import: workers that decode photos, and help texts, start without torch."""
    found = {glob: sorted(PACKAGE.glob(glob)) for glob in TORCH_FREE}
    assert all(found.values()), f"nothing is called {[glob for glob, paths in found.items() if not paths]}"
    files = [path.relative_to(PACKAGE).as_posix() for paths in found.values() for path in paths]
    assert {"data/download/download.py", "data/native/cub.py"} <= set(files)
    done = _import_without("torch", [_module(PACKAGE, file) for file in files])
    assert done.returncode == 0, done.stderr


def _import_without(unwanted: str, modules: list[str]) -> subprocess.CompletedProcess[str]:
    """Import the modules one after the other; fails at the first that brings `unwanted` along."""
    script = (
        "import importlib, sys\n"
        "for name in sys.argv[2:]:\n"
        "    importlib.import_module(name)\n"
        "    if sys.argv[1] in sys.modules: sys.exit(f'importing {name} imports {sys.argv[1]}')\n"
    )
    return _python(script, unwanted, *modules)


@pytest.mark.parametrize(
    "line",
    [
        "train nowhere --out run",
        "train nowhere --out run --dry-run",
        "auto nowhere --out run",
        "resume nowhere",
        "distill nowhere --out run",
        "evaluate nowhere digit",
        "evaluate faces nowhere",
        "export nowhere --onnx a.onnx",
        "export faces",
        "redraw nowhere a.png --out b.png",
        "baseline disc nowhere",
    ],
)
def test_what_is_not_there_is_refused_without_waiting_for_libraries(line: str, tmp_path: Path) -> None:
    script = (
        "import os, sys\n"
        "from redoseg.cli import main\n"
        "os.chdir(sys.argv[1])\n"
        "code = main(sys.argv[2:])\n"
        "late = {'torch', 'scipy', 'sklearn', 'onnxruntime'} & {*sys.modules}\n"
        "print(code, *late, *os.listdir())\n"
    )
    done = _python(script, str(tmp_path), *line.split())
    assert done.stdout == "1\n"
    assert done.stderr.startswith("redoseg: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(("option", "shown"), [("--help", "segment"), ("--version", r"\d+\.\d+\.\d+")])
def test_help_and_version_do_not_import_torch(option: str, shown: str) -> None:
    script = (
        "import sys\n"
        "from redoseg.cli import main\n"
        "sys.argv[0] = 'redoseg'\n"
        "try: code = main()\n"
        "except SystemExit as stop: code = stop.code\n"
        "sys.exit('torch was imported' if 'torch' in sys.modules else code)\n"
    )
    done = _python(script, option)
    assert done.returncode == 0, done.stderr
    assert re.search(shown, done.stdout)


def _python(script: str, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", script, *args], capture_output=True, text=True, check=False)


# The checks themselves, on a package made to break them.

SMALL_LEVELS = {0: "low", 1: "folder side", 2: "high"}


@pytest.fixture
def small(tmp_path: Path) -> Path:
    package = tmp_path / "small"
    (package / "folder" / "inner").mkdir(parents=True)
    files = ("__init__.py", "folder/__init__.py", "folder/one.py", "folder/inner/__init__.py")
    for file in (*files, "folder/inner/two.py", "low.py", "side.py", "high.py"):
        (package / file).write_text("")
    return package


def test_a_package_with_two_levels_is_refused() -> None:
    with pytest.raises(AssertionError, match="two levels"):
        units_in({0: "low", 1: "high low"})


@pytest.mark.parametrize(
    "line",
    [
        "import small.high",
        "from small.high import f",
        "from small import high",
        "from ..high import f",
        "from .. import high",
        "def f():\n    from small.high import g",
        "from small import f",  # __init__.py is above all
        "import small.side",
        "from ..side import f",
    ],
)
def test_an_import_that_goes_up_or_sideways_is_found(small: Path, line: str) -> None:
    (small / "folder" / "one.py").write_text(line)
    assert len(not_downward(imports_of(small), SMALL_LEVELS)) == 1


@pytest.mark.parametrize(
    "line",
    [
        "import numpy",
        "from small.low import f",
        "from ..low import f",
        "from .inner.two import f",
        "from .inner import two",
        "from small.folder.inner import two",
    ],
)
def test_an_import_that_goes_down_or_stays_is_allowed(small: Path, line: str) -> None:
    (small / "folder" / "one.py").write_text(line)
    (small / "high.py").write_text("from small.folder import one")
    (small / "__init__.py").write_text("from small.high import one")
    imports = list(imports_of(small))
    assert not_downward(imports, SMALL_LEVELS) == []
    assert cycle(imports) == []


def test_a_cycle_within_a_package_is_found(small: Path) -> None:
    (small / "folder" / "one.py").write_text("from small.folder.inner import two")
    (small / "folder" / "inner" / "two.py").write_text("from ..one import f")
    imports = list(imports_of(small))
    assert not_downward(imports, SMALL_LEVELS) == []
    assert cycle(imports)


def test_scores_that_are_seen_are_found() -> None:
    seen = Import("method/algorithm.py", 7, "evaluation/metrics.py")
    assert seeing_scores([seen, Import("training/train.py", 7, "evaluation/metrics.py")]) == [
        "method/algorithm.py:7 imports evaluation/metrics.py"
    ]


def test_what_is_too_long_is_found(small: Path) -> None:
    body = "    pass\n" * MOST_LINES_OF_A_FUNCTION
    (small / "low.py").write_text(f"def f():\n{body}")
    (small / "high.py").write_text("pass\n" * (MOST_LINES + 1))
    assert list(too_long(small)) == ["high.py: 301 lines", "low.py: f has 61 lines"]


def test_torch_that_comes_along_is_found() -> None:
    done = _import_without("torch", ["redoseg.errors", "redoseg.networks.mask"])
    assert "importing redoseg.networks.mask imports torch" in done.stderr
    assert done.returncode == 1


def test_tests_that_are_not_traced_exist():
    for line in (TESTS / "untraced.txt").read_text().splitlines():
        if not line.startswith("#"):
            file, _, name = line.partition("::")
            assert f"def {name}(" in (TESTS / file).read_text() or not name, line
