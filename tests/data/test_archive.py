"""The files in archives: damaged ones, tricky names, checksums, the list that is kept."""

import io
import os
import tarfile
import zipfile
from pathlib import Path

import pytest

from data_made import names, picture, write_tar, write_zip
from redoseg.data import listing
from redoseg.data.folder import scan
from redoseg.errors import DataError
from refusals import refusal


def test_what_is_no_archive_is_one_error(tmp_path: Path) -> None:
    for content in (b"", b"hello", b"PK\x03\x04 broken", b"\x1f\x8b\x08 broken", b"BZ", b"x" * 2000):
        (tmp_path / "set.tar").write_bytes(content)
        with refusal(DataError):
            scan(tmp_path / "set.tar")


@pytest.mark.parametrize("name", ["set.tar", "set.tar.gz", "set.zip"])
def test_an_archive_cut_short_is_one_error(tmp_path: Path, name: str) -> None:
    write = write_zip if name.endswith("zip") else write_tar
    content = {f"{i}.png": os.urandom(3000) for i in range(5)}
    whole = write(tmp_path / name, content).read_bytes()
    (tmp_path / name).write_bytes(whole[:9000])
    with refusal(DataError, match="no folder, image or sound"):
        scan(tmp_path / name)


def test_archives_name_nothing_outside_and_follow_no_links(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "set.tar", "w") as tar:
        for name in ("../../evil.png", "/etc/abs.png", "./in/a.png", "in/../../b.png"):
            member = tarfile.TarInfo(name)
            member.size = len(picture())
            tar.addfile(member, io.BytesIO(picture()))
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE):
            link = tarfile.TarInfo("in/link.png")
            link.type, link.linkname = kind, "/etc/passwd"
            tar.addfile(link)
    assert names(scan(tmp_path / "set.tar")) == ["b", "etc/abs", "evil", "in/a"]
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.writestr("../evil.png", picture())
        archive.writestr("sub\\b.png", picture())
        archive.writestr("a.png", picture())
        zipped = zipfile.ZipInfo("link.png")
        zipped.external_attr = 0o120777 << 16
        archive.writestr(zipped, "/etc/passwd")
    assert names(scan(tmp_path / "set.zip")) == ["a", "evil", "sub/b"]


def test_of_equal_names_in_an_archive_the_last_counts(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "set.tar", "w") as tar:
        for data in (b"old", b"newer"):
            member = tarfile.TarInfo("a.png")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    (ref,) = scan(tmp_path / "set.tar").images
    with ref.open() as file:
        assert file.read() == b"newer"


def test_a_plain_tar_may_begin_like_a_compressed_one(tmp_path: Path) -> None:
    assert names(scan(write_tar(tmp_path / "set.tar", {"BZh9/a.png": picture(), "b.png": picture()}))) == [
        "BZh9/a",
        "b",
    ]


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_zip_members_are_checked(tmp_path: Path, method: int) -> None:
    with zipfile.ZipFile(tmp_path / "set.zip", "w", method) as archive:
        archive.writestr("a.png", b"0123456789" * 20)
    whole = bytearray((tmp_path / "set.zip").read_bytes())
    whole[40] ^= 0xFF
    (tmp_path / "set.zip").write_bytes(whole)
    (ref,) = scan(tmp_path / "set.zip").images
    with pytest.raises(DataError, match="damaged"):
        ref.open()


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_zips_may_be_compressed_in_other_ways(tmp_path: Path, method: int) -> None:
    with zipfile.ZipFile(tmp_path / "set.zip", "w", method) as archive:
        archive.writestr("a.png", picture(1))
        archive.writestr("b.png", picture(2))
    first, second = scan(tmp_path / "set.zip").images
    assert first.open().read() == picture(1)
    assert second.open().read() == picture(2)


def test_the_list_of_an_archive_is_kept_and_renewed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = tmp_path / "index"
    path = write_tar(tmp_path / "set.tar.gz", {"a.png": picture(), "splits.csv": b"name,split\na,val\n"})
    first = scan(path, index=index)
    with monkeypatch.context() as patch:
        patch.setattr(tarfile, "open", lambda *_: pytest.fail("read again"))
        assert scan(path, index=index) == first
    write_tar(path, {"b.png": picture(), "c.png": picture(3)})
    os.utime(path, ns=(1, 1))
    assert names(scan(path, index=index)) == ["b", "c"]


def test_members_larger_than_any_photo_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "_LARGEST", 1000)
    path = write_zip(tmp_path / "set.zip", {"a.png": picture(), "bomb.png": bytes(10_000)})
    assert names(scan(path)) == ["a"]
