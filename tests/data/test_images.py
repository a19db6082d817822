"""Whatever people have on their disks decodes to what a viewer would show, or to one line of error."""

import io
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from redoseg.data.images import (
    decode_image,
    decode_label,
    decoding,
    fit_image,
    fit_label,
)
from redoseg.data.loading import Budget
from redoseg.errors import DataError
from refusals import refusal

GREEN = (0, 200, 0)


def encoded(image: Image.Image, kind: str, **options: object) -> io.BytesIO:
    file = io.BytesIO()
    image.save(file, kind, **options)
    file.seek(0)
    return file


def noise(height: int = 40, width: int = 60) -> Image.Image:
    smooth = np.random.default_rng(0).integers(0, 255, (height // 10, width // 10, 3), np.uint8)
    return Image.fromarray(smooth).resize((width, height))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF"])
def test_every_format_decodes_to_rgb(kind: str) -> None:
    image = decode_image(encoded(noise(), kind))
    assert image.mode == "RGB"
    assert image.size == (60, 40)
    assert np.abs(np.asarray(image, float) - np.asarray(noise(), float)).mean() < 10


def test_decodes_a_path(tmp_path: Path) -> None:
    noise().save(tmp_path / "a.png")
    assert np.array_equal(np.asarray(decode_image(tmp_path / "a.png")), np.asarray(noise()))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr", "I;16", "I", "F", "RGBX"])
def test_every_mode_shows_the_same_grey(mode: str) -> None:
    kind = "PNG" if mode in ("1", "L", "LA", "P", "RGBA", "I;16") else "TIFF"
    if mode in ("I;16", "I", "F"):
        top = {"I;16": 65535, "I": 65535, "F": 1.0}[mode]
        dtype = {"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]
        image = Image.fromarray(np.array([[0, top]], dtype))
    else:
        image = Image.fromarray(np.array([[0, 255]], np.uint8)).convert(mode)
    shown = np.asarray(decode_image(encoded(image, kind)))
    assert shown.tolist() == [[[0, 0, 0], [255, 255, 255]]]


def test_sixteen_bits_are_scaled_not_cut() -> None:
    image = Image.fromarray(np.array([[0, 257, 128 * 257, 65535]], np.uint16))
    assert np.asarray(decode_image(encoded(image, "PNG")))[0, :, 0].tolist() == [0, 1, 128, 255]


def test_floats_may_be_out_of_range_or_not_a_number() -> None:
    image = Image.fromarray(np.array([[-1, np.nan, 5000, 10000]], np.float32))
    assert np.asarray(decode_image(encoded(image, "TIFF")))[0, :, 0].tolist() == [0, 0, 19, 39]
    image = Image.fromarray(np.array([[0, 100000]], np.float32))
    assert np.asarray(decode_image(encoded(image, "TIFF")))[0, :, 0].tolist() == [0, 255]


def test_what_is_transparent_shows_white() -> None:
    clear = Image.new("RGBA", (2, 1), (*GREEN, 0))
    clear.putpixel((1, 0), (*GREEN, 255))
    for kind in ("PNG", "WEBP"):
        shown = np.asarray(decode_image(encoded(clear, kind, lossless=True)))
        assert shown.tolist() == [[[255, 255, 255], [*GREEN]]]


def test_a_palette_with_a_transparent_colour_shows_white_there() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 200, 0])
    image.putpixel((1, 0), 1)
    for kind, transparency in (("PNG", 0), ("GIF", 0), ("PNG", b"\x00\xff")):
        shown = np.asarray(decode_image(encoded(image, kind, transparency=transparency)))
        assert shown.tolist() == [[[255, 255, 255], [*GREEN]]]


def test_cmyk_jpeg_keeps_its_colours() -> None:
    image = Image.new("RGB", (16, 16), (200, 40, 40)).convert("CMYK")
    assert np.allclose(np.asarray(decode_image(encoded(image, "JPEG"))), (200, 40, 40), atol=6)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_are_upright(kind: str, orientation: int) -> None:
    upright = Image.new("RGB", (48, 32), "black")
    upright.paste("white", (0, 0, 24, 16))  # the upper left is white
    turned = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    stored = upright if turned is None else upright.transpose(turned)
    exif = Image.Exif()
    exif[0x0112] = orientation
    shown = decode_image(encoded(stored, kind, exif=exif))
    assert shown.size == (48, 32)
    assert np.abs(np.asarray(shown, float) - np.asarray(upright, float)).mean() < 5


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_a_damaged_note_about_orientation_costs_no_photo() -> None:
    file = encoded(noise(), "JPEG", exif=b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\xff\x01\x12")
    assert decode_image(file).size == (60, 40)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_of_several_frames_the_first_counts(kind: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in (GREEN, "red")]
    file = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
    assert np.allclose(np.asarray(decode_image(file)), GREEN, atol=4)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF"])
def test_a_file_cut_short_is_one_line(kind: str) -> None:
    whole = encoded(noise(100, 100), kind).getvalue()
    for keep in (0.1, 0.5, 0.9):
        with refusal(DataError) as caught:
            decode_image(io.BytesIO(whole[: int(keep * len(whole))]))
        assert str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"\x00", b"<html>404</html>", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0"),
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n",  # Pillow would start a program
    ],
)
def test_what_is_no_image_is_one_line(content: bytes) -> None:
    with refusal(DataError):
        decode_image(io.BytesIO(content))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF"])
def test_random_damage_raises_nothing_but_data_errors(kind: str) -> None:
    whole = bytearray(encoded(noise(), kind).getvalue())
    rng = np.random.default_rng(1)
    for _ in range(150):
        damaged = bytearray(whole)
        for at in rng.integers(0, min(len(whole), 200), 3):
            damaged[at] = rng.integers(256)
        with suppress(DataError):
            assert decode_image(io.BytesIO(damaged)).mode == "RGB"


def test_a_decompression_bomb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(DataError, match="more than 2000 pixels: make it smaller first"):
        decode_image(encoded(noise(100, 100), "PNG"))


def test_at_least_makes_big_jpegs_smaller_but_no_other_picture() -> None:
    photo = noise(800, 1200)
    file = encoded(photo, "JPEG", quality=95)
    with decoding(file, at_least=100) as small:
        assert small.size == (150, 100)
    file.seek(0)
    with decoding(file, at_least=128) as image:
        quick, exact = fit_image(image, 32), fit_image(photo, 32)
    assert np.abs(quick.astype(float) - exact).mean() < 2


def test_threads_wait_for_memory_but_not_for_ever() -> None:
    budget, busy, most = Budget(10), [0], [0]

    def work(part: int) -> None:
        for _ in range(20):
            with budget.take(part):
                busy[0] += part
                most[0] = max(most[0], busy[0])
                time.sleep(0.0005)
                busy[0] -= part

    threads = [threading.Thread(target=work, args=[part]) for part in (1, 4, 6, 9, 99)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
        assert not thread.is_alive()
    assert most[0] == 99


# Fitting


def test_an_image_of_the_right_size_comes_back_bit_for_bit() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    assert np.array_equal(fit_image(Image.fromarray(pixels), 32), pixels)
    assert np.array_equal(fit_label(pixels[..., 0], 32), pixels[..., 0])


@pytest.mark.parametrize("shape", [(32, 51), (47, 32)])
def test_a_short_side_of_the_right_size_is_only_cropped(shape: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    top, left = (shape[0] - 32) // 2, (shape[1] - 32) // 2
    crop = pixels[top : top + 32, left : left + 32]
    assert np.array_equal(fit_image(Image.fromarray(pixels), 32), crop)
    assert np.array_equal(fit_label(pixels[..., 0], 32), crop[..., 0])


@pytest.mark.parametrize("shape", [(100, 150), (150, 100), (97, 203), (10, 13), (1, 500), (64, 64)])
def test_photo_and_mask_are_fitted_alike(shape: tuple[int, int]) -> None:
    y, x = np.mgrid[: shape[0], : shape[1]]
    inside = (y - shape[0] / 2) ** 2 + (x - shape[1] / 2) ** 2 < (min(shape) / 4) ** 2
    label = np.where(inside, 7, 2).astype(np.uint8)
    photo = Image.fromarray(np.where(inside, 255, 0).astype(np.uint8)).convert("RGB")
    fitted, labels = fit_image(photo, 64), fit_label(label, 64)
    assert fitted.shape == (64, 64, 3)
    assert fitted.dtype == labels.dtype == np.uint8
    assert set(np.unique(labels)) <= {2, 7}
    assert ((fitted[..., 0] > 127) != (labels == 7)).mean() < 0.01 + 1 / min(shape)


def test_shrinking_has_no_aliasing() -> None:
    stripes = np.tile(np.array([0, 255], np.uint8), (128, 64))
    fitted = fit_image(Image.fromarray(stripes).convert("RGB"), 16)
    assert np.abs(fitted[:, 2:-2].astype(int) - 127).max() < 12


# Labels


def test_labels_are_grey_values_or_palette_indices() -> None:
    values = np.array([[0, 1, 2, 255]], np.uint8)
    palette = Image.fromarray(values)
    palette.putpalette([255, 0, 0] * 256)
    sixteen = Image.fromarray(values.astype(np.uint16))
    rgb = Image.fromarray(np.repeat(values[..., None], 3, axis=2))
    rgba = rgb.copy()
    rgba.putalpha(9)
    for image in (
        Image.fromarray(values),
        palette,
        sixteen,
        rgb,
        rgba,
        Image.fromarray(values).convert("LA"),
    ):
        label = decode_label(encoded(image, "PNG"))
        assert label.dtype == np.uint8
        assert label.tolist() == values.tolist()


def test_one_bit_masks_are_0_and_255() -> None:
    assert decode_label(encoded(Image.fromarray(np.array([[True, False]])), "PNG")).tolist() == [[255, 0]]


def test_coloured_masks_and_labels_beyond_255_are_refused() -> None:
    with pytest.raises(DataError, match="colours"):
        decode_label(encoded(noise(), "PNG"))
    with pytest.raises(DataError, match="300"):
        decode_label(encoded(Image.fromarray(np.array([[0, 300]], np.uint16)), "PNG"))
