"""README's picture of the shipped models: photos, evenly spread over a folder, not picked, above their masks.

    python experiments/models_picture.py OUT.png faces=DIR flowers=DIR birds=DIR [--count 8]

Photos are cut to their centre square; faces are blurred after their mask was found.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from redoseg import Segmenter
from redoseg.figures.tiles import blur_box

FACE = (0.25, 0.2, 0.75, 0.8)
SIDE, GAP, BETWEEN = 112, 3, 8
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


def rows(model: str, files: list[Path]) -> list[list[Image.Image]]:
    """The photos and their masks."""
    segment = Segmenter.from_pretrained(model)
    photos, masks = [], []
    for file in files:
        photo = centre_square(file)
        found = segment(photo)[1] > 0.5
        shown = blur_box(np.asarray(photo), FACE) if model == "faces" else np.asarray(photo)
        photos.append(Image.fromarray(shown))
        masks.append(Image.fromarray((found * 255).astype(np.uint8)).convert("RGB"))
    return [[im.resize((SIDE, SIDE), Image.Resampling.LANCZOS) for im in row] for row in (photos, masks)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("sets", nargs="+", metavar="MODEL=DIR")
    parser.add_argument("--count", type=int, default=8)
    options = parser.parse_args()
    pairs = [text.split("=", 1) for text in options.sets]
    height = len(pairs) * (2 * (SIDE + GAP) + BETWEEN) - GAP - BETWEEN
    sheet = Image.new("RGB", (options.count * (SIDE + GAP) - GAP, height), "white")
    for index, (model, folder) in enumerate(pairs):
        top = index * (2 * (SIDE + GAP) + BETWEEN)
        for line, row in enumerate(rows(model, spread(Path(folder), options.count))):
            for column, picture in enumerate(row):
                sheet.paste(picture, (column * (SIDE + GAP), top + line * (SIDE + GAP)))
    sheet.quantize(200, dither=Image.Dither.FLOYDSTEINBERG).save(options.out, optimize=True)


if __name__ == "__main__":
    main()
