"""What a mask file means is said by its own values, however it was drawn and saved."""

import io
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from data_made import picture, write_folder
from redoseg.data.dataset import open_dataset
from redoseg.data.mask_files import Kind, is_mask, read_mask, to_labels
from redoseg.errors import DataError
from refusals import refusal

Saved = Callable[[NDArray[np.bool_]], Image.Image]


def disc() -> NDArray[np.bool_]:
    y, x = np.mgrid[:64, :96]
    inside: NDArray[np.bool_] = (x - 40) ** 2 + (y - 30) ** 2 < 20**2
    return inside


def grey(inside: NDArray[np.bool_]) -> Image.Image:
    return Image.fromarray(inside.astype(np.uint8) * 255)


def paletted(inside: NDArray[np.bool_], *colours: int) -> Image.Image:
    image = Image.frombytes("P", inside.shape[::-1], inside.astype(np.uint8).tobytes())
    image.putpalette(colours)
    return image


def with_alpha(colour: Image.Image, alpha: Image.Image) -> Image.Image:
    image = colour.copy()
    image.putalpha(alpha)
    return image


def stray(inside: NDArray[np.bool_]) -> Image.Image:
    image = grey(inside)
    for place, value in (((0, 0), 128), ((5, 5), 3), ((90, 60), 200)):
        image.putpixel(place, value)
    return image


def lossy(inside: NDArray[np.bool_]) -> Image.Image:
    file = io.BytesIO()
    grey(inside).save(file, "JPEG", quality=60)
    return Image.open(file).convert("L")


def shaded(soft: Image.Image) -> Image.Image:
    """In a palette of greys that runs from white to black."""
    image = Image.frombytes("P", soft.size, (255 - np.asarray(soft)).astype(np.uint8).tobytes())
    image.putpalette([grey for grey in range(255, -1, -1) for _ in range(3)])
    return image


WAYS: dict[str, Saved] = {
    "grey": grey,
    "one bit": lambda inside: grey(inside).convert("1"),
    "0 and 1": lambda inside: Image.fromarray(inside.astype(np.uint8)),
    "0 and 254": lambda inside: Image.fromarray(inside.astype(np.uint8) * 254),
    "a number of a class": lambda inside: Image.fromarray(inside.astype(np.uint8) * 15),
    "soft": lambda inside: grey(inside).filter(ImageFilter.GaussianBlur(1.5)),
    "antialiased": lambda inside: (
        grey(inside).resize((384, 256), 0).filter(ImageFilter.BoxBlur(2)).resize((96, 64), 4)
    ),
    "stray pixels": stray,
    "JPEG once": lossy,
    "RGB": lambda inside: grey(inside).convert("RGB"),
    "opaque": lambda inside: grey(inside).convert("RGBA"),
    "alpha, white": lambda inside: with_alpha(Image.new("RGB", (96, 64), "white"), grey(inside)),
    "alpha, black": lambda inside: with_alpha(Image.new("L", (96, 64)), grey(inside)),
    "alpha, premultiplied": lambda inside: with_alpha(grey(inside).convert("RGB"), grey(inside)),
    "alpha, a cut-out": lambda inside: with_alpha(
        Image.merge("RGB", [Image.effect_noise((96, 64), 9 * k) for k in (4, 5, 6)]), grey(inside)
    ),
    "palette, black first": lambda inside: paletted(inside, 0, 0, 0, 255, 255, 255),
    "palette, white first": lambda inside: paletted(~inside, 255, 255, 255, 0, 0, 0),
    "palette of classes": lambda inside: paletted(inside, 0, 0, 0, 128, 0, 0),
    "palette of classes, white the background": lambda inside: paletted(inside, 255, 255, 255, 0, 0, 200),
    "grey palette, quantised": lambda inside: WAYS["antialiased"](inside).convert("RGB").quantize(16),
    "a palette of shades, white first": lambda inside: shaded(WAYS["antialiased"](inside)),
    "16 bits": lambda inside: Image.fromarray(inside.astype(np.uint16) * 65535),
    "16 bits, 0 and 1": lambda inside: Image.fromarray(inside.astype(np.uint16)),
    "floats": lambda inside: Image.fromarray(inside.astype(np.float32)),
}


SOFT = ("soft", "antialiased", "JPEG once", "grey palette, quantised", "a palette of shades, white first")


@pytest.mark.parametrize("way", WAYS)
def test_the_same_object_however_it_is_saved(way: str, tmp_path: Path) -> None:
    WAYS[way](disc()).save(tmp_path / "mask.tif" if way == "floats" else tmp_path / "mask.png")
    (file,) = tmp_path.iterdir()
    labels, _ = read_mask(file)
    assert labels.dtype == np.uint8
    wrong = ((labels > 0) & (labels != 255)) != disc()
    assert wrong.sum() <= (40 if way in SOFT else 3)


@pytest.mark.parametrize("way", ["soft", "alpha, white", "palette, white first", "stray pixels"])
def test_one_of_another_kind_changes_no_other(way: str, tmp_path: Path) -> None:
    """Seven masks are saved plainly and one is not: all eight say what they say alone."""
    (tmp_path / "set" / "masks").mkdir(parents=True)
    for index in range(8):
        Image.new("RGB", (96, 64), (20 * index, 90, 50)).save(tmp_path / "set" / f"{index}.jpg")
        WAYS[way if index == 5 else "grey"](disc()).save(tmp_path / "set" / "masks" / f"{index}.png")
    train = open_dataset([tmp_path / "set"], size=64, cache=tmp_path / "cache").split("train")
    labels = train.labels(np.arange(8))
    assert set(np.unique(labels)) <= {0, 1, 255}
    assert ((labels == 1) != disc()[:, 16:80]).mean() < 0.005
    whole = train.whole(5)[1]
    assert ((whole == 1) != disc()).mean() < 0.01


def test_areas_of_128_in_a_mask_of_black_and_white_are_unlabelled() -> None:
    values = np.zeros((32, 32), np.uint8)
    values[8:24, 8:24] = 128
    values[12:20, 12:20] = 255
    labels, kind = to_labels(values)
    assert kind == Kind.TRIMAP
    assert (labels[0, 0], labels[9, 9], labels[15, 15]) == (0, 255, 1)


def test_many_classes_are_numbers() -> None:
    values = np.repeat(np.repeat(np.arange(64, dtype=np.uint8).reshape(8, 8) * 2, 8, 0), 8, 1)
    values[:3] = 255
    labels, kind = to_labels(values)
    assert kind == Kind.NUMBERS
    assert (labels == values).all()


def test_a_small_object_in_much_that_is_unlabelled() -> None:
    values = np.zeros((100, 100), np.uint8)
    values[20:80] = 255
    values[:14, :14] = 15
    labels, kind = to_labels(values)
    assert kind == Kind.NUMBERS
    assert (labels == values).all()


def test_labels_in_16_bits_may_leave_65535_unlabelled(tmp_path: Path) -> None:
    values = np.zeros((40, 40), np.uint16)
    values[:10], values[10:20], values[20:25] = 1, 2, 65535
    Image.fromarray(values).save(tmp_path / "mask.png")
    assert (read_mask(tmp_path / "mask.png")[0] == np.minimum(values, 255)).all()
    values[0] = 300
    Image.fromarray(values).save(tmp_path / "mask.png")
    with refusal(DataError, match="labels must be whole numbers from 0 to 255"):
        read_mask(tmp_path / "mask.png")


def test_a_mask_of_damaged_pixels_is_refused(tmp_path: Path) -> None:
    grey(disc()).save(tmp_path / "mask.png")
    content = bytearray((tmp_path / "mask.png").read_bytes())
    refused = 0
    for place in range(41, len(content) - 20):  # within its one chunk of pixels
        damaged = content.copy()
        damaged[place] ^= 4
        try:
            read_mask(io.BytesIO(damaged))
        except DataError:
            refused += 1
    assert refused == len(content) - 61


def test_two_masks_in_one_file_are_refused(tmp_path: Path) -> None:
    with_alpha(grey(disc()).convert("RGB"), grey(disc()[::-1])).save(tmp_path / "mask.png")
    with refusal(DataError, match="its greys are one mask and its transparency is another"):
        read_mask(tmp_path / "mask.png")


def test_a_photo_is_no_mask(tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(picture())
    Image.effect_noise((64, 64), 60).save(tmp_path / "grey.png")
    grey(disc()).save(tmp_path / "mask.png")
    with_alpha(Image.merge("RGB", [Image.effect_noise((96, 64), 9)] * 3), grey(disc())).save(
        tmp_path / "cut-out.png"
    )
    Image.effect_noise((64, 64), 60).convert("RGB").quantize(24).save(tmp_path / "drawing.png")
    found = {path.stem: is_mask(path) for path in tmp_path.iterdir()}
    assert found == {"photo": False, "grey": False, "cut-out": False, "drawing": False, "mask": True}


# What is said


def said_of(masks: dict[str, Image.Image], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> list[str]:
    (tmp_path / "set" / "masks").mkdir(parents=True)
    for name, mask in masks.items():
        Image.new("RGB", mask.size, "green").save(tmp_path / "set" / f"{name}.jpg")
        mask.save(tmp_path / "set" / "masks" / f"{name}.png")
    with caplog.at_level(logging.INFO, "redoseg.data"):
        open_dataset([tmp_path / "set"], size=32, cache=tmp_path / "cache")
    return [record.getMessage().removeprefix(f"{tmp_path / 'set'}: ") for record in caplog.records]


def test_what_was_read_is_said_in_a_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    masks = {"a": grey(disc()), "b": WAYS["soft"](disc())}
    (line,) = said_of(masks, tmp_path, caplog)
    assert line == (
        "2 masks: 1 black and white, 1 with greys in between (the object from 128 on); labels 0, 1; "
        "20 % of their pixels are objects"
    )


def test_a_mixture_is_doubtful(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    masks = {name: grey(disc()) for name in "abc"} | {"d": WAYS["a number of a class"](disc())}
    lines = said_of(masks, tmp_path, caplog)
    assert lines[1] == (
        "1 masks of 4 are read as labels by number, the others not; if that is wrong, save all alike: d"
    )


def test_masks_without_an_object_are_doubtful(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lines = said_of({name: Image.new("L", (64, 64)) for name in "ab"}, tmp_path, caplog)
    assert lines[1] == "2 masks of 2 hold no object: are these the right files? a, b"


# Turned photos


def turned_set(tmp_path: Path, orientations: dict[str, tuple[int, tuple[int, int]]]) -> Path:
    """Photos with these EXIF orientations and (width, height); masks drawn on the pixels as they lie."""
    (tmp_path / "set" / "masks").mkdir(parents=True)
    for name, (orientation, (width, height)) in orientations.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        pixels = np.zeros((height, width), np.uint8)
        pixels[: height // 2, : width // 2] = 255  # the upper left, as it lies
        Image.fromarray(pixels).convert("RGB").save(tmp_path / "set" / f"{name}.jpg", exif=exif, quality=95)
        Image.fromarray(pixels).save(tmp_path / "set" / "masks" / f"{name}.png")
    return tmp_path / "set"


@pytest.mark.parametrize("orientation", range(2, 9))
def test_masks_of_unturned_photos_are_turned_with_them(orientation: int, tmp_path: Path) -> None:
    """As another mask of the set shows, whose shape fits only so."""
    folder = turned_set(tmp_path, {"a": (orientation, (64, 64)), "b": (6, (96, 64))})
    train = open_dataset([folder], size=32, cache=tmp_path / "cache").split("train")
    for index in range(2):
        photo, labels = train.whole(index)
        assert photo.shape[:2] == labels.shape
        assert ((photo[..., 0] > 127) == (labels == 1)).mean() > 0.98
    small = train.images(np.arange(1))[0, ..., 0] > 127
    assert (small == (train.labels(np.arange(1))[0] == 1)).mean() > 0.95


def test_turned_masks_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    open_dataset([turned_set(tmp_path, {"a": (6, (96, 64))})], size=32, cache=tmp_path / "cache")
    assert "1 masks are drawn on photos that aren't turned as their EXIF data say" in caplog.text


def test_what_cant_be_known_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    open_dataset([turned_set(tmp_path, {"a": (3, (96, 64))})], size=32, cache=tmp_path / "cache")
    assert "1 masks fit their photos both as they lie in the file and turned" in caplog.text


def test_a_mask_that_is_turned_by_its_own_note(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    grey(disc()).save(tmp_path / "mask.png", exif=exif)
    labels, _ = read_mask(tmp_path / "mask.png")
    assert (labels == np.rot90(disc(), -1)).all()


def test_jpeg_masks_stay_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = write_folder(tmp_path / "set", {"a.png": picture(), "masks/a.jpg": picture(kind="JPEG")})
    data = open_dataset([folder], size=16, cache=tmp_path / "cache")
    assert len(data.split("train").labelled) == 0
    assert "masks must be PNG, 1 files left out: masks/a.jpg" in caplog.text
