"""`redoseg auto` on a folder of anybody's, scored on other photos of the same kind that have masks.

    python benchmarks/own_folder.py PHOTOS MASKED OUT [--seed 0] [--json FILE]

PHOTOS are learned from, without a mask. MASKED is a folder with images/ and masks/, split `val` or none at
all (docs/data.md). Whole photos at their own size are scored, masks as `redoseg segment` writes them, beside
those of GrabCut from a centred box, and squares beside the trivial rows. Run again, it goes on; `minutes` are
those of the last sitting.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import redoseg
from redoseg.baselines.write import write_masks
from redoseg.data.folder import scan
from redoseg.data.image_ref import ImageRef
from redoseg.data.labels import UNLABELLED
from redoseg.data.mask_files import read_mask
from redoseg.files import read_json, write_json
from redoseg.segmentation.refining import overlap

GRABCUT_SIDE = 256
ROWS = ("whole", "as_written", "per_dataset", "fixed_mask", "disc")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path)
    parser.add_argument("masked", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="a file for the figures")
    options = parser.parse_args()
    try:  # before the work begins
        masks = scan(options.masked).masks
    except redoseg.RedosegError as error:
        sys.exit(str(error))
    if not masks:
        sys.exit(f"{options.masked} has no masks/ to score with")
    config = redoseg.AutoConfig(data=(str(options.photos),), out=options.out, seed=options.seed, threads=1)
    begun = time.monotonic()
    found = redoseg.auto(config)
    minutes = round((time.monotonic() - begun) / 60, 1)
    report = read_json(config.out / "auto.json")
    scores = scored(config.out, options.masked)
    others = {name: config.out / "students" / name for name in found.students if name != found.kept}
    result = {
        "photos": found.masks, "minutes": minutes,
        "command": f"redoseg auto {options.photos.name} --out RUN --threads 1 --seed {options.seed}",
        "plan": report["plan"] | {"starts": [*report["plan"]["starts"]]}, "redoseg": report["redoseg"],
        "students": found.students, "kept": found.kept, "verdict": found.verdict.as_json(),
        "images": scores["images"], "scores": {row: scores[row] for row in ROWS},
        "grabcut_whole": {"iou": round(grabcut(options.masked, masks), 4)},
        "students_whole": {
            **{name: scored(student, options.masked)["whole"] for name, student in others.items()},
            found.kept: scores["whole"],
        },
    }  # fmt: skip
    print(json.dumps(result))
    if options.json is not None:
        write_json(options.json, result)


def scored(model: Path, masked: Path) -> dict[str, Any]:
    return redoseg.evaluate(model, masked, device="cpu", whole=True).as_dict()


def grabcut(masked: Path, masks: Mapping[str, ImageRef]) -> float:
    """Mean IoU of what GrabCut finds in a centred box of each photo, squeezed to 256 x 256."""
    values = []
    with tempfile.TemporaryDirectory() as folder:
        write_masks("grabcut", [masked / "images"], folder, size=GRABCUT_SIDE)
        for name, mask in masks.items():
            with mask.open() as file:
                truth, _ = read_mask(file)
            with Image.open(Path(folder) / f"{name}.png") as written:
                ours = np.asarray(written) > 0
            known = truth != UNLABELLED
            values.append(overlap(ours[known], (truth > 0)[known]))
    return float(np.mean(values))


if __name__ == "__main__":
    main()
