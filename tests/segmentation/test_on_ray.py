"""Segmenting through Ray: the masks of the local path, whatever becomes of a worker."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("ray", reason="the extra `ray` isn't installed")

from redoseg.exporting.onnx import save_model
from redoseg.networks.mask import MaskNetwork
from redoseg.segmentation.segment import segment_files
from redoseg.segmentation.segmenter import Segmenter

PHOTOS = 300


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "model"
    save_model(MaskNetwork(n=2, width=4, blocks=1, size=32), folder)
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "photos"
    random = np.random.default_rng(0)
    for k in range(PHOTOS):
        file = folder / f"{k % 7}" / f"{k}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (40, 52, 3), np.uint8)).save(file)
    (folder / "broken.png").write_bytes(b"no image")
    return folder


@pytest.fixture(scope="module")
def expected(model, photos, tmp_path_factory):
    out = tmp_path_factory.mktemp("local") / "masks"
    report = segment_files(Segmenter.from_pretrained(model), [photos], out)
    assert report.written == PHOTOS
    return contents(out)


def contents(folder):
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def started(model, photos, out):
    command = [sys.executable, "-m", "redoseg", "segment", model, photos, "--out", out, "--ray", "local"]
    # in a process of its own: Ray leaves threads and signal handlers behind
    return subprocess.Popen(
        [str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def workers():
    """The processes that Ray runs our workers in."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if b"ray::" in (line := (folder / "cmdline").read_bytes()) and b"_Worker" in line:
                found.append(int(folder.name))
        except OSError:
            continue
    return found


@pytest.mark.slow
def test_the_same_masks_as_without_ray_though_workers_die(model, photos, expected, tmp_path):
    out = tmp_path / "masks"
    process = started(model, photos, out)
    # Once there is a mask, a worker has photos in hand; Ray says nothing of one that had none yet.
    deadline = time.monotonic() + 120
    while not any(out.rglob("*.png")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    killed = workers()
    assert killed
    for worker in killed:
        os.kill(worker, signal.SIGKILL)
    said, complained = process.communicate(timeout=300)
    assert process.returncode == 1  # the broken photo
    assert "worker died" in said  # Ray says so
    said = said[said.rindex("\n", 0, -1) + 1 :]
    counts = f"{PHOTOS + 1} photos, 0 left out: {PHOTOS} masks in {out}"
    assert said == f"{counts}; 1 could not be done, they are named above\n"
    ours = [line for line in complained.splitlines() if line.startswith("redoseg")]  # Ray has remarks, too
    assert ours == [f"redoseg: {photos / 'broken.png'}: not an image, or damaged from its first bytes on"]
    assert contents(out) == expected


def test_a_cluster_that_is_not_there(model, photos, tmp_path):
    command = ["segment", model, photos, "--out", tmp_path / "masks", "--ray", "auto"]
    done = subprocess.run(
        [sys.executable, "-m", "redoseg", *map(str, command)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1
    assert done.stderr.startswith("redoseg: --ray auto: no Ray cluster can be had there")
    assert done.stderr.count("\n") == 1
