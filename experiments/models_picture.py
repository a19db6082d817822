"""README's picture of the shipped models, on photos that are evenly spread over a folder, not picked.

    python experiments/models_picture.py OUT.webp faces=DIR flowers=DIR butterflies=DIR birds=DIR
        [--count 3 3 3 3]

A column a photo: the photo; what GrabCut cuts out from a centred box of 80 % of it; the network alone,
enlarged; what `redoseg segment --type rgba` writes. Photos are cut to their centre square; faces are blurred
after their mask was found.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from refining import from_box

from redoseg import Segmenter
from redoseg.figures.tiles import blur_box

FACE = (0.25, 0.2, 0.75, 0.8)
SIDE, GAP, BETWEEN = 96, 3, 8
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


def spread(folder: Path, count: int) -> list[Path]:
    """`count` of the folder's photos, in order of their names."""
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES)
    return [files[int(index * len(files) / count)] for index in range(count)]


def centre_square(file: Path) -> Image.Image:
    photo = Image.open(file).convert("RGB")
    side = min(photo.size)
    left, top = (photo.width - side) // 2, (photo.height - side) // 2
    return photo.crop((left, top, left + side, top + side))


def grabcut(photo: Image.Image) -> NDArray[np.bool_]:
    """The rival: OpenCV's GrabCut, two iterations, at a short side of 256 pixels."""
    small = np.asarray(photo.resize((256, 256), Image.Resampling.LANCZOS))
    found = from_box(small, np.zeros((2, 256, 256), np.float32)).masks[1]
    return np.asarray(Image.fromarray(found).resize(photo.size, Image.Resampling.BILINEAR)) > 0.5


def column(photo: Image.Image, segmenters: list[Segmenter], blurred: bool) -> list[Image.Image]:
    """The photo, and what each way leaves of it on white."""
    objects = [grabcut(photo), *(segment(photo)[1] > 0.5 for segment in segmenters)]
    pixels = blur_box(np.asarray(photo), FACE) if blurred else np.asarray(photo)
    pictures = [pixels, *(np.where(inside[..., None], pixels, 255).astype(np.uint8) for inside in objects)]
    return [Image.fromarray(one).resize((SIDE, SIDE), Image.Resampling.LANCZOS) for one in pictures]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("sets", nargs="+", metavar="MODEL=DIR")
    parser.add_argument("--count", type=int, nargs="+", default=[3, 3, 3, 3])
    options = parser.parse_args()
    columns, left = [], 0
    for text, count in zip(options.sets, options.count, strict=True):
        model, folder = text.split("=", 1)
        segmenters = [Segmenter.from_pretrained(model, refine=refine) for refine in ("off", "auto")]
        for file in spread(Path(folder), count):
            columns.append((left, column(centre_square(file), segmenters, model == "faces")))
            left += SIDE + GAP
        left += BETWEEN
    sheet = Image.new("RGB", (left - BETWEEN - GAP, 4 * (SIDE + GAP) - GAP), "white")
    for left, pictures in columns:
        for row, picture in enumerate(pictures):
            sheet.paste(picture, (left, row * (SIDE + GAP)))
    sheet.save(options.out, quality=72, method=6)


if __name__ == "__main__":
    main()
