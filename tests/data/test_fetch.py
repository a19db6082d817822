"""Files come whole, from a server that breaks off, errs, is missing or serves something else."""

import errno
import io
from dataclasses import replace
from pathlib import Path

import pytest

from dead_process import of_a_dead_process
from download_made import CONTENT, PHOTOS, Server, a_set, md5, packed, plain, tree

pytest.importorskip("pooch", reason="the extra `data` isn't installed")

from redoseg.data.download.download import download
from redoseg.data.download.fetch import Bar, Fetcher, NoRoomError


@pytest.mark.parametrize("silent", [False, True], ids=["said how long", "didn't say"])
def test_a_broken_download_is_fetched_again(
    tmp_path: Path, server: Server, fetcher: Fetcher, silent: bool
) -> None:
    file = plain(server)
    server.breaks[file.name] = 1
    server.silent |= {file.name} if silent else set()
    assert download(a_set(file), tmp_path, fetcher) == []
    assert tree(tmp_path) == {"roses/list.txt": CONTENT}
    assert server.asked == [file.name] * 2


def test_a_short_file_is_never_left(tmp_path: Path, server: Server, fetcher: Fetcher) -> None:
    file, fine = packed(server), plain(server)
    server.breaks[file.name] = 99
    (line,) = download(a_set(file, fine), tmp_path, fetcher)
    assert f"{server.url(file.name)}: the connection broke off" in line
    assert f"get {file.name} elsewhere ({file.sum}), put it into {tmp_path}/roses/downloads" in line
    assert server.asked == [file.name] * 3 + [fine.name]
    assert tree(tmp_path) == {"roses/list.txt": CONTENT}
    server.breaks.clear()
    assert download(a_set(file, fine), tmp_path, fetcher) == []


def test_a_busy_server_is_asked_again_a_missing_file_is_not(
    tmp_path: Path, server: Server, fetcher: Fetcher
) -> None:
    busy, gone = plain(server, "busy.txt"), plain(server, "gone.txt")
    server.errs["busy.txt"] = [503, 429]
    del server.files["gone.txt"]
    (line,) = download(a_set(busy, gone), tmp_path, fetcher)
    assert f"{server.url('gone.txt')}: the server says 404" in line
    assert "\n" not in line
    assert server.asked == ["busy.txt"] * 3 + ["gone.txt"]


def test_mirrors_are_tried_in_order(tmp_path: Path, server: Server, fetcher: Fetcher) -> None:
    file = plain(server)
    server.files["other"] = b"something else"
    urls = (server.url("none"), "http://127.0.0.1:9/refused", server.url("other"), *file.urls)
    assert download(a_set(replace(file, urls=urls)), tmp_path, fetcher) == []
    assert list(dict.fromkeys(server.asked)) == ["none", "other", file.name]
    assert tree(tmp_path) == {"roses/list.txt": CONTENT}


def test_no_network(tmp_path: Path, server: Server, fetcher: Fetcher) -> None:
    file = replace(plain(server), urls=("http://127.0.0.1:9/list.txt",))
    (line,) = download(a_set(file), tmp_path, fetcher)
    assert "http://127.0.0.1:9/list.txt: can't be reached (is there a network?)" in line


def test_a_wrong_file_is_named_and_removed(tmp_path: Path, server: Server, fetcher: Fetcher) -> None:
    file = plain(server)
    server.files[file.name] = b"another"
    (line,) = download(a_set(file), tmp_path, fetcher)
    assert f"sent another file: its sum is {md5(b'another')}, not {file.sum}; it was removed" in line
    assert tree(tmp_path) == {}


def test_a_wrong_file_in_place_is_replaced_only_by_the_right_one(
    tmp_path: Path, server: Server, fetcher: Fetcher, said: io.StringIO
) -> None:
    file = plain(server)
    (tmp_path / "roses").mkdir()
    (tmp_path / "roses" / file.name).write_bytes(b"mine")
    server.errs[file.name] = [404]
    assert len(download(a_set(file), tmp_path, fetcher)) == 1
    assert tree(tmp_path) == {"roses/list.txt": b"mine"}
    assert f"{tmp_path}/roses/list.txt is not the set's file" in said.getvalue()
    assert download(a_set(file), tmp_path, fetcher) == []
    assert tree(tmp_path) == {"roses/list.txt": CONTENT}


def test_a_full_disk_ends_it(
    tmp_path: Path, server: Server, fetcher: Fetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = plain(server)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Bar, "update", full)
    with pytest.raises(NoRoomError, match=r"no room is left in .*free some or give another --root") as caught:
        download(a_set(file, plain(server, "b.txt")), tmp_path, fetcher)
    assert server.url(file.name) in str(caught.value)
    assert server.asked == [file.name]
    assert tree(tmp_path) == {}


@pytest.mark.parametrize("where", ["redoseg.data.download.fetch.Bar.update", "tarfile.TarFile.extract"])
def test_ctrl_c_leaves_nothing_half(
    tmp_path: Path, server: Server, fetcher: Fetcher, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    data = a_set(packed(server))

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(where, stop)
        with pytest.raises(KeyboardInterrupt):
            download(data, tmp_path, fetcher)
    assert set(tree(tmp_path)) <= {"roses/downloads/photos.tgz"}
    assert download(data, tmp_path, fetcher) == []
    assert (tmp_path / "roses" / "photos" / "jpg" / "more" / "b.jpg").read_bytes() == b"two"


def test_what_a_killed_process_left_is_cleared(tmp_path: Path, server: Server, fetcher: Fetcher) -> None:
    (tmp_path / "roses" / "downloads").mkdir(parents=True)
    left = of_a_dead_process(tmp_path / "roses" / "photos.tgz")
    (left / "jpg").mkdir(parents=True)
    (tmp_path / "roses" / "downloads" / left.name).write_bytes(PHOTOS[:50])
    assert download(a_set(packed(server)), tmp_path, fetcher) == []
    assert sorted(path.name for path in (tmp_path / "roses").rglob(".*")) == []
