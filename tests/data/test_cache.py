"""The cache: found again, never half-made, never in the way."""

import io
import os
import subprocess
import sys
import threading
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
from PIL import Image

from data_made import picture, write_folder, write_tar
from redoseg.data import cache, image_ref
from redoseg.data import photos as photos_module
from redoseg.data.archive import Entry
from redoseg.data.dataset import Dataset, open_dataset
from redoseg.data.images import Resize
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


# What a cache is of


@pytest.mark.parametrize("packed", [False, True])
def test_two_sets_of_equal_names_sizes_and_times_are_two(kept: Path, tmp_path: Path, packed: bool) -> None:
    """As uncompressed pictures and builds that can be repeated have them."""
    seen = []
    for kind, colour in (("cats", 200), ("dogs", 90)):
        content = {f"{i}.bmp": encoded_bmp(colour + i) for i in range(3)}
        folder = write_folder(tmp_path / kind, content)
        for file in folder.iterdir():
            os.utime(file, (1, 1))
        if packed:
            write_tar(tmp_path / f"{kind}.tar", content)
            os.utime(tmp_path / f"{kind}.tar", (1, 1))
        data = open_dataset([tmp_path / f"{kind}.tar" if packed else folder], size=8, cache=kept)
        seen.append((data.split("train").images(np.arange(3))[:, 0, 0, 0].tolist(), data.fingerprint))
    assert [pixels for pixels, _ in seen] == [[200, 201, 202], [90, 91, 92]]
    assert seen[0][1] != seen[1][1]


def encoded_bmp(grey: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (grey, grey, grey)).save(file, "BMP")
    return file.getvalue()


def test_a_photo_that_is_replaced_in_its_place_is_noticed(kept: Path, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "set", {"a.bmp": encoded_bmp(10)})
    os.utime(folder / "a.bmp", (1, 1))
    before = open_dataset([folder], size=8, cache=kept)
    (folder / "a.bmp").write_bytes(encoded_bmp(20))
    os.utime(folder / "a.bmp", (1, 1))
    after = open_dataset([folder], size=8, cache=kept)
    assert after.split("train").images(np.arange(1)).max() == 20
    assert not after.is_the_one(before.fingerprint)


def test_a_run_from_before_contents_counted_is_recognised(kept: Path, tmp_path: Path) -> None:
    data = open_dataset([write_folder(tmp_path / "set", {"a.bmp": encoded_bmp(10)})], size=8, cache=kept)
    assert len(data.former) == len(data.fingerprint) == 32
    assert data.is_the_one(data.former)
    assert data.is_the_one(data.fingerprint)
    assert not data.is_the_one("0" * 32)


# What passes


@pytest.mark.parametrize(
    "trouble", [DataError("too large for this machine's memory"), OSError(5, "I/O error")]
)
def test_a_trouble_that_passes_is_not_remembered(
    photos: Path, kept: Path, monkeypatch: pytest.MonkeyPatch, trouble: Exception
) -> None:
    read = photos_module._read_photo

    def fail(*arguments: object) -> cache.Row:
        raise trouble

    def once(size: int, resize: Resize, index: int, file: BinaryIO) -> cache.Row:
        return fail() if index == 2 else read(size, resize, index, file)

    with monkeypatch.context() as patch:
        patch.setattr(photos_module, "_read_photo", once)
        data = open_dataset([photos], size=8, cache=kept)
        assert (len(data.split("train")), len(data.skipped)) == (5, 1)
        assert len(open_dataset([photos], size=8, cache=kept).split("train")) == 5
    data = open_dataset([photos], size=8, cache=kept)
    assert (len(data.split("train")), len(data.skipped)) == (6, 0)


def test_what_stays_broken_stays_named(photos: Path, kept: Path) -> None:
    (photos / "7.png").write_bytes(b"no picture")
    for _ in range(2):
        (line,) = open_dataset([photos], size=8, cache=kept).skipped
        assert line == "7.png (not an image, or damaged from its first bytes on)"


def test_without_a_home_folder_there_is_a_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def no_home(*arguments: object, **options: object) -> Path:
        raise RuntimeError("could not determine the home directory")

    monkeypatch.delenv("REDOSEG_CACHE", raising=False)
    monkeypatch.setattr(cache, "user_cache_path", no_home)
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    cache._cache_without_home.cache_clear()
    assert cache.default_cache().parent == tmp_path
    cache._cache_without_home.cache_clear()


def test_parts_of_others_are_left_alone(photos: Path, kept: Path) -> None:
    (kept / "mine.part").mkdir(parents=True)
    (kept / "film.mkv.part").write_bytes(b"half of it")
    for part in kept.iterdir():
        os.utime(part, (0, 0))
    open_dataset([photos], size=8, cache=kept)
    assert {"mine.part", "film.mkv.part"} <= {path.name for path in kept.iterdir()}


def test_a_packed_archive_is_not_unpacked_again_for_what_stays_broken(
    kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tar(tmp_path / "set.tar.gz", {"a.png": picture(), "b.png": b"none", "c.png": b"none"})
    assert len(open_dataset([tmp_path / "set.tar.gz"], size=8, cache=kept).skipped) == 2

    def only_nothing(entries: Collection[Entry]) -> Iterator[tuple[Entry, bytes]]:
        assert not entries
        return iter(())

    monkeypatch.setattr(image_ref, "read_in_order", only_nothing)
    assert len(open_dataset([tmp_path / "set.tar.gz"], size=8, cache=kept).skipped) == 2
