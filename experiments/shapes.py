"""Photos that aren't square, shown to a network as they are or as squares: what are the masks worth?

    python experiments/shapes.py MASKED MODEL ... [--most 200] [--json FILE]

MASKED is a folder with images/ and masks/ (benchmarks/folders.py makes some, OUT/photos/...-wide-val). Mean
IoU of whole photos, masks as `redoseg segment` writes them (`refined`) and without refining (`network`).
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from redoseg.data.folder import FolderListing, scan
from redoseg.data.labels import UNLABELLED
from redoseg.data.mask_files import read_mask
from redoseg.data.sampler import evenly_spaced
from redoseg.errors import RedosegError
from redoseg.files import write_json
from redoseg.segmentation.refining import overlap
from redoseg.segmentation.segmenter import Segmenter

WAYS = {"as_they_are": False, "squares": True}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("masked", type=Path)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--most", type=int, default=200, help="photos, evenly spread")
    parser.add_argument("--json", type=Path, help="a file for the figures, added to what it holds")
    options = parser.parse_args()
    rows = json.loads(options.json.read_text()) if options.json and options.json.exists() else []
    try:
        listing = scan(options.masked)
        if not listing.masks:
            sys.exit(f"{options.masked} has no masks/ to score with")
        for model in options.models:
            rows.append({"photos": options.masked.name} | row(listing, model, options.most))
            print(json.dumps(rows[-1]), flush=True)
    except RedosegError as error:
        sys.exit(str(error))
    if options.json is not None:
        write_json(options.json, rows)


def row(listing: FolderListing, model: str, most: int) -> dict[str, object]:
    segmenters = {
        (way, refine): Segmenter.from_pretrained(model, device="cpu", refine=refine)
        for way in WAYS
        for refine in ("auto", "off")
    }
    for (way, _), segmenter in segmenters.items():
        segmenter.squares = WAYS[way]
    photos = {ref.name: ref for ref in listing.images}
    names = sorted(listing.masks)
    names = [names[index] for index in evenly_spaced(len(names), min(most, len(names)))]
    values: dict[tuple[str, str], list[float]] = {key: [] for key in segmenters}
    for name in names:
        with photos[name].open() as file, Image.open(file) as opened:
            photo = opened.convert("RGB")
        with listing.masks[name].open() as file:
            truth, _ = read_mask(file)
        known = truth != UNLABELLED
        for key, segmenter in segmenters.items():
            ours = segmenter(photo)[0] < 0.5
            values[key].append(overlap(ours[known], (truth > 0)[known]))
    found = {
        f"{'network' if refine == 'off' else 'refined'}, {way}": round(float(np.mean(values[way, refine])), 4)
        for way, refine in values
    }
    return {"images": len(names), "model": Path(model).name, "iou": found}


if __name__ == "__main__":
    main()
