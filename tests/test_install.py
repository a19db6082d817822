"""The plain installation: photos are segmented without PyTorch, and what needs more says what to install."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bare_python import WITHOUT, python
from masknetworks import network
from redoseg.exporting.onnx import save_model
from redoseg.segmentation.segmenter import Segmenter

COMMAND = f"{WITHOUT}from redoseg.cli import main\nsys.exit(main(sys.argv[1:]))"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model's folder, one without mask.onnx, a photo, and a run that was begun."""
    folder = tmp_path_factory.mktemp("light")
    save_model(network(2, 3, [1, 0]), folder / "model")
    network().save_pretrained(folder / "bare")
    for name in ("photos", "begun"):
        (folder / name).mkdir()
    (folder / "begun" / "run.json").write_text("{}")
    pixels = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "photos" / "a.png")
    return folder


def test_segment(folder: Path) -> None:
    done = python(COMMAND, "segment", folder / "model", folder / "photos", "--out", folder / "masks")
    assert (done.returncode, done.stderr) == (0, "")
    with Image.open(folder / "masks" / "a.png") as mask:
        expected = Segmenter.from_pretrained(folder / "model", backend="torch", device="cpu")
        assert mask.size == (70, 50)
        same = (np.asarray(mask) > 0) == (expected(folder / "photos" / "a.png")[1] > 0.5)
        assert same.mean() > 0.999


def test_in_python(folder: Path) -> None:
    code = (
        f"{WITHOUT}import redoseg\n"
        "segmenter = redoseg.Segmenter.from_pretrained(sys.argv[1])\n"
        "masks = segmenter(sys.argv[2])\n"
        "report = redoseg.segment_files(segmenter, sys.argv[2:3], sys.argv[3])\n"
        "print(masks.shape, report.written, redoseg.TrainConfig.__name__, redoseg.open_dataset.__name__)\n"
    )
    done = python(code, folder / "model", folder / "photos" / "a.png", folder / "again")
    assert done.stdout.strip() == "(2, 50, 70) 1 TrainConfig open_dataset", done.stderr


@pytest.mark.parametrize(
    "line",
    [
        "train photos --out run",
        "resume begun",
        "evaluate model photos",
        "redraw model photos/a.png --out redrawn.png",
        "export model --onnx f.onnx",
        "export model --hub-folder hub",
        "demo --out run",
        "segment model photos --out masks --backend torch",
        "segment bare photos --out masks",
    ],
)
def test_what_needs_more_says_what_to_install(folder: Path, line: str) -> None:
    done = python(f"import os; os.chdir({str(folder)!r})\n{COMMAND}", *line.split())
    assert done.returncode == 1
    assert done.stdout == ""
    assert "PyTorch" in done.stderr
    assert done.stderr.startswith("redoseg: ")
    assert done.stderr.endswith(": pip install 'redoseg[train]'\n")
    assert done.stderr.count("\n") == 1


def test_public_names_say_what_to_install() -> None:
    code = (
        f"{WITHOUT}import redoseg\n"
        "for name in ('train', 'evaluate', 'Evaluation', 'MaskNetwork'):\n"
        "    try: getattr(redoseg, name)\n"
        "    except ImportError as error: print(error)\n"
    )
    lines = python(code).stdout.splitlines()
    assert [line.split(" needs ")[0] for line in lines] == [
        *("redoseg.train", "redoseg.evaluate", "redoseg.Evaluation", "redoseg.MaskNetwork")
    ]
    assert all(
        line.endswith("PyTorch, which isn't installed: pip install 'redoseg[train]'") for line in lines
    )


def test_other_modules_that_are_missing_are_no_extra() -> None:
    call = "from redoseg.cli import main\nmain(['segment', 'm', 'p', '--out', 'o'])"
    done = python(f"import sys\nsys.modules['PIL'] = None\n{call}")
    assert done.returncode == 1
    assert "ModuleNotFoundError" in done.stderr


def test_what_segments_imports_nothing_of_the_extra() -> None:
    code = (
        "import sys, redoseg.segmentation.segmenter, redoseg.segmentation.segment\n"
        "import redoseg.cli, redoseg.models.source\n"
        "extra = {'torch', 'safetensors', 'scipy', 'sklearn', 'onnx'}\n"
        "print(sorted(extra & sys.modules.keys()))\n"
    )
    assert python(code).stdout.strip() == "[]"


def test_no_class_is_derived_from_a_name_of_arrays() -> None:
    """In NumPy 2.5, which Python 3.12 and later get, `NDArray[...]` is the name of a type, and no base."""
    code = (
        "import importlib, pkgutil, sys, typing, numpy.typing\n"
        "class Name:\n"
        "    def __getitem__(self, dtype):\n"
        "        return typing.Union[int, str]\n"
        "numpy.typing.NDArray = Name()\n"
        "import redoseg\n"
        "names = [found.name for found in pkgutil.walk_packages(redoseg.__path__, 'redoseg.')]\n"
        "for name in names:\n"
        "    if not name.endswith('__main__'):\n"
        "        try:\n"
        "            importlib.import_module(name)\n"
        "        except ModuleNotFoundError as error:\n"
        "            assert not error.name.startswith('redoseg'), error  # an extra that isn't here\n"
        "print('redoseg.segmentation.result' in sys.modules)\n"
    )
    done = python(code)
    assert done.stdout.strip() == "True", done.stderr
