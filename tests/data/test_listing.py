"""Every photo that a person sees in a folder or an archive is listed, and what isn't is counted."""

import io
import logging
import os
import stat
import struct
import tarfile
import unicodedata
import zipfile
from pathlib import Path

import pytest

from data_made import mask, picture, write_folder, write_tar
from redoseg.data.folder import FolderListing, scan
from redoseg.data.naming import find_path
from redoseg.errors import DataError
from refusals import refusal

JPEG, PNG = picture(kind="JPEG"), picture()
NAMES = "a.jfif a.jpe a.JPG a.jif a.avif a.jp2 a.tga a.pgm a.ico a IMG.0001 a.dat"
KINDS = "JPEG PNG GIF WEBP TIFF BMP PPM AVIF JPEG2000 QOI"
HEIC = struct.pack(">I", 24) + b"ftypheic" + b"\0\0\0\0" + b"mif1heic" + b"\0" * 64


def names(listing: FolderListing) -> list[str]:
    return [ref.name for ref in listing.images]


# Suffixes


@pytest.mark.parametrize(
    "name",
    NAMES.split(),
)
def test_a_photo_is_a_photo_whatever_its_suffix(tmp_path: Path, name: str) -> None:
    write_folder(tmp_path, {name: JPEG, "b.jpg": JPEG})
    assert len(scan(tmp_path).images) == 2


@pytest.mark.parametrize("kind", KINDS.split())
@pytest.mark.parametrize("packed", ["folder", "tar", "zip"])
def test_without_a_suffix_the_first_bytes_tell(tmp_path: Path, kind: str, packed: str) -> None:
    content = {"photo": picture(kind=kind), "note": b"P1ain text is no picture", "empty": b""}
    if packed == "tar":
        with tarfile.open(tmp_path / "set", "w") as tar:
            for name, data in content.items():
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    elif packed == "zip":
        with zipfile.ZipFile(tmp_path / "set", "w") as archive:
            for name, data in content.items():
                archive.writestr(name, data)
    else:
        write_folder(tmp_path / "set", content)
    listing = scan(tmp_path / "set")
    assert names(listing) == ["photo"]
    assert sorted(listing.left_out["not images"]) == ["empty", "note"]


def test_names_with_dots_stay_apart(tmp_path: Path) -> None:
    write_folder(tmp_path, {"IMG.0001": JPEG, "IMG.0002": JPEG, "IMG.jpg": JPEG})
    assert names(scan(tmp_path)) == ["IMG", "IMG.0001", "IMG.0002"]


def test_what_is_left_out_is_counted_once_by_kind(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    extra = {"notes.txt": b"", "clip.mp4": b"", "raw.NEF": b"", ".hidden.jpg": JPEG, "Thumbs.db": b""}
    write_folder(tmp_path, {"a.jpg": JPEG, "b.jpg": JPEG} | extra)
    listing = scan(tmp_path)
    assert {reason: sorted(paths) for reason, paths in listing.left_out.items()} == {
        "hidden": [".hidden.jpg"],
        "not images": ["clip.mp4", "notes.txt"],
        "camera raw: convert them to JPEG first": ["raw.NEF"],
    }
    (record,) = caplog.records
    assert f"{tmp_path}: 2 photos, 4 left out: " in record.getMessage()


def test_only_other_files_are_no_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_folder(tmp_path, {"a.jpg": JPEG, "readme.txt": b""})
    with caplog.at_level(logging.INFO, "redoseg.data"):
        scan(tmp_path)
    (record,) = caplog.records
    assert (record.levelno, record.getMessage()) == (
        logging.INFO,
        f"{tmp_path}: 1 photos, 1 left out: 1 not images (readme.txt)",
    )


# Photos where others have masks


def test_photos_beside_images_are_segmented_and_not_trained_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_folder(tmp_path, dict.fromkeys(["images/a.jpg", "gallery/a.jpg", "a.jpg"], JPEG))
    assert names(scan(tmp_path, sidecars=False)) == ["a", "gallery/a", "images/a"]
    assert caplog.text == ""
    assert names(scan(tmp_path)) == ["a"]
    assert "2 left out: 2 beside images/ (" in caplog.text


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (["faces/a.jpg", "masks/a.jpg"], ["a", "masks/a"]),  # Venetian ones
        (["a.jpg", "masks/a.png"], ["a"]),
        (["images/a.jpg", "masks/a.png"], ["a"]),
        (["a.jpg", "masks/A.PNG"], ["a"]),
        (["top/images/a.jpg", "top/masks/a.png"], ["a"]),
    ],
)
def test_a_folder_called_masks_may_hold_photos(tmp_path: Path, content: list[str], found: list[str]) -> None:
    write_folder(tmp_path, {name: JPEG if name.endswith("jpg") else mask(0, 255) for name in content})
    assert names(scan(tmp_path, sidecars=False)) == found


# Names that differ to a machine and not to a person

E_COMPOSED, E_APART = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))


@pytest.mark.parametrize(
    ("photo", "other"),
    [
        (f"{E_COMPOSED}.jpg", f"{E_APART}.png"),
        ("Rose.JPG", "rose.png"),
        ("rose.jpeg", "rose.jpg.png"),
        ("Straße.jpg", "STRASSE.png"),
    ],
)
def test_masks_and_splits_match_as_a_person_reads_them(
    tmp_path: Path, photo: str, other: str, caplog: pytest.LogCaptureFixture
) -> None:
    table = f"name,split\n{other.removesuffix('.png')},val\nb,test\n".encode()
    write_folder(tmp_path, {photo: JPEG, "b.jpg": JPEG, f"masks/{other}": mask(0, 255), "splits.csv": table})
    listing = scan(tmp_path)
    name = photo.rpartition(".")[0]
    assert listing.masks.keys() == {name}
    assert listing.splits == {name: "val", "b": "test"}
    assert "1 masks are matched though they are written differently" in caplog.text


def test_what_may_be_either_is_matched_to_neither(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_folder(tmp_path, {"a.jpg": JPEG, "masks/á.png": b"", "b.jpg": JPEG, "masks/B.png": mask(0)})
    write_folder(tmp_path, {"Rose.jpg": JPEG, "rose.jpg": JPEG, "masks/ROSE.png": mask(0, 255)})
    assert scan(tmp_path).masks.keys() == {"b"}
    assert "2 masks have no image of their name: ROSE, á" in caplog.text


def test_a_path_may_write_accents_in_the_other_way(tmp_path: Path) -> None:
    write_folder(tmp_path, {f"{E_APART}/a.jpg": JPEG})
    assert find_path(tmp_path / E_COMPOSED) == tmp_path / E_APART
    assert names(scan(tmp_path / E_COMPOSED)) == ["a"]
    assert find_path(tmp_path / "nothing") == tmp_path / "nothing"


# Archives as the world makes them


def zipped(path: Path, *members: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members:
            archive.writestr(name, data)
    return path


@pytest.mark.parametrize(
    ("written", "given"),
    [
        ("a.jpg", "a"),
        ("./a.jpg", "a"),
        ("x//a.jpg", "a"),
        ("x/./a.jpg", "a"),
        ("x/../a.jpg", "a"),
        ("/x/a.jpg", "a"),
        ("../../a.jpg", "a"),
        ("C:\\photos\\a.jpg", "a"),
        ("x\\y/a.jpg", "y/a"),
        ("..a.jpg", None),
        (".hidden/a.jpg", None),
    ],
)
def test_members_are_where_an_unpacker_puts_them(tmp_path: Path, written: str, given: str | None) -> None:
    listing = scan(zipped(tmp_path / "set.zip", (written, JPEG), ("b/b.jpg", JPEG)), sidecars=False)
    found = {ref.entry.path.rpartition("/")[2]: ref for ref in listing.images}
    assert ("a.jpg" in found) == (given is not None)
    if given is not None:
        assert found["a.jpg"].open().read() == JPEG
    else:
        assert listing.left_out == {"hidden": [written]}


def test_links_to_members_are_these(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "set.tar.gz", "w:gz") as tar:
        for name, data in (("in/a.jpg", JPEG), ("b.png", PNG)):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
        for name, kind, to in (
            ("hard.jpg", tarfile.LNKTYPE, "in/a.jpg"),
            ("in/soft.png", tarfile.SYMTYPE, "../b.png"),
            ("again.png", tarfile.SYMTYPE, "in/soft.png"),
            ("out.png", tarfile.SYMTYPE, "../../etc/passwd"),
            ("round.png", tarfile.SYMTYPE, "round.png"),
        ):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = kind, to
            tar.addfile(link)
    listing = scan(tmp_path / "set.tar.gz")
    assert names(listing) == ["again", "b", "hard", "in/a", "in/soft"]
    assert [ref.open().read() for ref in listing.images] == [PNG, PNG, JPEG, JPEG, PNG]
    assert listing.left_out == {"links to outside of the archive": ["out.png", "round.png"]}


def test_links_in_a_zip_are_followed_within_it(tmp_path: Path) -> None:
    inside, outside = zipfile.ZipInfo("link.jpg"), zipfile.ZipInfo("x/out.jpg")
    for link in (inside, outside):
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
    path = zipped(tmp_path / "set.zip", ("a.jpg", JPEG), (inside, b"a.jpg"), (outside, b"/etc/passwd"))
    listing = scan(path)
    assert names(listing) == ["a", "link"]
    assert listing.images[1].open().read() == JPEG


def test_a_name_in_utf_8_beside_an_old_one_counts(tmp_path: Path) -> None:
    info = zipfile.ZipInfo("caf.jpg")
    text = "café.jpg".encode()
    info.extra = struct.pack("<HHBI", 0x7075, 5 + len(text), 1, 0) + text
    assert names(scan(zipped(tmp_path / "set.zip", (info, JPEG)))) == ["café"]


def test_an_encrypted_member_says_so(tmp_path: Path) -> None:
    path = zipped(tmp_path / "set.zip", ("a.jpg", JPEG))
    content = bytearray(path.read_bytes())
    for signature in (b"PK\x03\x04", b"PK\x01\x02"):
        content[content.index(signature) + (6 if signature[2] == 3 else 8)] |= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="encrypted: unpack the archive"):
        scan(path).images[0].open()


def test_a_list_of_members_is_of_this_archive(tmp_path: Path) -> None:
    """Another archive at the same path, of the same size and time of change."""
    index = tmp_path / "index"
    for name in ("a", "b"):
        zipped(tmp_path / "new.zip", (f"{name}.jpg", JPEG))
        os.utime(tmp_path / "new.zip", (1, 1))
        os.replace(tmp_path / "new.zip", tmp_path / "set.zip")
        assert names(scan(tmp_path / "set.zip", index=index)) == [name]


def test_a_lone_heic_photo_is_taken(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a.heic": HEIC})
    assert names(scan(tmp_path)) == ["a"]


def test_what_holds_no_photo_names_what_it_holds(tmp_path: Path) -> None:
    write_folder(tmp_path, {"notes.txt": b"", "b.nef": b""})
    with refusal(DataError, match="holds no images, 2 left out: "):
        scan(tmp_path)


def test_a_link_to_the_folder_itself_lists_nothing_twice(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a.jpg": JPEG, "b/c/d.jpg": JPEG})
    (tmp_path / "self").symlink_to(tmp_path)
    assert names(scan(tmp_path)) == ["a", "b/c/d"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes")
def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with refusal(DataError, match="is a device, a pipe or the like"):
        scan(tmp_path / "pipe")


@pytest.mark.parametrize("time", ["inf", "nan", "-1e30"])
def test_a_time_of_change_may_be_nonsense(tmp_path: Path, time: str) -> None:
    with tarfile.open(tmp_path / "set.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        member = tarfile.TarInfo("a.jpg")
        member.size, member.pax_headers = len(JPEG), {"mtime": time}
        tar.addfile(member, io.BytesIO(JPEG))
    assert names(scan(tmp_path / "set.tar")) == ["a"]


@pytest.mark.parametrize("folders", [("Images", "Masks"), ("IMAGES", "masks"), ("images", "MASKS")])
def test_folders_may_be_written_in_capitals(tmp_path: Path, folders: tuple[str, str]) -> None:
    images, masks = folders
    write_folder(
        tmp_path, {f"{images}/a.jpg": JPEG, f"{images}/x/b.jpg": JPEG, f"{masks}/a.png": mask(0, 255)}
    )
    for sidecars in (True, False):
        assert names(scan(tmp_path, sidecars=sidecars)) == ["a", "x/b"]
    assert scan(tmp_path).masks.keys() == {"a"}


@pytest.mark.parametrize("packed", ["folder", "tar", "zip"])
def test_hidden_photos_are_counted_wherever_they_lie(
    tmp_path: Path, packed: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "redoseg.data")
    hidden = [".old/a.jpg", ".old/deep/b.jpg", ".one.jpg", "sub/.two.png"]
    others = [".old/notes.txt", ".DS_Store", "._a.jpg", "__MACOSX/._c.jpg", ".Trash/._d.jpg"]
    content = dict.fromkeys(["a.jpg", "sub/b.jpg", *hidden, *others], JPEG)
    if packed == "folder":
        write_folder(tmp_path / "set", content)
    elif packed == "zip":
        zipped(tmp_path / "set", *content.items())
    else:
        write_tar(tmp_path / "set", content)
    listing = scan(tmp_path / "set")
    assert names(listing) == ["a", "sub/b"]
    assert {reason: sorted(paths) for reason, paths in listing.left_out.items()} == {"hidden": hidden}
    (said,) = caplog.messages
    assert "2 photos, 4 left out: 4 hidden (" in said


def test_a_hidden_link_back_up_ends(tmp_path: Path) -> None:
    write_folder(tmp_path / "set", {"a.jpg": JPEG, ".h/b.jpg": JPEG})
    (tmp_path / "set" / ".h" / "up").symlink_to(tmp_path / "set", target_is_directory=True)
    assert scan(tmp_path / "set").left_out == {"hidden": [".h/b.jpg"]}


def test_a_damaged_link_in_a_zip_is_left_out_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    links = [zipfile.ZipInfo(f"{name}.jpg") for name in ("sound", "broken")]
    for link in links:
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
    members: list[tuple[str | zipfile.ZipInfo, bytes]] = [
        ("a.jpg", JPEG),
        (links[0], b"a.jpg"),
        (links[1], b"a.jpg"),
        ("z.jpg", JPEG),
    ]
    path = zipped(tmp_path / "set.zip", *members)
    content = bytearray(path.read_bytes())
    content[links[1].header_offset + 30 + len("broken.jpg")] ^= 1  # the first letter of what it leads to
    path.write_bytes(content)
    listing = scan(path)
    assert names(listing) == ["a", "sound", "z"]
    assert listing.left_out == {"damaged links": ["broken.jpg"]}
    assert "3 photos, 1 left out: 1 damaged links (broken.jpg)" in caplog.text
