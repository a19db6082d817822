"""A set is fetched, verified and unpacked; sums that nobody publishes are recorded."""

import gzip
import hashlib
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from download_made import CONTENT, PHOTOS, Server, a_set, md5, packed, plain, tree

pytest.importorskip("pooch", reason="the extra `data` isn't installed")

from redoseg.data.download.catalogue import SETS
from redoseg.data.download.download import download
from redoseg.data.download.fetch import Fetcher

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
