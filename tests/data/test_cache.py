"""The cache: found again, never half-made, never in the way."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from data_made import picture, write_folder
from redoseg.data import cache
from redoseg.data.dataset import Dataset, open_dataset
from redoseg.errors import DataError
from refusals import refusal


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "photos", {f"{i}.png": picture(i) for i in range(6)})


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    return tmp_path / "kept"


class Calls:
    """A progress callback that notes what it hears."""

    def __init__(self) -> None:
        self.heard: list[tuple[int, int]] = []

    def __call__(self, done: int, total: int) -> None:
        self.heard.append((done, total))


def files_read(photos: Path, kept: Path, size: int = 8) -> int:
    calls = Calls()
    data = open_dataset([str(photos)], size=size, cache=kept, progress=calls)
    assert len(data.split("train")) == len(list(photos.rglob("*.png")))
    assert calls.heard == [(i + 1, len(calls.heard)) for i in range(len(calls.heard))]
    return len(calls.heard)


def test_built_once_for_each_size(photos: Path, kept: Path) -> None:
    assert files_read(photos, kept) == 6
    assert files_read(photos, kept) == 0
    assert files_read(photos, kept, size=16) == 6
    assert files_read(photos, kept, size=16) == 0


def test_built_again_when_a_file_changes(photos: Path, kept: Path) -> None:
    files_read(photos, kept)
    before = (photos / "3.png").stat()
    (photos / "3.png").write_bytes(picture(99))
    os.utime(photos / "3.png", ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert files_read(photos, kept) == 6
    (photos / "7.png").write_bytes(picture(7))
    assert files_read(photos, kept) == 7
    (photos / "7.png").rename(photos / "8.png")
    assert files_read(photos, kept) == 7


def test_moved_data_is_the_same_data(photos: Path, kept: Path, tmp_path: Path) -> None:
    before = open_dataset([str(photos)], size=8, cache=kept).fingerprint
    photos.rename(tmp_path / "elsewhere")
    assert files_read(tmp_path / "elsewhere", kept) == 0
    assert open_dataset([str(tmp_path / "elsewhere")], size=8, cache=kept).fingerprint == before


def test_what_a_killed_build_leaves_is_not_taken_for_a_cache(photos: Path, kept: Path) -> None:
    script = (
        "import os, signal, sys\n"
        "from redoseg.data.dataset import open_dataset\n"
        "stop = lambda done, total: os.kill(os.getpid(), signal.SIGKILL) if done == 3 else None\n"
        "open_dataset([sys.argv[1]], size=8, cache=__import__('pathlib').Path(sys.argv[2]), progress=stop)\n"
    )
    killed = subprocess.run([sys.executable, "-c", script, str(photos), str(kept)], check=False)
    assert killed.returncode == -9
    (left,) = kept.iterdir()
    assert files_read(photos, kept) == 6
    assert left.exists()  # it might still be at work
    os.utime(left / "rows.npy", (0, 0))
    assert files_read(photos, kept, size=16) == 6
    assert not left.exists()


@pytest.mark.parametrize("name", ["rows.npy", "notes.npy", "meta.json"])
@pytest.mark.parametrize("damage", ["cut", "gone", "other"])
def test_a_damaged_cache_is_built_again(photos: Path, kept: Path, name: str, damage: str) -> None:
    files_read(photos, kept)
    (file,) = kept.glob(f"*/{name}")
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:-7])
    elif damage == "gone":
        file.unlink()
    else:
        file.write_bytes(b"something else")
    assert files_read(photos, kept) == 6
    assert files_read(photos, kept) == 0
    assert [path.name for path in kept.iterdir()] == [file.parent.name]


def test_an_interrupted_build_cleans_up(photos: Path, kept: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_dataset([str(photos)], size=8, cache=kept, progress=stop)
    assert list(kept.iterdir()) == []


def test_two_builders_at_once_agree(photos: Path, kept: Path) -> None:
    meet = threading.Barrier(2, timeout=30)
    found: list[Dataset] = []

    def build() -> None:
        def wait(done: int, total: int) -> None:
            if done == 6:
                meet.wait()  # neither is finished before both are nearly so

        found.append(open_dataset([str(photos)], size=8, cache=kept, progress=wait))

    threads = [threading.Thread(target=build) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    every = np.arange(6)
    one, other = (data.split("train").images(every) for data in found)
    assert np.array_equal(one, other)
    assert len(list(kept.iterdir())) == 1


def test_a_cache_that_cannot_be_written_is_one_line(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with refusal(DataError, match="--cache DIR"):
        open_dataset([str(photos)], size=8, cache=tmp_path / "file")


def test_a_file_that_can_be_read_later_is_not_left_out_for_ever(
    photos: Path, kept: Path, tmp_path: Path
) -> None:
    (photos / "link.png").symlink_to(tmp_path / "later.png")
    data = open_dataset([str(photos)], size=8, cache=kept)
    assert len(data.split("train")) == 6
    assert "No such file" in data.skipped[0]
    (tmp_path / "later.png").write_bytes(picture(8))
    assert files_read(photos, kept) == 7


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have places of their own for caches")
def test_the_default_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("REDOSEG_CACHE", raising=False)
    assert cache.default_cache() == tmp_path / ".cache" / "redoseg"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert cache.default_cache() == tmp_path / ".cache" / "redoseg"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert cache.default_cache() == tmp_path / "x" / "redoseg"
    monkeypatch.setenv("REDOSEG_CACHE", str(tmp_path / "own"))
    assert cache.default_cache() == tmp_path / "own"


def test_reading_gives_memory_back(photos: Path, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "_DROP_AFTER", 100)
    train = open_dataset([str(photos)], size=8, cache=kept).split("train")
    first = train.images(np.arange(6))
    assert all(np.array_equal(train.images(np.arange(6)), first) for _ in range(5))
