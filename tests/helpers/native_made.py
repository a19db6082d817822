"""Small folders in the exact form in which owners distribute their sets, and what was painted into them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.io import savemat
from scipy.ndimage import binary_dilation, binary_erosion

from redoseg.data.dataset import Dataset, open_dataset

Bits = NDArray[np.bool_]
S = 48  # the shorter side of what is made


@dataclass(frozen=True)
class Made:
    """A set in the folder `root`. Keys are names as a listing has them."""

    name: str
    root: Path
    photos: Mapping[str, Path]
    masks: Mapping[str, Path]
    truth: Mapping[str, Bits]
    """Where the object is, (H, W), in each mask."""
    splits: Mapping[str, str]
    slack: int = 0
    """Within so many pixels of an outline a mask may be wrong: JPEG."""

    @property
    def source(self) -> str:
        return f"{self.name}:{self.root}"

    def agrees(self, name: str, found: Bits) -> bool:
        """Whether that is the mask, but for pixels beside the outline where they may differ."""
        truth, size = self.truth[name], 2 * self.slack + 1
        outline = np.zeros_like(truth)
        if self.slack:
            around = np.ones((size, size), bool)
            outline = binary_dilation(truth, around) & ~binary_erosion(truth, around, border_value=1)
        return found.shape == truth.shape and bool((found == truth)[~outline].all())


def shape(index: int, height: int, width: int) -> Bits:
    """An ellipse somewhere in the middle half."""
    random = np.random.default_rng(index)
    y, x = np.mgrid[:height, :width]
    centre, radii = random.uniform(0.4, 0.6, 2), random.uniform(0.2, 0.35, 2)
    inside: Bits = ((y / height - centre[0]) / radii[0]) ** 2 + ((x / width - centre[1]) / radii[1]) ** 2 < 1
    return inside


def save(path: Path, pixels: NDArray[np.uint8], **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)  # type: ignore[arg-type]
    return path


def photo(path: Path, index: int, truth: Bits) -> Path:
    """A JPEG of the object on a plain ground."""
    random = np.random.default_rng(index)
    pixels = np.empty((*truth.shape, 3), np.uint8)
    pixels[:], pixels[truth] = random.integers(0, 100, 3), random.integers(150, 256, 3)
    return save(path, pixels, quality=95)


PETALS = [(250, 230, 30), (220, 30, 60), (255, 255, 255), (110, 40, 190), (15, 10, 12), (240, 140, 200)]


def flowers(root: Path) -> Made:
    numbers = [1, 2, 3, 77, 4001, 8189]
    photos, masks, truth = {}, {}, {}
    for number, petals in zip(numbers, PETALS, strict=True):
        name = f"image_{number:05d}"
        truth[name] = shape(number, 48, 64)
        photos[name] = photo(root / "jpg" / f"{name}.jpg", number, truth[name])
        pixels = np.empty((48, 64, 3), np.uint8)
        pixels[:], pixels[truth[name]] = (0, 0, 255), petals
        masks[name] = save(root / "segmim" / f"segmim_{number:05d}.jpg", pixels)  # Pillow's usual quality: 75
    # whole numbers of two bytes, one row each; more of them than there are photos here
    parts = {"trnid": [77, 500], "valid": [2, 600, 700], "tstid": [8189, 1, 3, 4001, 1234]}
    savemat(root / "setid.mat", {name: np.array([ids], np.uint16) for name, ids in parts.items()})
    splits = ["train", "val", "train", "test", "train", "train"]
    return Made("flowers", root, photos, masks, truth, dict(zip(photos, splits, strict=True)), slack=2)


FACES = ["Ann_Li_0001", "Bo_0001", "Bo_0002", "Cy_van_Dam-Roe_0001", "Di_0001", "Ed_0007", "Ed_0011"]


def lfw(root: Path) -> Made:
    photos, masks, truth = {}, {}, {}
    for index, name in enumerate(FACES):
        face = shape(index, 48, 48)
        photos[name] = photo(root / "lfw_funneled" / name[:-5] / f"{name}.jpg", index, face)
        if name[:2] in ("An", "Di"):
            continue  # most faces have no part labels
        pixels = np.empty((48, 48, 3), np.uint8)
        pixels[:], pixels[face] = (0, 0, 255), (0, 255, 0)
        pixels[:20][face[:20]] = (255, 0, 0)  # hair
        masks[name] = save(root / "parts_lfw_funneled_gt_images" / f"{name}.ppm", pixels)
        truth[name] = face
    (root / "lfw_funneled" / "pairs_01.txt").write_text("the owner's archive has such files, too\n")
    splits = dict(zip(FACES, ["train", "val", "val", "test", "train", "test", "test"], strict=True))
    for split in ("train", "val", "test"):
        names = [name for name in FACES if splits[name] == split] + [f"Not_Here_{len(split):04d}"]
        (root / f"{split}.txt").write_text("".join(f"{name[:-5]} {name}\n" for name in names))
    return Made("lfw", root, photos, masks, truth, splits)


BIRDS = [
    "001.Black_footed_Albatross/Black_Footed_Albatross_0001_796111",
    "001.Black_footed_Albatross/Black_Footed_Albatross_0007_796138",
    "002.Laysan_Albatross/Laysan_Albatross_0002_1027",
    "014.Indigo_Bunting/Indigo_Bunting_0001_12469",
    "200.Common_Yellowthroat/Common_Yellowthroat_0003_190521",
]


def cub(root: Path) -> Made:
    photos, masks, truth = {}, {}, {}
    for index, name in enumerate(BIRDS):
        truth[name] = shape(index, 48, 64) if index % 2 else shape(index, 64, 48)
        photos[name] = photo(root / "images" / f"{name}.jpg", index, truth[name])
        grey = np.where(truth[name], 255, 0).astype(np.uint8)
        grey[0, :4], grey[truth[name]] = (0, 51, 102, 127), 128 + 25 * index  # by how many people agree
        masks[name] = save(root / "segmentations" / f"{name}.png", grey)
    Image.open(photos[BIRDS[2]]).convert("L").save(photos[BIRDS[2]])  # the set has a few grey photos
    numbers = [1, 2, 60, 7, 11788]
    lines = [f"{number} {name}.jpg\n" for number, name in zip(numbers, BIRDS, strict=True)]
    (root / "images.txt").write_text("".join([*lines, "12 001.Black_footed_Albatross/Not_Here.jpg\n"]))
    (root / "train_val_test_split.txt").write_text("1 0\n2 2\n7 1\n12 0\n60 0\n11788 0\n")
    (root / "train_test_split.txt").write_text("1 0\n2 1\n")  # the set's own, which isn't the paper's
    splits = dict(zip(BIRDS, ["train", "test", "train", "val", "train"], strict=True))
    return Made("cub", root, photos, masks, truth, splits)


MAKERS: dict[str, Callable[[Path], Made]] = {"flowers": flowers, "lfw": lfw, "cub": cub}


def opened(made: Made, *, size: int = S, n: int = 2) -> Dataset:
    return open_dataset([made.source], size=size, n=n, cache=made.root.parent / "cache")
