"""What refining a mask costs beside a plain GrabCut of the same photo, and how long a folder takes.

    python benchmarks/refining.py --images FOLDER [--model flowers] [--count 1000] --json refining.json

FOLDER holds photos of any size. Photo by photo, one core, at a short side of --size: the network's mask
alone, that mask refined, and OpenCV's GrabCut from a box of 80 % of the photo, 5 rounds, each timed in turn.
Then --count photos, the same ones again and again, from files to refined masks on disk, with all cores that
this process may use. Quality beside GrabCut is in docs/refining.md.
"""

import shutil
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from measure import arguments, cores, interleaved, ratio, table, write
from numpy.typing import NDArray

from redoseg.baselines.grabcut import ITERATIONS, MARGIN
from redoseg.data.folder import scan
from redoseg.data.images import decode_image
from redoseg.segmentation.refining import Refining
from redoseg.segmentation.segment import segment_files
from redoseg.segmentation.segmenter import Segmenter

NETWORK, REFINED, BOX = "network alone", "refined", "GrabCut from a box"


def main() -> None:
    parser = arguments(__doc__ or "", size=256, batch=1)
    parser.add_argument("--images", type=Path, required=True, help="folder of photos")
    parser.add_argument("--model", default="flowers")
    parser.add_argument("--count", type=int, default=1_000, help="photos from file to file")
    options = parser.parse_args()
    device = torch.device(options.device)
    files = [ref.entry for ref in scan(options.images, sidecars=False).images]
    figures = photo_by_photo(files, options) | {"folder": folder(files, options)}
    write(options.json, figures, device)


def photo_by_photo(files: list[Any], options: Any) -> dict[str, Any]:
    """Milliseconds a photo of each rival on one core, the median over photos and rounds."""
    plain = Segmenter.from_pretrained(options.model, refine="off", device="cpu")
    refining = Refining(size=options.size)
    cv2.setNumThreads(1)
    times: dict[str, list[float]] = {NETWORK: [], REFINED: [], BOX: []}
    for entry in files:
        with entry.open() as file:
            photo = decode_image(file)
        small = np.asarray(photo.resize(refining.fit(*photo.size)), np.uint8)
        masks = plain(small)
        rivals = {
            NETWORK: partial(plain, small), REFINED: partial(refining, small, masks),
            BOX: partial(grabcut_in_box, small),
        }  # fmt: skip
        found = interleaved(rivals, rounds=options.rounds)
        for name in times:
            times[name] += found[name]
    milliseconds = {name: statistics.median(times[name]) * 1e3 for name in times}
    ratios = {name: ratio(times, BOX, name) for name in (NETWORK, REFINED)}
    rows = [[name, f"{milliseconds[name]:.1f}", f"{ratios.get(name, 1):.2f}"] for name in times]
    table(f"a photo of {options.size} px, one core", ["", "ms", "times as fast as GrabCut"], rows)
    return {"size": options.size, "photos": len(files), "milliseconds": milliseconds, "ratios": ratios}


def grabcut_in_box(photo: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """OpenCV's GrabCut (H, W) of a whole photo from its inner 80 %."""
    height, width = photo.shape[:2]
    x, y = width // MARGIN, height // MARGIN
    mask = np.zeros((height, width), np.uint8)
    box, models = (x, y, width - 2 * x, height - 2 * y), (np.zeros((1, 65)), np.zeros((1, 65)))
    cv2.grabCut(photo, mask, box, *models, ITERATIONS, cv2.GC_INIT_WITH_RECT)
    return mask


def folder(files: list[Any], options: Any) -> dict[str, Any]:
    """Seconds from files to refined masks on disk."""
    segmenter = Segmenter.from_pretrained(options.model, device="cpu")
    with tempfile.TemporaryDirectory() as temporary:
        photos = Path(temporary) / "photos"
        photos.mkdir()
        for number in range(options.count):
            entry = files[number % len(files)]
            with entry.open() as file, open(photos / f"{number:05}.jpg", "wb") as copy:
                shutil.copyfileobj(file, copy)
        began = time.perf_counter()
        report = segment_files(segmenter, [photos], Path(temporary) / "masks")
        seconds = time.perf_counter() - began
    print(f"{report.written} photos to refined masks: {seconds:.1f} s on {cores()} cores")
    return {"photos": report.written, "seconds": seconds, "cores": cores()}


if __name__ == "__main__":
    main()
