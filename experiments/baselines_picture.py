"""The pictures of docs/baselines.md: what methods without a network make of photos, not picked.

    python experiments/baselines_picture.py DATA --size S [--blur L T R B] OUT.webp

A column for each of eight labelled images of `val`, evenly spread: the photo, the truth (grey: unlabelled),
the masks. With `--blur` the box is blurred in photos and in masks that follow light and shade.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from redoseg.baselines.score import METHODS
from redoseg.data.dataset import open_dataset
from redoseg.data.sampler import evenly_spaced
from redoseg.figures.pages import strip
from redoseg.figures.tiles import blur_box

COUNT, SIDE = 8, 96
SMOOTH = ("grabcut",)  # its masks show no face


def tile(picture: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--blur", type=float, nargs=4)
    parser.add_argument("out", type=Path)
    asked = parser.parse_args()
    _, split = open_dataset([asked.data], size=asked.size).split_to_score(None)
    chosen = split.labelled[evenly_spaced(len(split.labelled), COUNT)]
    images, labels = split.images(chosen), split.labels(chosen)
    box = None if asked.blur is None else tuple(asked.blur)

    def masks(regions: np.ndarray, blurred: bool) -> list[np.ndarray]:
        pictures = np.repeat(
            np.select([regions == 1, regions == 255], [255, 150], 0).astype(np.uint8)[..., None], 3, -1
        )
        return [tile(blur_box(one, box) if blurred else one) for one in pictures]

    rows = [[tile(blur_box(image, box)) for image in images], masks(labels, blurred=False)]
    for name, method in METHODS.items():
        found = np.stack([method(image, 0) for image in images])
        rows.append(masks(found, blurred=name not in SMOOTH))
    strip(rows, ["photo", "truth", *METHODS], [""] * COUNT).save(asked.out, quality=45, method=6)


if __name__ == "__main__":
    main()
