"""The segmenter: any photo in, masks of the photo's own size out, the same ones that f gives."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from redoseg.data.images import fit_image
from redoseg.data.labels import region_map
from redoseg.errors import ConfigError, DataError, ModelError
from redoseg.models.backends.torch import TorchBackend
from redoseg.networks.mask import MaskNetwork
from redoseg.segmentation.segmenter import Segmenter
from redoseg.tensors import to_tensor
from refusals import refusal

S = 32
Backend = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def network(n: int = 2) -> MaskNetwork:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return MaskNetwork(n=n, width=4, blocks=1, size=S).eval()


def segmenter(n: int = 2) -> Segmenter:
    return Segmenter(TorchBackend(network(n)), n=n, size=S)


def photo(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def recording(seen: list[NDArray[np.float32]], n: int = 2) -> Backend:
    """A backend that keeps what it is given; region 1 is where the picture is bright."""

    def backend(images: NDArray[np.float32]) -> NDArray[np.float32]:
        seen.append(images)
        bright = (images.mean(1) + 1) / 2
        return np.stack([1 - bright, *([bright / (n - 1)] * (n - 1))], 1).astype(np.float32)

    return backend


@pytest.mark.parametrize("n", [2, 3])
def test_a_photo_of_the_models_size_gets_the_networks_own_masks(n: int) -> None:
    f, picture = network(n), photo(S, S)
    f.order.copy_(torch.arange(n).flip(0))
    masks = Segmenter(TorchBackend(f), n=n, size=S)(picture)
    with torch.no_grad():
        expected = f(to_tensor(picture[None]))[0].flip(0).numpy()
    np.testing.assert_allclose(masks, expected, atol=1e-6)
    assert masks.dtype == np.float32


@pytest.mark.parametrize("n", [2, 3])
@pytest.mark.parametrize("shape", [(32, 32), (250, 250), (20, 41), (1, 1), (1, 90), (300, 7), (47, 46)])
def test_masks_have_the_photos_size_and_sum_to_one(n: int, shape: tuple[int, int]) -> None:
    masks = segmenter(n)(photo(*shape))
    assert masks.shape == (n, *shape)
    assert masks.dtype == np.float32
    assert masks.min() >= 0
    np.testing.assert_allclose(masks.sum(0), 1, atol=1e-5)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((32, 32), (32, 32)),
        ((250, 250), (32, 32)),
        ((500, 250), (64, 32)),
        ((250, 375), (32, 48)),
        ((33, 32), (32, 32)),
        ((90, 80), (36, 32)),
        ((1, 1000), (32, 128)),
        ((1000, 1), (128, 32)),
        ((1, 1), (32, 32)),
    ],
)
def test_the_network_sees_the_whole_photo_at_its_own_scale(
    size: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert segmenter().network_size(*size) == expected
    seen: list[NDArray[np.float32]] = []
    Segmenter(recording(seen), n=2, size=S)(Image.new("RGB", size))
    assert seen[0].shape == (1, 3, *reversed(expected))


def test_a_square_photo_is_resized_as_for_training() -> None:
    seen: list[NDArray[np.float32]] = []
    picture = Image.fromarray(photo(100, 100))
    Segmenter(recording(seen), n=2, size=S)(picture)
    np.testing.assert_array_equal(seen[0], to_tensor(fit_image(picture, S)[None]).numpy())


def test_masks_lie_where_the_objects_are() -> None:
    picture = np.zeros((90, 200, 3), np.uint8)
    picture[20:60, 120:180] = 255
    masks = Segmenter(recording([]), n=2, size=S)(picture)
    agree = region_map(masks) == (picture[..., 0] > 0)
    assert agree.mean() > 0.97


def test_a_list_gives_a_list_in_its_order_in_bounded_batches() -> None:
    seen: list[NDArray[np.float32]] = []
    seg = Segmenter(recording(seen), n=2, size=S)
    pictures = [photo(S, S if i % 2 else 2 * S, seed=i) for i in range(140)]
    many = seg(pictures)
    assert sorted(len(batch) for batch in seen) == [6, 6, 64, 64]
    for picture, masks in list(zip(pictures, many, strict=True))[::23]:
        np.testing.assert_allclose(masks, seg(picture), atol=1e-6)
    assert seg([]) == []
    assert isinstance(seg((pictures[0],)), list)


def test_large_networks_sizes_get_small_batches() -> None:
    seen: list[NDArray[np.float32]] = []
    Segmenter(recording(seen), n=2, size=256)([Image.new("RGB", (1024, 256))] * 2)
    assert [len(batch) for batch in seen] == [1, 1]


def test_images_arrays_and_files_are_the_same_photo(tmp_path: Path) -> None:
    seg, picture = segmenter(), photo(40, 50)
    path = tmp_path / "a.png"
    Image.fromarray(picture).save(path)
    expected = seg(picture)
    for one in (Image.fromarray(picture), path, str(path), np.asfortranarray(picture)):
        np.testing.assert_array_equal(seg(one), expected)


def test_files_are_turned_as_a_viewer_does_it(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    Image.fromarray(photo(40, 60)).save(path, exif=exif)
    assert segmenter()(path).shape == (2, 60, 40)


@pytest.mark.parametrize("mode", ["L", "1", "P", "LA", "RGBA", "CMYK", "I;16", "F"])
def test_any_mode_of_image_works(mode: str) -> None:
    grey = Image.fromarray(photo(40, 40)).convert("L")
    image = Image.new(mode, (40, 40)) if mode == "I;16" else grey.convert(mode)
    assert segmenter()(image).shape == (2, 40, 40)


@pytest.mark.parametrize(
    ("wrong", "cure"),
    [
        (np.zeros((32, 32), np.uint8), r"np\.stack"),
        (np.zeros((32, 32, 3), np.float32), "uint8"),
        (np.zeros((32, 32, 3), np.int64), "uint8"),
        (np.zeros((32, 32, 4), np.uint8), r"photo\[\.\.\., :3\]"),
        (np.zeros((3, 32, 32), np.uint8), "transpose"),
        (np.zeros((2, 32, 32, 3), np.uint8), "a list"),
        (np.zeros((32, 32, 5), np.uint8), "last axis"),
        (np.zeros(5, np.uint8), "last axis"),
        (np.zeros((0, 32, 3), np.uint8), "empty"),
        (Image.new("RGB", (0, 5)), "empty"),
        (torch.zeros(3, 32, 32), "Tensor is no photo"),
        (None, "NoneType is no photo"),
        ([[photo(32, 32)]], "list is no photo"),
        ("no-such-file.jpg", "there is no no-such-file.jpg"),
    ],
)
def test_what_is_no_photo_is_refused_with_the_cure(wrong: object, cure: str) -> None:
    with refusal(DataError, match=cure):
        segmenter()(wrong)  # type: ignore[call-overload]


def test_files_that_are_no_photos_are_named(tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"not a photo")
    with pytest.raises(DataError, match=r"broken\.jpg can't be read: "):
        segmenter()(broken)
    with pytest.raises(DataError, match="is a folder"):
        segmenter()(tmp_path)


def test_a_backend_of_another_shape_is_found_out() -> None:
    with pytest.raises(ModelError, match="3 regions"):
        Segmenter(recording([], n=2), n=3, size=S)(photo(S, S))


def test_sizes_that_no_network_has_are_refused() -> None:
    for n, size in ((1, 32), (2, 30), (2, 28)):
        with pytest.raises(ValueError, match="multiple of 4"):
            Segmenter(recording([]), n=n, size=size)


def test_from_pretrained_reads_what_save_pretrained_wrote(tmp_path: Path) -> None:
    f = network(3)
    f.order.copy_(torch.tensor([1, 2, 0]))
    f.save_pretrained(tmp_path / "model")
    seg = Segmenter.from_pretrained(tmp_path / "model", device="cpu", refine="off")
    assert (seg.n, seg.size) == (3, S)
    picture = photo(60, 40)
    np.testing.assert_array_equal(
        seg(picture), Segmenter(TorchBackend(f), n=3, size=S, squares=True)(picture)
    )


def test_a_device_that_is_not_there(tmp_path: Path) -> None:
    network().save_pretrained(tmp_path / "model")
    with pytest.raises(ConfigError, match="--device nonsense"):
        Segmenter.from_pretrained(tmp_path / "model", device="nonsense")
