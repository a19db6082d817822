"""Imports go one way, down the table of docs/architecture.md; it is read here, so the two can't drift."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "redoseg"
TABLE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")

NEEDS_NO_ROW = {"version.py": 0}  # and the __init__.py files, __main__.py: see layer_of
TORCH_FREE = [
    *(
        "version.py",
        "errors.py",
        "extras.py",
        "config.py",
        "files.py",
        "regions.py",
        "edges.py",
        "metrics.py",
        "trivial.py",
    ),
    *("cards.py", "commandline.py", "modelcard.py", "shipped.py"),
    *("models.py", "backends/onnx.py", "backends/choice.py", "segmenter.py", "segmenting.py", "cli.py"),
    *("commands/*.py", "data/*.py"),
]


class Import(NamedTuple):
    importer: str  # a file relative to the package: "networks/mask.py"
    line: int
    imported: str  # likewise


def layers_in(table: str) -> dict[str, int]:
    """File -> layer, from rows like "| 2 | `folder/one.py two.py` | ... |" under a header that says layer."""
    layers: dict[str, int] = {}
    inside = False
    for line in table.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not line.lstrip().startswith("|"):
            inside = False
        elif cells[0].lower() == "layer":
            inside = True
        elif inside and cells[0].isdigit():
            for file in _files_in(cells[1]):
                assert file not in layers, f"docs/architecture.md names {file} twice"
                layers[file] = int(cells[0])
    return layers


def _files_in(cell: str) -> Iterator[str]:
    for quoted in re.findall(r"`([^`]+)`", cell):
        folder = ""  # the first file's folder holds for those after it
        for name in re.findall(r"[\w/]+\.py\b", quoted):
            folder = name.rpartition("/")[0] or folder
            yield f"{folder}/{name.rpartition('/')[2]}".lstrip("/")


def layer_of(file: str, layers: dict[str, int]) -> int:
    """The table's; but a folder's __init__.py is as high as its highest file, and the top one above all."""
    if file in layers:
        return layers[file]
    if file in NEEDS_NO_ROW:
        return NEEDS_NO_ROW[file]
    folder, _, name = file.rpartition("/")
    inside = [layer for other, layer in layers.items() if other.startswith(f"{folder}/")]
    if name == "__init__.py" and inside:
        return max(inside)
    return max(layers.values()) + 1


def files_of(package: Path) -> list[str]:
    return sorted(path.relative_to(package).as_posix() for path in package.rglob("*.py"))


def imports_of(package: Path) -> Iterator[Import]:
    """Every import of one of the package's files by another, inside functions and `if TYPE_CHECKING` too."""
    files = {_module(package, file): file for file in files_of(package)}
    for module, file in files.items():
        for node in ast.walk(ast.parse((package / file).read_text(encoding="utf-8"), filename=file)):
            for name in _imported_names(node, module, is_package=file.endswith("__init__.py")):
                imported = files.get(name) or files.get(name.rpartition(".")[0])
                if imported and imported != file:
                    assert isinstance(node, ast.stmt)
                    yield Import(file, node.lineno, imported)


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


def upward(imports: list[Import], layers: dict[str, int]) -> list[str]:
    return [
        f"{i.importer}:{i.line} (layer {layer_of(i.importer, layers)}) imports "
        f"{i.imported} (layer {layer_of(i.imported, layers)})"
        for i in imports
        if layer_of(i.imported, layers) > layer_of(i.importer, layers)
    ]


def cycle(imports: list[Import]) -> list[str]:
    graph: dict[str, set[str]] = {}
    for i in imports:
        graph.setdefault(i.importer, set()).add(i.imported)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_every_file_has_a_row() -> None:
    exempt = {"__init__.py", "__main__.py"}
    files = {f for f in files_of(PACKAGE) if f.rpartition("/")[2] not in exempt} - NEEDS_NO_ROW.keys()
    assert files - layers_in(TABLE).keys() == set(), "files without a row in docs/architecture.md"


def test_every_row_has_a_file() -> None:
    assert layers_in(TABLE).keys() - set(files_of(PACKAGE)) == set(), (
        "rows of docs/architecture.md without a file"
    )


def test_no_import_goes_up() -> None:
    assert upward(list(imports_of(PACKAGE)), layers_in(TABLE)) == []


def test_no_imports_go_round() -> None:
    assert cycle(list(imports_of(PACKAGE))) == []


def test_torch_free_modules_do_not_import_torch() -> None:
    """Not even through what they import: workers that decode photos, and help texts, start without torch."""
    found = {glob: sorted(PACKAGE.glob(glob)) for glob in TORCH_FREE}
    assert all(found.values()), f"nothing is called {[glob for glob, paths in found.items() if not paths]}"
    files = [path.relative_to(PACKAGE).as_posix() for paths in found.values() for path in paths]
    script = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module(name)\n"
        "    if 'torch' in sys.modules: sys.exit(f'importing {name} imports torch')\n"
    )
    done = _python(script, *[_module(PACKAGE, file) for file in files])
    assert done.returncode == 0, done.stderr


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

SMALL_TABLE = """
| size | count |
| --- | --- |
| 7 | `other.py` |

| layer | file | what |
| --- | --- | --- |
| 0 | `low.py` | |
| 1 | `folder/one.py two.py`, `side.py` | |
| 2 | `high.py` | |
"""


@pytest.fixture
def small(tmp_path: Path) -> Path:
    package = tmp_path / "small"
    (package / "folder").mkdir(parents=True)
    for file in ["__init__.py", "folder/__init__.py", *layers_in(SMALL_TABLE)]:
        (package / file).write_text("")
    return package


def test_the_table_is_understood() -> None:
    files = {"low.py": 0, "folder/one.py": 1, "folder/two.py": 1, "side.py": 1, "high.py": 2}
    assert layers_in(SMALL_TABLE) == files


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
    ],
)
def test_an_import_that_goes_up_is_found(small: Path, line: str) -> None:
    (small / "folder" / "one.py").write_text(line)
    assert len(upward(list(imports_of(small)), layers_in(SMALL_TABLE))) == 1


@pytest.mark.parametrize(
    "line",
    [
        "import numpy",
        "from small.low import f",
        "from ..low import f",
        "from .two import f",
        "from . import two",
        "import small.side",
    ],
)
def test_an_import_that_goes_down_or_sideways_is_allowed(small: Path, line: str) -> None:
    (small / "folder" / "one.py").write_text(line)
    (small / "high.py").write_text("from small.folder import one")
    imports = list(imports_of(small))
    assert upward(imports, layers_in(SMALL_TABLE)) == []
    assert cycle(imports) == []


def test_a_cycle_within_a_layer_is_found(small: Path) -> None:
    (small / "folder" / "one.py").write_text("from small.folder import two")
    (small / "folder" / "two.py").write_text("from .one import f")
    assert cycle(list(imports_of(small)))
