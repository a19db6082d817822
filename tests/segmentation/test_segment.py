"""Folders of photos to folders of masks: names, refusals, failures, and the way back as masks/."""

import dataclasses
import errno
import io
import json
import os
import re
import tarfile
import threading
import time
import weakref
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps

from dead_process import of_a_dead_process
from redoseg.config.segment import SegmentConfig
from redoseg.data.dataset import open_dataset
from redoseg.data.labels import region_map
from redoseg.errors import ConfigError, DataError
from redoseg.files import aside_of
from redoseg.models.backends.torch import TorchBackend
from redoseg.networks.mask import MaskNetwork
from redoseg.segmentation.plan import _mask_file
from redoseg.segmentation.segment import segment_files
from redoseg.segmentation.segmenter import Masks, NetworkInput, Segmenter
from refusals import refusal

S = 32


def bright(images: NDArray[np.float32]) -> NDArray[np.float32]:
    mask = ((images.mean(1) + 1) / 2).astype(np.float32)
    return np.stack([1 - mask, mask], 1)


BRIGHT = Segmenter(bright, n=2, size=S)


def draw_photo(seed: int, height: int = S, width: int = S) -> Image.Image:
    """A bright disc on dark noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    disc = (y - height * rng.uniform(0.3, 0.7)) ** 2 + (x - width * rng.uniform(0.3, 0.7)) ** 2 < (
        height / 4
    ) ** 2
    grey = np.where(disc, 220, 40) + rng.integers(-20, 20, (height, width))
    return Image.fromarray(np.repeat(grey[..., None], 3, 2).astype(np.uint8))


def save(path: Path, seed: int = 0, height: int = S, width: int = S) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    draw_photo(seed, height, width).save(path)
    return path


def save_all(folder: Path, seeds: Iterable[int]) -> Path:
    """A photo of each seed, named by it."""
    for seed in seeds:
        save(folder / f"{seed:03}.png", seed)
    return folder


def encoded(seed: int = 0) -> bytes:
    buffer = io.BytesIO()
    draw_photo(seed).save(buffer, "PNG")
    return buffer.getvalue()


def files_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def tar_of(path: Path, members: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def test_a_folder_keeps_its_tree_and_photos_their_size(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    save(photos / "a.png", 1, 40, 70)
    save(photos / "b" / "c.jpg", 2)
    save(photos / "b" / "d" / "e.JPG", 3, 90, 30)
    heard: list[tuple[int, int]] = []
    report = segment_files(
        BRIGHT, [photos], tmp_path / "out" / "masks", progress=lambda *done: heard.append(done)
    )
    out = tmp_path / "out" / "masks"
    assert files_in(out) == ["a.png", "b/c.png", "b/d/e.png"]
    assert (report.written, report.failed) == (3, [])
    assert heard == [(1, 3), (2, 3), (3, 3)]
    with Image.open(out / "a.png") as mask, Image.open(photos / "a.png") as photo:
        assert (mask.size, mask.mode) == ((70, 40), "L")
        np.testing.assert_array_equal(np.asarray(mask), region_map(BRIGHT(photo)) * 255)
        assert set(np.unique(np.asarray(mask)).tolist()) == {0, 255}


def test_several_regions_are_written_as_labels(tmp_path: Path) -> None:
    def thirds(images: NDArray[np.float32]) -> NDArray[np.float32]:
        masks = np.zeros((len(images), 3, *images.shape[2:]), np.float32)
        for k, part in enumerate(np.array_split(np.arange(images.shape[3]), 3)):
            masks[:, k, :, part] = 1
        return masks

    save(tmp_path / "a.png")
    segment_files(Segmenter(thirds, n=3, size=S), [tmp_path / "a.png"], tmp_path / "out")
    with Image.open(tmp_path / "out" / "a.png") as mask:
        assert mask.mode == "L"
        assert np.asarray(mask)[0, [0, 16, 31]].tolist() == [0, 1, 2]


@pytest.mark.parametrize("n", [2, 3])
def test_masks_put_beside_the_images_are_the_networks_own(tmp_path: Path, n: int) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        f = MaskNetwork(n=n, width=4, blocks=1, size=S).eval()
    for seed in range(6):
        save(tmp_path / "set" / "images" / "sub" / f"{seed}.png", seed)
    save(tmp_path / "set" / "images" / "0.png", 9)
    segment_files(
        Segmenter(TorchBackend(f), n=n, size=S), [tmp_path / "set" / "images"], tmp_path / "set" / "masks"
    )
    split = open_dataset([str(tmp_path / "set")], size=S, n=n, cache=tmp_path / "cache").split("train")
    indices = split.labelled
    assert len(indices) == len(split) == 7
    images = np.ascontiguousarray(split.images(indices))
    own = Segmenter(TorchBackend(f), n=n, size=S)(list(images))
    labels = np.stack([region_map(masks) for masks in own])
    np.testing.assert_array_equal(split.labels(indices), labels)
    assert len(np.unique(labels)) > 1, "a test that could fail"


def test_stems_that_are_the_same_keep_their_suffix(tmp_path: Path) -> None:
    for name in ("a.jpg", "a.png", "b.jpg"):
        save(tmp_path / "photos" / name)
    segment_files(BRIGHT, [tmp_path / "photos"], tmp_path / "out")
    assert files_in(tmp_path / "out") == ["a.jpg.png", "a.png.png", "b.png"]


def test_names_of_several_inputs_never_meet(tmp_path: Path) -> None:
    one = save(tmp_path / "one" / "a.jpg").parent
    save(one / "b.jpg")
    save(one / "c.png")
    two = save(tmp_path / "two" / "a.jpg").parent
    save(two / "b.png")
    again = save(tmp_path / "again" / "one" / "a.jpg").parent
    single = save(tmp_path / "lone" / "c.jpg")
    archive = tar_of(tmp_path / "three.tar", {"a.jpg": encoded(), "d.jpg": encoded()})
    report = segment_files(BRIGHT, [one, two, again, single, archive], tmp_path / "out")
    assert report.written == 9
    assert files_in(tmp_path / "out") == [
        *("b.jpg.png", "b.png.png", "c.jpg.png", "c.png.png", "d.png"),
        *("one-1/a.jpg.png", "one-3/a.jpg.png", "three/a.png", "two/a.png"),
    ]


def test_a_photo_named_twice_counts_once(tmp_path: Path) -> None:
    photos = save(tmp_path / "photos" / "a.jpg").parent
    save(photos / "b" / "c.jpg")
    inputs: list[str | Path] = [photos, f"{photos}/", photos / "a.jpg", photos / "b"]
    assert segment_files(BRIGHT, inputs, tmp_path / "out").written == 2
    assert files_in(tmp_path / "out") == ["a.png", "b/c.png"]


def test_a_photo_that_fails_is_named_and_the_rest_is_done(tmp_path: Path) -> None:
    photos = save(tmp_path / "photos" / "a.jpg").parent
    save(photos / "c.jpg")
    (photos / "b.jpg").write_bytes((photos / "a.jpg").read_bytes()[:100])
    report = segment_files(BRIGHT, [photos], tmp_path / "out")
    assert files_in(tmp_path / "out") == ["a.png", "c.png"]
    assert report.written == 2
    ((name, reason),) = report.failed
    assert name == str(photos / "b.jpg")
    assert reason
    assert "\n" not in name + reason


def test_a_mask_that_cannot_be_written_fails_alone(tmp_path: Path) -> None:
    photos = save(tmp_path / "photos" / "a.png").parent
    save(photos / "b.png")
    (tmp_path / "out" / "b.png").mkdir(parents=True)
    report = segment_files(BRIGHT, [photos], tmp_path / "out")
    assert report.written == 1
    assert report.failed[0][1].startswith("its mask can't be written: ")
    assert files_in(tmp_path / "out") == ["a.png"], "nothing half-written is left"


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "zip"])
def test_archives(tmp_path: Path, kind: str) -> None:
    members = {f"set/images/{seed}.png": encoded(seed) for seed in range(3)} | {"set/images/x.png": b"broken"}
    path = tmp_path / f"photos.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in members.items():
                archive.writestr(name, content)
    else:
        tar_of(path, members, "w:gz" if kind == "tar.gz" else "w")
    report = segment_files(BRIGHT, [path], tmp_path / "out")
    assert files_in(tmp_path / "out") == ["0.png", "1.png", "2.png"]
    assert [name for name, _ in report.failed] == [f"{path}/set/images/x.png"]
    with Image.open(tmp_path / "out" / "1.png") as mask:
        np.testing.assert_array_equal(np.asarray(mask), region_map(BRIGHT(draw_photo(1))) * 255)


def test_a_compressed_archive_that_is_damaged_gives_what_it_can(tmp_path: Path) -> None:
    noise = np.random.default_rng(0)
    members = {}
    for k in range(6):
        buffer = io.BytesIO()
        Image.fromarray(noise.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(buffer, "PNG")
        members[f"{k}.png"] = buffer.getvalue()
    whole = tar_of(tmp_path / "photos.tar.gz", members, "w:gz").read_bytes()
    spoiled = bytearray(whole)
    spoiled[-8:-4] = b"\0\0\0\0"  # the checksum of all: only found out at the end
    (tmp_path / "photos.tar.gz").write_bytes(spoiled)
    try:
        report = segment_files(BRIGHT, [tmp_path / "photos.tar.gz"], tmp_path / "out")
    except DataError:
        return  # the listing goes to the end and may refuse it as a whole
    assert report.written + len(report.failed) == 6


def test_names_in_archives_cannot_lead_outside(tmp_path: Path) -> None:
    hostile = [
        "../out1.png",
        "/tmp/../out2.png",
        "a/../../out3.png",
        "/out4.png",
        "..\\out5.png",
        "./../out6.png",
    ]
    members = dict.fromkeys([*hostile, "good.png", "a/good.png"], encoded())
    path = tmp_path / "deep" / "photos.tar"
    path.parent.mkdir()
    tar_of(path, members)
    with tarfile.open(path, "a") as tar:
        link = tarfile.TarInfo("b")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path)
        tar.addfile(link)
    out = tmp_path / "deep" / "deeper" / "out"
    segment_files(BRIGHT, [path], out)
    outside = [name for name in files_in(tmp_path) if not name.startswith("deep/deeper/out/")]
    assert outside == ["deep/photos.tar"]
    assert {"good.png", "a/good.png"} <= set(files_in(out))
    assert not Path("/out4.png").exists()


@pytest.mark.parametrize("name", ["../a", "/etc/a", "a/../../b"])
def test_a_name_that_got_through_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="leads out of"):
        _mask_file(tmp_path, name)


@pytest.mark.parametrize("place", ["masked", "a/masks", "masks/../new"])
def test_masks_among_the_photos_are_refused(tmp_path: Path, place: str) -> None:
    photos = save(tmp_path / "photos" / "a.png").parent
    save(photos / "b" / "c.png")
    before = files_in(tmp_path)
    with pytest.raises(DataError, match="masks would be taken for photos"):
        segment_files(BRIGHT, [photos], photos / place)
    assert files_in(tmp_path) == before


@pytest.mark.parametrize(
    ("photo", "place", "fine"),
    [
        ("a.png", "masks", True),
        ("top/a.png", "masks", True),
        ("top/a.png", "top/masks", True),
        ("top/a.png", "new", False),
        ("images/a.png", "masks", True),
        ("images/a.png", "new", False),
        ("images/a.png", "images/masks", False),
        ("top/images/a.png", "top/new", False),
        ("top/images/a.png", "new", False),
        ("myimages/images/a.png", "myimages/new", False),
        ("myimages/a.png", "myimages/new", False),
        ("a.png", ".masks", True),
    ],
)
def test_what_is_refused_is_what_the_next_listing_would_hold(
    tmp_path: Path, photo: str, place: str, fine: bool
) -> None:
    folder = tmp_path / "set"
    save(folder / photo)
    if fine:
        for _ in range(2):  # a second time nothing is found but the same photo
            assert segment_files(BRIGHT, [folder], folder / place).written == 1
        assert len(files_in(folder)) == 2
    else:
        with pytest.raises(DataError, match="masks would be taken for photos"):
            segment_files(BRIGHT, [folder], folder / place)


def test_a_photo_is_never_replaced_by_its_mask(tmp_path: Path) -> None:
    photo = save(tmp_path / "a.png")
    before = photo.read_bytes()
    with pytest.raises(DataError, match="would replace a photo"):
        segment_files(BRIGHT, [photo], tmp_path)
    assert photo.read_bytes() == before
    jpeg = save(tmp_path / "b.jpg")
    assert segment_files(BRIGHT, [jpeg], tmp_path).written == 1


def test_inputs_that_give_nothing_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "a.jpg").write_bytes(b"broken")
    (broken / "b.jpg").write_bytes(b"broken")
    good = save(tmp_path / "good.png")
    report = segment_files(BRIGHT, [tmp_path / "nowhere", tmp_path / "empty", broken, good], tmp_path / "out")
    assert report.written == 1
    reasons = [f"{Path(name).name}: {reason}" for name, reason in report.failed]
    expected = [
        "nowhere: there is no .*nowhere: give an image",
        "empty: .*no images",
        r"a\.jpg: .+",
        r"b\.jpg: .+",
    ]
    assert len(reasons) == len(expected)
    for reason, pattern in zip(reasons, expected, strict=True):
        assert re.match(pattern, reason)
        assert "\n" not in reason
    nothing = segment_files(BRIGHT, [tmp_path / "nowhere"], tmp_path / "out2")
    assert (nothing.written, len(nothing.failed)) == (0, 1)


def test_a_file_in_the_way_of_out_is_one_line(tmp_path: Path) -> None:
    save(tmp_path / "photos" / "a.jpg")
    (tmp_path / "out").write_text("")
    with refusal(DataError, match=r"--out .* can't be made"):
        segment_files(BRIGHT, [tmp_path / "photos"], tmp_path / "out")


def test_an_image_as_out_is_one_line_and_no_folder(tmp_path: Path) -> None:
    photo = save(tmp_path / "photos" / "a.jpg")
    with refusal(DataError, match=r"mask\.png is a folder's name, .* leave out \.png$"):
        segment_files(BRIGHT, [photo], tmp_path / "mask.png")
    assert not (tmp_path / "mask.png").exists()


def test_many_photos_go_through_in_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(7):
        save(tmp_path / "photos" / f"{seed}.png", seed, S, S if seed % 2 else 2 * S)
    (tmp_path / "photos" / "3.png").write_bytes(b"broken")
    monkeypatch.setattr("redoseg.segmentation.segment._CHUNK", 3)
    report = segment_files(BRIGHT, [tmp_path / "photos"], tmp_path / "out")
    assert (report.written, len(report.failed)) == (6, 1)
    for seed in (0, 1, 2, 4, 5, 6):
        with Image.open(tmp_path / "out" / f"{seed}.png") as mask:
            own = region_map(BRIGHT(tmp_path / "photos" / f"{seed}.png")) * 255
            np.testing.assert_array_equal(np.asarray(mask), own)


# Reading, the network and writing at the same time


def test_photos_are_read_and_written_while_the_network_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With chunks of one: the first call waits for the second photo, the third for the first mask."""
    photos = save_all(tmp_path / "photos", range(4))
    monkeypatch.setattr("redoseg.segmentation.segment._CHUNK", 1)
    read_two, written = threading.Event(), threading.Event()
    calls: list[int] = []

    class Watching(Segmenter):
        reads = 0

        def read(self, file: BinaryIO | Path) -> NetworkInput:
            fitted = super().read(file)
            self.reads += 1
            if self.reads == 2:
                read_two.set()
            return fitted

        def regions(
            self, masks: Masks, size: tuple[int, int], photo: Image.Image | None = None
        ) -> NDArray[np.uint8]:
            written.set()
            return super().regions(masks, size, photo)

    def waiting(images: NDArray[np.float32]) -> NDArray[np.float32]:
        calls.append(len(images))
        if len(calls) == 1:
            assert read_two.wait(20)
        if len(calls) == 3:
            assert written.wait(20)
        return bright(images)

    report = segment_files(Watching(waiting, n=2, size=S), [photos], tmp_path / "out")
    assert (report.written, report.failed) == (4, [])
    assert calls == [1, 1, 1, 1]


def test_few_photos_are_in_memory_however_many_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = save_all(tmp_path / "photos", range(60))
    monkeypatch.setattr("redoseg.segmentation.segment._CHUNK", 4)
    gone: list[int] = []
    alive: list[int] = []

    class Counting(Segmenter):
        def read(self, file: BinaryIO | Path) -> NetworkInput:
            fitted = super().read(file)
            weakref.finalize(fitted, gone.append, 1)
            alive.append(len(alive) + 1 - len(gone))
            return fitted

    report = segment_files(Counting(bright, n=2, size=S), [photos], tmp_path / "out")
    assert report.written == 60
    assert max(alive) <= 20


def test_failures_come_in_the_order_of_the_photos(tmp_path: Path) -> None:
    photos = save_all(tmp_path / "photos", range(40))
    broken = [photos / f"{seed:03}.png" for seed in range(0, 40, 3)]
    for path in broken:
        path.write_bytes(b"broken")
    report = segment_files(BRIGHT, [photos], tmp_path / "out")
    assert [name for name, _ in report.failed] == [str(path) for path in broken]


def test_ctrl_c_stops_at_once_and_leaves_no_part_of_a_file(tmp_path: Path) -> None:
    photos = save_all(tmp_path / "photos", range(200))

    def slow(images: NDArray[np.float32]) -> NDArray[np.float32]:
        time.sleep(0.02 * len(images))
        return bright(images)

    def interrupt(done: int, total: int) -> None:
        if done == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        segment_files(Segmenter(slow, n=2, size=S), [photos], tmp_path / "out", progress=interrupt)
    names = files_in(tmp_path / "out")
    assert 20 <= len(names) < 120
    assert not [name for name in names if name.startswith(".")]
    for name in names:
        with Image.open(tmp_path / "out" / name) as mask:
            mask.load()


def test_what_a_killed_writer_left_goes_and_nothing_else(tmp_path: Path) -> None:
    save(tmp_path / "photos" / "in" / "a.png")
    save(tmp_path / "photos" / "out" / "c.png")
    folder = tmp_path / "masks" / "in"
    folder.mkdir(parents=True)
    dead, other = (of_a_dead_process(folder / name) for name in ("a.png", "b.png"))
    living = aside_of(folder / "a.png")
    living = living.with_name(living.name.replace(str(os.getpid()), str(os.getppid())))
    elsewhere = folder / ".a.png.00000000-1"  # on another machine, which writes it now
    kept = [other, living, elsewhere, folder / ".a.png.notes", folder / "a.png.123"]
    for file in (dead, *kept):
        file.write_bytes(b"part of a mask")
    segment_files(BRIGHT, [tmp_path / "photos"], tmp_path / "masks")
    assert {*folder.iterdir()} == {*kept, folder / "a.png"}
    os.utime(elsewhere, (1, 1))
    segment_files(BRIGHT, [tmp_path / "photos"], tmp_path / "masks")
    assert {*folder.iterdir()} == {*kept, folder / "a.png"} - {elsewhere}


def test_a_network_that_fails_is_no_photos_fault(tmp_path: Path) -> None:
    photos = save_all(tmp_path / "photos", range(40))

    def broken(images: NDArray[np.float32]) -> NDArray[np.float32]:
        raise MemoryError

    with pytest.raises(MemoryError):
        segment_files(Segmenter(broken, n=2, size=S), [photos], tmp_path / "out")


def test_a_full_disk_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = save_all(tmp_path / "photos", range(40))

    def full(path: Path, write: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("redoseg.segmentation.segment.write_aside", full)
    with refusal(DataError, match=r"masks can't be written to .*out: No space left on device"):
        segment_files(BRIGHT, [photos], tmp_path / "out")


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_large_jpeg_is_decoded_small_and_its_mask_has_its_size(tmp_path: Path, orientation: int) -> None:
    seen: list[tuple[int, int]] = []

    class Watching(Segmenter):
        def fit(self, image: Image.Image, size: tuple[int, int] | None = None) -> NetworkInput:
            seen.append(image.size)
            return super().fit(image, size)

    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "photos" / "a.jpg"
    path.parent.mkdir()
    draw_photo(0, 1201, 1001).save(path, quality=95, exif=exif)
    segment_files(Watching(bright, n=2, size=S), [path], tmp_path / "out")
    own = (1001, 1201) if orientation == 1 else (1201, 1001)
    assert 4 * S <= min(seen[0]) < 8 * S
    with Image.open(path) as photo, Image.open(tmp_path / "out" / "a.png") as mask:
        assert mask.size == own
        whole = region_map(BRIGHT(ImageOps.exif_transpose(photo))) * 255
        assert (np.asarray(mask) != whole).mean() < 0.005


# Cut-outs


def test_a_cut_out_is_the_photo_where_its_object_is(tmp_path: Path) -> None:
    photos = save_all(tmp_path / "photos", range(3))
    report = segment_files(BRIGHT, [photos], tmp_path / "masks", cutouts=tmp_path / "cutouts")
    assert report.written == 3
    assert files_in(tmp_path / "cutouts") == files_in(tmp_path / "masks")
    for name in files_in(tmp_path / "masks"):
        with Image.open(tmp_path / "cutouts" / name) as found, Image.open(photos / name) as photo:
            pixels, expected = np.asarray(found), np.asarray(photo.convert("RGB"))
        objects = np.asarray(Image.open(tmp_path / "masks" / name)) > 0
        assert np.array_equal(pixels[..., 3], 255 * objects)
        assert np.array_equal(pixels[..., :3], expected * objects[..., None])


@pytest.mark.parametrize("cutouts", ["photos", "masks"])
def test_a_cut_out_never_replaces_a_photo_or_a_mask(tmp_path: Path, cutouts: str) -> None:
    photo = save_all(tmp_path / "photos", range(1)) / "000.png"
    before = photo.read_bytes()
    with refusal(DataError, match="would replace a photo or a mask"):
        segment_files(BRIGHT, [photo], tmp_path / "masks", cutouts=tmp_path / cutouts)
    assert photo.read_bytes() == before
    assert not (tmp_path / "masks").exists()


# What is there already


def test_again_the_same_masks_replace_themselves(tmp_path: Path) -> None:
    photos = save(tmp_path / "photos" / "a.png").parent
    for _ in range(2):
        assert segment_files(BRIGHT, [photos], tmp_path / "out", cutouts=tmp_path / "cut").written == 1


@pytest.mark.parametrize("folder", ["out", "cut"])
def test_a_photo_that_is_there_is_never_replaced(tmp_path: Path, folder: str) -> None:
    photos = save(tmp_path / "photos" / "a.jpg").parent
    other = save(tmp_path / folder / "a.png")
    before = other.read_bytes()
    for overwrite in (False, True):
        with refusal(DataError, match=r"a\.png is there and was not written by redoseg"):
            segment_files(BRIGHT, [photos], tmp_path / "out", cutouts=tmp_path / "cut", overwrite=overwrite)
    assert other.read_bytes() == before
    assert files_in(tmp_path) == [f"{folder}/a.png", "photos/a.jpg"]


def test_a_photo_behind_a_link_is_never_replaced(tmp_path: Path) -> None:
    photo = save(tmp_path / "real" / "rose.png")
    before = photo.read_bytes()
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "rose.png").symlink_to(photo)
    with refusal(DataError, match="rose.png is there"):
        segment_files(BRIGHT, [tmp_path / "links"], tmp_path / "real")
    assert photo.read_bytes() == before


def test_a_mask_corrected_by_hand_is_replaced_on_demand_only(tmp_path: Path) -> None:
    photos = save(tmp_path / "photos" / "a.png").parent
    segment_files(BRIGHT, [photos], tmp_path / "out")
    mask = tmp_path / "out" / "a.png"
    made = np.asarray(Image.open(mask))
    Image.fromarray(255 - made).save(mask)
    with refusal(DataError, match="have been changed since|has been changed since"):
        segment_files(BRIGHT, [photos], tmp_path / "out")
    assert np.array_equal(np.asarray(Image.open(mask)), 255 - made)
    segment_files(BRIGHT, [photos], tmp_path / "out", overwrite=True)
    assert np.array_equal(np.asarray(Image.open(mask)), made)


def test_of_what_is_too_doubtful_nothing_is_written_and_nothing_stays(tmp_path: Path) -> None:
    """Of a doubt that is as large as asked for, the mask is written."""
    photos, out = save(tmp_path / "photos" / "a.png").parent, tmp_path / "out"
    disc = np.asarray(draw_photo(0)) > 128
    for name, object_is, ground in (("a", 255, 0), ("b", 235, 10), ("c", 235, 10)):
        Image.fromarray(np.where(disc, object_is, ground).astype(np.uint8)).save(photos / f"{name}.png")
    everything = SegmentConfig(type=("mask", "rgba"), annotations=("labelme", "coco"))
    doubts: dict[str, float] = {}
    segment_files(
        BRIGHT, [photos], out, config=everything, each=lambda mask: doubts.update({mask.photo: mask.doubt})
    )
    sure, doubtful = sorted({*doubts.values()})
    assert len(files_in(out)) == 3 * 3 + 2
    heard: list[tuple[int, int]] = []
    asked = dataclasses.replace(everything, max_doubt=sure)
    report = segment_files(BRIGHT, [photos], out, config=asked, progress=lambda *done: heard.append(done))
    assert (report.written, report.doubtful, report.failed) == (1, 2, [])
    assert heard[-1] == (3, 3)
    assert files_in(out) == [".redoseg-written", "coco.json", "labelme/a.json", "mask/a.png", "rgba/a.png"]
    listed = json.loads((out / "coco.json").read_text())["images"]
    assert [photo["file_name"] for photo in listed] == ["a.png"]
    again = dataclasses.replace(everything, max_doubt=doubtful)
    assert segment_files(BRIGHT, [photos], out, config=again).written == 3
    (photos / "a.png").unlink()
    table = tmp_path / "table.csv"
    table.write_text("photo,of before\n")
    asked = dataclasses.replace(asked, measurements=table)
    assert segment_files(BRIGHT, [photos], out, config=asked).doubtful == 2
    assert files_in(out) == [".redoseg-written", "coco.json", "labelme/a.json", "mask/a.png", "rgba/a.png"]
    assert json.loads((out / "coco.json").read_text())["images"] == []
    assert table.read_text().splitlines()[1:] == []


def test_what_somebody_else_made_stays_however_doubtful(tmp_path: Path) -> None:
    """--overwrite lets a mask be replaced, not removed."""
    photos = save(tmp_path / "photos" / "a.png").parent
    for name in ("b", "c"):
        save(photos / f"{name}.png")
    out = tmp_path / "out"
    segment_files(BRIGHT, [photos], out)
    with Image.open(out / "a.png") as made:
        made.point(lambda grey: 255 - grey).save(out / "a.png")
    (out / "b.png").unlink()
    (out / "b.png").mkdir()
    before = (out / "a.png").read_bytes()
    report = segment_files(BRIGHT, [photos], out, overwrite=True, config=SegmentConfig(max_doubt=0.0))
    assert (report.written, report.doubtful) == (0, 1)
    assert [(name.rpartition("/")[2], "stays" in why) for name, why in report.failed] == [
        ("a.png", True), ("b.png", True)
    ]  # fmt: skip
    assert (out / "a.png").read_bytes() == before
    assert files_in(out) == ["a.png"]


def test_a_doubt_read_in_a_table_can_be_given(tmp_path: Path) -> None:
    photo, doubts = save(tmp_path / "a.png"), []
    pixels = np.where(np.asarray(draw_photo(0)) > 128, 233, 11).astype(np.uint8)
    Image.fromarray(pixels).save(photo)
    segment_files(BRIGHT, [photo], tmp_path / "out", each=lambda mask: doubts.append(mask.as_dict()["doubt"]))
    assert 0 < doubts[0] < 1
    asked = SegmentConfig(max_doubt=doubts[0])
    assert segment_files(BRIGHT, [photo], tmp_path / "out", config=asked).written == 1


@pytest.mark.parametrize("doubt", [-0.1, 1.1])
def test_a_doubt_is_from_0_to_1(doubt: float) -> None:
    with refusal(ConfigError, match="--max-doubt is .*: it must be from 0 to 1"):
        SegmentConfig(max_doubt=doubt)


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(save(tmp_path / "photos" / "a.png").parent)
    report = segment_files(BRIGHT, ["~/photos"], "~/out", cutouts=Path("~/cut"))
    assert (report.written, report.failed) == (1, [])
    assert files_in(tmp_path) == ["cut/a.png", "out/a.png", "photos/a.png"]
    assert BRIGHT("~/photos/a.png").shape[0] == BRIGHT.n


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    photos = save(tmp_path / "photos" / "a.png").parent
    (photos / "notes.txt").write_text("none")
    (photos / "raw.cr2").write_bytes(b"II*\0")
    assert segment_files(BRIGHT, [photos], tmp_path / "out").left_out == 2


def test_names_that_are_one_on_some_systems_get_two_masks(tmp_path: Path) -> None:
    for name in ("A.jpg", "a.jpeg"):
        save(tmp_path / "photos" / name)
    segment_files(BRIGHT, [tmp_path / "photos"], tmp_path / "out")
    assert files_in(tmp_path / "out") == ["A.jpg.png", "a.jpeg.png"]


def test_a_very_long_name(tmp_path: Path) -> None:
    save(tmp_path / "photos" / f"{'a' * 246}.png")
    assert segment_files(BRIGHT, [tmp_path / "photos"], tmp_path / "out").written == 1
    assert len(files_in(tmp_path / "out")) == 1
