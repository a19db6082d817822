"""A model that was used once works in other processes: forked, spawned, pickled; it minds the cores."""

import io
import multiprocessing
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from masknetworks import network
from redoseg import cores
from redoseg.exporting.onnx import export_onnx
from redoseg.models.backends import onnx
from redoseg.models.backends.onnx import OnnxBackend
from redoseg.models.backends.torch import TorchBackend
from redoseg.segmentation.segmenter import Segmenter

pytestmark = pytest.mark.training
PHOTOS = [np.random.default_rng(seed).integers(0, 256, (40, 50, 3)).astype(np.uint8) for seed in range(4)]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "mask.onnx"
    export_onnx(network(2, 1, [1, 0]), path)
    return path


@pytest.fixture(params=["onnx", "torch"])
def segmenter(request: pytest.FixtureRequest, file: Path) -> Segmenter:
    backend: Any = (
        OnnxBackend(file, threads=2) if request.param == "onnx" else TorchBackend(network(2, 1, [1, 0]))
    )
    return Segmenter(backend, n=2, size=32)


SEGMENTER: Segmenter  # of the process that forks


def segment_one(index: int) -> NDArray[np.float32]:
    masks: NDArray[np.float32] = SEGMENTER(PHOTOS[index])
    return masks


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork")
def test_a_segmenter_that_was_used_works_in_forks(segmenter: Segmenter) -> None:
    global SEGMENTER
    SEGMENTER = segmenter
    expected = segmenter(PHOTOS)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        found = pool.map_async(segment_one, range(len(PHOTOS))).get(timeout=60)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    np.testing.assert_array_equal(segmenter(PHOTOS), expected)  # here it goes on


class Photos(torch.utils.data.Dataset[NDArray[np.float32]]):
    """As people use a model while they train another one."""

    def __init__(self, segmenter: Segmenter) -> None:
        self.segmenter = segmenter

    def __len__(self) -> int:
        return len(PHOTOS)

    def __getitem__(self, index: int) -> NDArray[np.float32]:
        masks: NDArray[np.float32] = self.segmenter(PHOTOS[index])
        return masks


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork", "ignore:This DataLoader will create")
def test_a_data_loader_of_two_workers(segmenter: Segmenter) -> None:
    expected = np.stack(segmenter(PHOTOS))
    loader = torch.utils.data.DataLoader(Photos(segmenter), batch_size=4, num_workers=2, timeout=60)
    (batch,) = loader
    np.testing.assert_allclose(batch.numpy(), expected, atol=1e-5)


def test_a_segmenter_survives_a_pickle(segmenter: Segmenter) -> None:
    expected = segmenter(PHOTOS[0])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(segmenter))(PHOTOS[0]), expected)


@pytest.mark.slow
def test_a_spawned_process_takes_it_along(file: Path, tmp_path: Path) -> None:
    (tmp_path / "segmenter.pickle").write_bytes(
        pickle.dumps(Segmenter(OnnxBackend(file, threads=1), n=2, size=32))
    )
    np.save(tmp_path / "photo.npy", PHOTOS[0])
    code = (
        "import pickle, sys, numpy as np, pathlib\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "masks = pickle.loads((folder / 'segmenter.pickle').read_bytes())(np.load(folder / 'photo.npy'))\n"
        "np.save(folder / 'masks.npy', masks)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, timeout=120)
    expected = Segmenter(OnnxBackend(file, threads=1), n=2, size=32)(PHOTOS[0])
    np.testing.assert_array_equal(np.load(tmp_path / "masks.npy"), expected)


# Cores


def made_group(path: Path, **files: str) -> None:
    path.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (path / name.replace("_dot_", ".")).write_text(text)


@pytest.mark.parametrize(
    ("files", "most"),
    [
        ({"cpu_dot_max": "200000 100000"}, 2),
        ({"cpu_dot_max": "150000 100000"}, 2),
        ({"cpu_dot_max": "20000 100000"}, 1),
        ({"cpu_dot_max": "max 100000"}, 64),
        ({"cpu_dot_cfs_quota_us": "300000", "cpu_dot_cfs_period_us": "100000"}, 3),
        ({"cpu_dot_cfs_quota_us": "-1", "cpu_dot_cfs_period_us": "100000"}, 64),
        ({"cpu_dot_max": "nonsense"}, 64),
        ({}, 64),
    ],
)
def test_a_quota_is_minded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], most: int
) -> None:
    made_group(tmp_path / "cpu" if "cpu_dot_cfs_quota_us" in files else tmp_path, **files)
    monkeypatch.setattr(cores, "_GROUPS", tmp_path)
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(64)))
    assert cores.usable_cores() == most


def test_the_smallest_of_nested_quotas_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made_group(tmp_path / "job", cpu_dot_max="400000 100000")
    made_group(tmp_path / "job" / "step", cpu_dot_max="max 100000")
    monkeypatch.setattr(cores, "_own_groups", lambda: [tmp_path / "job" / "step", tmp_path / "job"])
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(64)))
    assert cores.usable_cores() == 4


@pytest.mark.parametrize(("asked", "given"), [("64", 3), ("2", 2), ("", 3), ("0", 3), ("many", 3)])
def test_more_threads_than_cores_are_not_started(
    monkeypatch: pytest.MonkeyPatch, asked: str, given: int
) -> None:
    monkeypatch.setattr(onnx, "usable_cores", lambda: 3)
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    assert onnx.cores() == given


def test_nothing_is_told_to_anyone(tmp_path: Path) -> None:
    """ONNX Runtime would write to the home folder, and ask the network, if it weren't told not to."""
    code = (
        "import os; os.environ.pop('ORT_DISABLE_TELEMETRY', None)\n"
        "import redoseg\n"
        "redoseg.Segmenter.from_pretrained('faces')(__import__('numpy').zeros((32, 32, 3), 'uint8'))\n"
        "print(os.environ['ORT_DISABLE_TELEMETRY'])\n"
    )
    surroundings = os.environ | {"HOME": str(tmp_path)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=surroundings, capture_output=True, text=True, check=True, timeout=99)
    assert done.stdout == "1\n"
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_name_that_the_terminal_cant_write_is_escaped(tmp_path: Path) -> None:
    (tmp_path / "写真").mkdir()
    Image.new("RGB", (32, 32), "red").save(tmp_path / "写真" / "a.png")
    command = [sys.executable, "-m", "redoseg", "segment", "faces", str(tmp_path / "写真")]
    surroundings = os.environ | {"PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0"}
    out = tmp_path / "マスク"
    done = subprocess.run([*command, "--out", str(out)], env=surroundings, capture_output=True, check=False)
    assert done.returncode == 0, io.BytesIO(done.stderr)
    assert rb"\u30de\u30b9\u30af" in done.stdout
    assert (out / "a.png").is_file()
