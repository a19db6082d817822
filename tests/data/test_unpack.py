"""Archives that reach outside of their folder are refused, and broken ones named."""

import tarfile
from pathlib import Path

import pytest

from download_made import PHOTOS, Server, a_set, packed, special, tar, tree

pytest.importorskip("pooch", reason="the extra `data` isn't installed")

from redoseg.data.download.download import download
from redoseg.data.download.fetch import Fetcher


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
