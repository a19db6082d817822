"""The wheel holds the whole package: in an environment of its own, its command segments a photo."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

import redoseg

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "redoseg"

pytestmark = pytest.mark.slow


def run(*command: object, cwd: Path) -> str:
    """Standard output of a command that knows nothing of this checkout."""
    surroundings = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [*map(str, command)],
        cwd=cwd,
        env=surroundings,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel and the sdist, built from a copy: what an earlier build left here must not come in."""
    source = tmp_path_factory.mktemp("source")
    shutil.copytree(ROOT / "src", source / "src", ignore=shutil.ignore_patterns("*.egg-info", "__pycache__"))
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, source)
    run(sys.executable, "-m", "build", "--no-isolation", "--sdist", "--wheel", cwd=source)
    return source / "dist"


def files_of_the_package() -> set[str]:
    """All that a wheel must hold: code, the typing mark, the page of reports, the shipped models."""
    code = [*PACKAGE.rglob("*.py"), PACKAGE / "py.typed"]
    models = [path for path in (PACKAGE / "shipped").rglob("*") if path.is_file()]
    pages = [*PACKAGE.glob("*/assets/*")]
    assert len({page.parent for page in pages}) == 2
    return {path.relative_to(PACKAGE.parent).as_posix() for path in (*code, *pages, *models)}


def test_both_hold_every_file_of_the_package(dist: Path) -> None:
    expected = files_of_the_package()
    assert {"redoseg/data/native/cub.py", "redoseg/shipped/faces/mask.onnx"} <= expected
    (wheel,) = dist.glob(f"redoseg-{redoseg.__version__}-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert {name for name in archive.namelist() if ".dist-info/" not in name} == expected
    (sdist,) = dist.glob(f"redoseg-{redoseg.__version__}.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/src/")[2] for name in archive.getnames()}
    assert expected - names == set()


def test_the_installed_command_segments_a_photo(dist: Path, tmp_path: Path) -> None:
    python = fresh_environment(tmp_path / "env", next(dist.glob("*.whl")))
    home = Path(run(python, "-c", "import redoseg; print(redoseg.__file__)", cwd=tmp_path).strip())
    assert home.is_relative_to(tmp_path / "env")
    command = python.parent / "redoseg"
    assert run(command, "--version", cwd=tmp_path).strip() == f"redoseg {redoseg.__version__}"
    (tmp_path / "photos").mkdir()
    draw_face(tmp_path / "photos" / "face.png")
    run(command, "segment", "faces", "photos", "--out", "masks", cwd=tmp_path)
    with Image.open(tmp_path / "masks" / "face.png") as mask:
        inside = np.asarray(mask) > 0
    assert inside.shape == (120, 100)
    assert 0.05 < inside.mean() < 0.95
    assert inside[40:80, 35:65].mean() > inside[:10].mean()


def fresh_environment(folder: Path, wheel: Path) -> Path:
    """The interpreter of a new environment with the wheel, which borrows the other packages from this one."""
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", "--quiet",
        "--disable-pip-version-check", wheel, cwd=folder)  # fmt: skip
    own = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip()
    # A path alone: .pth files there, such as that of an editable installation, are not followed.
    (Path(own) / "borrowed.pth").write_text(sysconfig.get_path("purelib"))
    return python


def draw_face(file: Path) -> None:
    """A bright oval with hair, eyes and a mouth before a dull wall."""
    picture = Image.new("RGB", (100, 120), (70, 90, 80))
    pen = ImageDraw.Draw(picture)
    pen.ellipse((22, 8, 78, 90), fill=(60, 40, 30))
    pen.ellipse((28, 20, 72, 100), fill=(224, 176, 148))
    for x in (38, 56):
        pen.ellipse((x, 48, x + 7, 53), fill=(30, 30, 30))
    pen.line((42, 80, 58, 80), fill=(160, 60, 60), width=3)
    picture.save(file)
