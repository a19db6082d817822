"""Files come whole, from a server that breaks off, errs, is missing or serves something else."""

import errno
import gzip
import hashlib
import io
import json
import shutil
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from rich.console import Console

pytest.importorskip("pooch", reason="the extra `data` isn't installed")

from redoseg.data.download.catalogue import SETS, DownloadableSet, RemoteFile
from redoseg.data.download.download import download
from redoseg.data.download.fetch import Bar, Fetcher, NoRoomError


@dataclass
class Server:
    """What 127.0.0.1 answers: bytes under a path, and how; the paths asked for, in order."""

    address: str
    files: dict[str, bytes] = field(default_factory=dict)
    breaks: dict[str, int] = field(default_factory=dict)
    """Path -> how many answers break off in the middle."""
    errs: dict[str, list[int]] = field(default_factory=dict)
    """Path -> statuses to answer with first."""
    silent: set[str] = field(default_factory=set)
    """Paths whose answers don't say how long they are."""
    headers: dict[str, dict[str, str]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def url(self, path: str) -> str:
        return f"{self.address}/{path}"


class Handler(BaseHTTPRequestHandler):
    state: Server

    def do_GET(self) -> None:
        path, state = self.path.lstrip("/"), self.state
        state.asked.append(path)
        statuses = state.errs.get(path, [])
        if path not in state.files or statuses:
            self.send_error(statuses.pop(0) if statuses else 404)
            return
        content = state.files[path]
        self.send_response(200)
        for name, value in state.headers.get(path, {}).items():
            self.send_header(name, value)
        if path not in state.silent:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if state.breaks.get(path, 0) > 0:
            state.breaks[path] -= 1
            content = content[: len(content) // 2]
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.RequestHandlerClass.state = Server(f"http://127.0.0.1:{http.server_port}")
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield http.RequestHandlerClass.state
        http.shutdown()
        thread.join()


@pytest.fixture
def said() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def fetcher(said: io.StringIO) -> Fetcher:
    return Fetcher(Console(file=said), tries=3, wait=0)


CONTENT = bytes(range(256)) * 4000


def md5(content: bytes) -> str:
    return f"md5:{hashlib.md5(content).hexdigest()}"


def tar(*members: tuple[str, bytes | tarfile.TarInfo]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name) if isinstance(content, bytes) else content
            if isinstance(content, bytes):
                info.size = len(content)
            archive.addfile(info, io.BytesIO(content if isinstance(content, bytes) else b""))
    return packed.getvalue()


def special(kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo("jpg/special")
    info.type, info.linkname = kind, target
    return info


def a_set(*files: RemoteFile) -> DownloadableSet:
    return replace(SETS["flowers"], name="roses", files=files)


def plain(server: Server, name: str = "list.txt", content: bytes = CONTENT, known: bool = True) -> RemoteFile:
    server.files[name] = content
    return RemoteFile(name, (server.url(name),), sum=md5(content) if known else None)


PHOTOS = tar(
    ("./jpg/a.jpg", b"one"), ("./jpg/more/b.jpg", b"two"), ("notes.txt", b"no"), ("jpg/._a.jpg", b"no")
)


def packed(server: Server, content: bytes = PHOTOS, known: bool = True) -> RemoteFile:
    return replace(plain(server, "photos.tgz", content, known), unpacked={"jpg": "photos/jpg"})


def tree(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


# what goes well


def test_files_are_fetched_verified_and_unpacked(tmp_path: Path, server: Server, fetcher: Fetcher) -> None:
    """Of an archive only what is needed; twice is as once."""
    data = a_set(plain(server), packed(server))
    assert download(data, tmp_path, fetcher) == []
    expected = {
        "roses/list.txt": CONTENT,
        "roses/photos/jpg/a.jpg": b"one",
        "roses/photos/jpg/more/b.jpg": b"two",
        "roses/downloads/photos.tgz": PHOTOS,
    }
    assert tree(tmp_path) == expected
    assert download(data, tmp_path, fetcher) == []
    assert server.asked == ["list.txt", "photos.tgz"]
    shutil.rmtree(tmp_path / "roses" / "downloads")
    assert download(data, tmp_path, fetcher) == []
    assert len(server.asked) == 2


def test_what_is_missing_comes_from_the_archive_that_is_there(
    tmp_path: Path, server: Server, fetcher: Fetcher
) -> None:
    data = a_set(packed(server))
    download(data, tmp_path, fetcher)
    shutil.rmtree(tmp_path / "roses" / "photos")
    assert download(data, tmp_path, fetcher) == []
    assert (tmp_path / "roses" / "photos" / "jpg" / "a.jpg").read_bytes() == b"one"
    assert server.asked == ["photos.tgz"]


@pytest.mark.parametrize("known", [True, False])
def test_a_file_put_into_downloads_is_used(
    tmp_path: Path, server: Server, fetcher: Fetcher, known: bool
) -> None:
    data = a_set(plain(server, known=known), packed(server, known=known))
    (tmp_path / "roses" / "downloads").mkdir(parents=True)
    for name, content in server.files.items():
        (tmp_path / "roses" / "downloads" / name).write_bytes(content)
    assert download(data, tmp_path, fetcher) == []
    assert server.asked == []
    assert (tmp_path / "roses" / "list.txt").read_bytes() == CONTENT
    assert (tmp_path / "checksums.json").exists() != known


def test_digits_packed_anew_are_as_good(tmp_path: Path, server: Server, fetcher: Fetcher) -> None:
    file = replace(plain(server, "digits.gz", gzip.compress(CONTENT, 9)), inside=md5(CONTENT))
    again = gzip.compress(CONTENT, 1)
    assert md5(again) != file.sum
    (tmp_path / "roses").mkdir()
    (tmp_path / "roses" / "digits.gz").write_bytes(again)
    assert download(a_set(file), tmp_path, fetcher) == []
    assert server.asked == []
    (tmp_path / "roses" / "digits.gz").write_bytes(again[:-9])
    assert download(a_set(file), tmp_path, fetcher) == []
    assert server.asked == ["digits.gz"]
    assert tree(tmp_path) == {"roses/digits.gz": server.files["digits.gz"]}


def test_a_server_that_says_tgz_is_a_compressed_tar(tmp_path: Path, server: Server, fetcher: Fetcher) -> None:
    """As some do: unpacked on the way, the file would have another sum."""
    file = packed(server)
    server.headers[file.name] = {"Content-Encoding": "x-gzip"}
    assert download(a_set(file), tmp_path, fetcher) == []
    assert (tmp_path / "roses" / "downloads" / file.name).read_bytes() == PHOTOS


def test_a_list_that_is_compressed_on_the_way(tmp_path: Path, server: Server, fetcher: Fetcher) -> None:
    file = plain(server)
    server.files[file.name] = gzip.compress(CONTENT)
    server.headers[file.name] = {"Content-Encoding": "gzip"}
    assert download(a_set(file), tmp_path, fetcher) == []
    assert tree(tmp_path) == {"roses/list.txt": CONTENT}


# what goes wrong on the way


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
    (tmp_path / "roses" / ".photos.tgz.4711" / "jpg").mkdir(parents=True)
    (tmp_path / "roses" / "downloads" / ".photos.tgz.4711").write_bytes(PHOTOS[:50])
    assert download(a_set(packed(server)), tmp_path, fetcher) == []
    assert sorted(path.name for path in (tmp_path / "roses").rglob(".*")) == []


# sums that nobody publishes


def test_an_unknown_sum_is_recorded_and_holds(tmp_path: Path, server: Server, fetcher: Fetcher) -> None:
    file = plain(server, known=False)
    assert download(a_set(file), tmp_path, fetcher) == []
    recorded = json.loads((tmp_path / "checksums.json").read_text())
    assert recorded == {"roses/list.txt": f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"}
    (tmp_path / "roses" / file.name).unlink()
    server.files[file.name] = b"it changed"
    (line,) = download(a_set(file), tmp_path, fetcher)
    assert f"delete roses/list.txt in {tmp_path}/checksums.json" in line
    (tmp_path / "checksums.json").unlink()
    assert download(a_set(file), tmp_path, fetcher) == []
    assert (tmp_path / "roses" / file.name).read_bytes() == b"it changed"


def test_a_page_is_no_file(tmp_path: Path, server: Server, fetcher: Fetcher) -> None:
    """What a network's login page sends, with status 200."""
    file = plain(server, content=b"\n<!DOCTYPE html><html>log in", known=False)
    (line,) = download(a_set(file), tmp_path, fetcher)
    assert "sent a web page or nothing instead of the file" in line
    assert tree(tmp_path) == {}


def test_a_short_archive_of_unknown_sum_is_removed(tmp_path: Path, server: Server, fetcher: Fetcher) -> None:
    file = packed(server, known=False)
    server.silent.add(file.name)
    server.breaks[file.name] = 1
    (line,) = download(a_set(file), tmp_path, fetcher)
    assert "photos.tgz is not a whole archive" in line
    assert "it was removed: run this again" in line
    assert tree(tmp_path) == {}
    assert download(a_set(file), tmp_path, fetcher) == []
    assert "roses/photos.tgz" in json.loads((tmp_path / "checksums.json").read_text())


@pytest.mark.parametrize("text", ["{", "[1]", '{"roses/list.txt": 1}'])
def test_a_broken_record_is_named(tmp_path: Path, server: Server, fetcher: Fetcher, text: str) -> None:
    (tmp_path / "checksums.json").write_text(text)
    (line,) = download(a_set(plain(server, known=False)), tmp_path, fetcher)
    assert f"{tmp_path}/checksums.json" in line
    assert "delete it, or mend it" in line
    assert (tmp_path / "checksums.json").read_text() == text


# archives that reach outside


@pytest.mark.parametrize(
    ("member", "kind"),
    [
        (("/etc/evil", b"evil"), "a path outside the folder, '/etc/evil'"),
        (("../evil", b"evil"), "a path outside the folder, '../evil'"),
        (("jpg/../../../evil", b"evil"), "a path outside the folder"),
        (("..\\evil", b"evil"), "a path outside the folder"),
        (("jpg/special", special(tarfile.SYMTYPE, "/etc/passwd")), "a link, 'jpg/special'"),
        (("jpg/special", special(tarfile.SYMTYPE, "a.jpg")), "a link"),
        (("jpg/special", special(tarfile.LNKTYPE, "jpg/a.jpg")), "a link"),
        (("jpg/special", special(tarfile.CHRTYPE)), "a device"),
        (("jpg/special", special(tarfile.FIFOTYPE)), "a device"),
    ],
)
def test_an_archive_that_reaches_outside_is_refused(
    tmp_path: Path,
    server: Server,
    fetcher: Fetcher,
    member: tuple[str, bytes | tarfile.TarInfo],
    kind: str,
) -> None:
    file = packed(server, tar(("jpg/a.jpg", b"one"), member))
    (line,) = download(a_set(file), tmp_path / "root", fetcher)
    assert kind in line
    assert "nothing was unpacked" in line
    assert tree(tmp_path) == {}


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"no archive at all", "is not a whole archive"),
        (PHOTOS[:60], "is not a whole archive"),
        (tar(("png/a.png", b"one")), "holds no jpg: it is another archive than expected"),
    ],
    ids=["none", "half", "another"],
)
def test_an_archive_that_is_none(
    tmp_path: Path, server: Server, fetcher: Fetcher, content: bytes, why: str
) -> None:
    """Put there by hand: it is named, not deleted."""
    file = packed(server, content)
    there = tmp_path / "roses" / "downloads" / file.name
    there.parent.mkdir(parents=True)
    there.write_bytes(content)
    (line,) = download(a_set(file), tmp_path, fetcher)
    assert f"{there} {why}" in line
    assert "delete it and run this again" in line
    assert tree(tmp_path) == {f"roses/downloads/{file.name}": content}


# the bar, the catalogue


@pytest.mark.parametrize("terminal", [True, False])
def test_the_bar_shows_on_a_terminal_only(tmp_path: Path, server: Server, terminal: bool) -> None:
    file, shown = plain(server), io.StringIO()
    console = Console(file=shown, force_terminal=terminal, width=100)
    assert download(a_set(file), tmp_path, Fetcher(console, wait=0)) == []
    assert ("1.0/1.0 MB" in shown.getvalue()) == terminal
    assert f"fetching {server.url(file.name)}" in shown.getvalue()


def test_the_catalogue_can_be_fetched() -> None:
    """Sums are well formed, places are inside the set's folder, unions are of sets."""
    digits = {"md5": 32, "sha256": 64}
    for name, data in SETS.items():
        assert data.name == name
        assert bool(data.files) != bool(data.parts)
        assert set(data.parts) <= SETS.keys()
        for file in data.files:
            assert file.urls
            assert all(url.startswith(("http://", "https://")) for url in file.urls)
            for found in filter(None, (file.sum, file.inside)):
                algorithm, _, value = found.partition(":")
                assert len(bytes.fromhex(value)) * 2 == digits[algorithm]
            assert all(".." not in place and not place.startswith("/") for place in file.unpacked.values())
