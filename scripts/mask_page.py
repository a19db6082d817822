"""A page of photos beside their masks, as `redoseg segment` wrote them.

python scripts/mask_page.py PHOTOS MASKS PAGE.png [--count 24] [--blur .25 .2 .75 .8]
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from redoseg.data.folder import scan
from redoseg.data.images import decode_image, decode_label
from redoseg.figures.tiles import blur_box, tile


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path)
    parser.add_argument("masks", type=Path)
    parser.add_argument("page", type=Path)
    parser.add_argument("--count", type=int, default=24, help="at most so many photos, evenly spread (40)")
    parser.add_argument("--blur", type=float, nargs=4, help="box to blur in photos, as shares of the sides")
    options = parser.parse_args()

    photos = scan(options.photos).images
    chosen = np.unique(
        np.linspace(0, len(photos) - 1, min(options.count, 40, len(photos))).round().astype(int)
    )
    pictures = []
    for ref in (photos[index] for index in chosen):
        with ref.open() as file:
            photo = np.asarray(decode_image(file))
        mask = decode_label(options.masks / f"{ref.name}.png")
        pictures.append(photo if options.blur is None else blur_box(photo, tuple(options.blur)))
        pictures.append(np.asarray(Image.fromarray(mask).convert("RGB")))
    options.page.parent.mkdir(parents=True, exist_ok=True)
    tile(pictures, columns=8).save(options.page)
    print(options.page)


if __name__ == "__main__":
    main()
