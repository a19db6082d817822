"""`redoseg doctor`: what it says, and that its exit code tells whether segmenting works."""

import importlib.metadata
import json
import tomllib
from pathlib import Path

import numpy as np
import pytest

from redoseg.segmentation import checkup
from redoseg.version import __version__

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("REDOSEG_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache" / "photos").mkdir(parents=True)
    (tmp_path / "cache" / "photos" / "a").write_bytes(b"x" * 1_500_000)
    return tmp_path / "cache"


def test_all_is_well(command, cache):
    code, output, said = command("doctor")
    assert (code, said) == (0, "")
    assert output.startswith(f"redoseg {__version__}, Python 3.")
    assert f"numpy {np.__version__}" in output
    assert f"resized photos: {cache}, 1.5 MB" in output
    assert "ONNX Runtime: " in output
    assert "flowers" in output
    assert "self-test: passed: flowers on a drawn flower: IoU " in output


def test_json_says_the_same(command, cache):
    code, output, _ = command("doctor", "--json")
    found = json.loads(output)
    assert code == 0
    assert found["versions"]["redoseg"] == __version__
    assert found["caches"]["resized photos"] == {"folder": str(cache), "bytes": 1_500_000}
    assert found["cores"]["used"] >= 1
    assert found["self_test"]["works"] is True


def test_a_model_that_is_damaged_fails(command, monkeypatch):
    monkeypatch.setattr("redoseg.models.shipped.sha256_of", lambda path: "0" * 64)
    code, output, _ = command("doctor")
    assert code == 1
    assert "self-test: FAILED: ModelError: the model 'birds' is damaged" in output
    assert output.endswith("pip install --force-reinstall redoseg\n")


def test_masks_that_are_wrong_fail(command, monkeypatch):
    photo, inside = checkup.draw_flower()
    monkeypatch.setattr(checkup, "draw_flower", lambda: (photo, ~inside))
    code, output, _ = command("doctor")
    assert code == 1
    assert "self-test: FAILED: flowers on a drawn flower: IoU 0." in output


def test_what_is_missing_is_named_with_the_command_that_brings_it(command, monkeypatch):
    real = importlib.metadata.version

    def version(name):
        if name in ("pooch", "pillow-heif", "filelock"):
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(checkup, "version", version)
    code, output, _ = command("doctor")
    assert code == 0
    assert "missing:   pooch: pip install 'redoseg[data]'\n" in output
    assert "missing:   pillow-heif: pip install 'redoseg[heic]'\n" in output
    assert "missing:   filelock: pip install redoseg\n" in output


def test_pytorch_that_cannot_be_imported_is_said(command, monkeypatch):
    real = importlib.import_module

    def import_module(name):
        if name == "torch":
            raise OSError("libcudart.so.12: cannot open shared object file")
        return real(name)

    monkeypatch.setattr(checkup, "import_module", import_module)
    code, output, _ = command("doctor")
    assert code == 0
    assert "PyTorch can't be used: libcudart.so.12: cannot open shared object file" in output


def test_it_knows_the_packages_of_the_extras():
    def names(requirements):
        return {line.partition(">=")[0].partition("[")[0] for line in requirements if "redoseg[" not in line}

    assert names(PROJECT["dependencies"]) == set(checkup.PLAIN)
    for extra, own in checkup.EXTRAS.items():
        assert names(PROJECT["optional-dependencies"][extra]) == set(own.split()), extra
    for_others = {"edges", "docs", "browser", "supply", "dev"}  # empty, or for those who work on redoseg
    assert PROJECT["optional-dependencies"].keys() - for_others == checkup.EXTRAS.keys()
