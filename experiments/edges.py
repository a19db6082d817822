"""Do masks get better at the photos' full size when a guided filter moves their borders to the photo's edges?

    python experiments/edges.py MODEL LFW_ORIGINAL [--checkpoint best] [--json edges.json]

LFW_ORIGINAL holds LFW as it is published: lfw_funneled/NAME/NAME_0001.jpg and, for some of the photos,
parts_lfw_funneled_gt_images/NAME_0001.ppm, whose blue is background. Each of these photos is segmented at
its own size without the filter and with it, for every radius (in pixels of the network) and eps; `flat` is
the filter given a photo without edges, which smooths the mask and no more. Scores are means over photos of
the foreground, whose region is the same one for all photos and rows. `border F` is the boundary F-measure:
precision and recall of border pixels with a partner within two pixels. Intervals: 95 %, percentile bootstrap
over the photos, of the paired differences to the row without the filter.

A second table does the same to masks that no network beats: the truth, at the network's size.
"""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.table import Table
from scipy.ndimage import binary_erosion, distance_transform_edt
from scipy.stats import bootstrap

from redoseg.data.images import decode_image
from redoseg.evaluation.metrics import as_labelled, confusion, matching
from redoseg.segmentation.edges import GuidedEdges
from redoseg.segmentation.segmenter import Masks, NetworkInput, Segmenter

RADII, EPS = (0.5, 1.0, 2.0, 4.0), (1e-4, 1e-3, 1e-2)
MEASURES = ("iou", "accuracy", "border")
_NEAR = 2  # pixels between borders that still are the same

Labels = NDArray[np.uint8]
PerPhoto = dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Pair:
    """A photo and its foreground (H, W): 1, and 0 elsewhere."""

    photo: Image.Image
    truth: Labels


@dataclass(frozen=True)
class Row:
    """Means over photos; `differences` to the row without the filter: (mean, low, high) of each measure.

    `radius` None: no filter; `eps` None: no edges in the photo either.
    """

    radius: float | None
    eps: float | None
    means: dict[str, float]
    differences: dict[str, tuple[float, float, float]] | None
    milliseconds: float


def pairs(folder: Path) -> list[Pair]:
    found = []
    for file in sorted((folder / "parts_lfw_funneled_gt_images").glob("*.ppm")):
        person = file.stem.rpartition("_")[0]
        with Image.open(file) as image:
            truth = (np.asarray(image.convert("RGB")) != (0, 0, 255)).any(-1).astype(np.uint8)
        found.append(Pair(decode_image(folder / "lfw_funneled" / person / f"{file.stem}.jpg"), truth))
    if not found:
        raise SystemExit(f"{folder} holds no parts_lfw_funneled_gt_images/*.ppm: is it LFW as published?")
    return found


def border(region: Labels) -> NDArray[np.bool_]:
    """(H, W): pixels of the region beside others; those at the photo's own sides are no border."""
    whole = region.astype(bool)
    inner: NDArray[np.bool_] = binary_erosion(whole, border_value=1)
    return whole & ~inner


def border_score(predicted: Labels, truth: Labels) -> float:
    """The F-measure of border pixels, in [0, 1]; 0 where only one of the two has any."""
    ours, theirs = border(predicted), border(truth)
    if not (ours.any() and theirs.any()):
        return float(ours.any() == theirs.any())
    precision = (distance_transform_edt(~theirs)[ours] <= _NEAR).mean()
    recall = (distance_transform_edt(~ours)[theirs] <= _NEAR).mean()
    return float(2 * precision * recall / max(precision + recall, 1e-12))


def scores(predicted: Sequence[Labels], truths: Sequence[Labels]) -> PerPhoto:
    """Of each photo; `predicted` is 1 where the foreground is."""
    counts = [confusion(one[None], truth[None], 2) for one, truth in zip(predicted, truths, strict=True)]
    each = [as_labelled(count) for count in counts]
    return {
        "iou": np.array([one.iou for one in each]),
        "accuracy": np.array([one.accuracy for one in each]),
        "border": np.array([border_score(*item) for item in zip(predicted, truths, strict=True)]),
    }


def interval(differences: NDArray[np.float64]) -> tuple[float, float, float]:
    """(mean, low, high): the middle 95 % of the means of 9,999 resamples."""
    if np.ptp(differences) == 0:
        return (float(differences.mean()),) * 3
    found = bootstrap((differences,), np.mean, method="percentile", rng=0).confidence_interval
    return float(differences.mean()), float(found.low), float(found.high)


def regions(
    segmenter: Segmenter, masks: Sequence[Masks], found: Sequence[Pair]
) -> tuple[list[Labels], float]:
    """1 where a region other than the background is, and the milliseconds that a photo took: the median."""
    labels, took = [], []
    for mask, pair in zip(masks, found, strict=True):
        began = time.perf_counter()
        labels.append(segmenter.regions(mask, pair.photo.size, pair.photo) > 0)
        took.append(time.perf_counter() - began)
    return [label.astype(np.uint8) for label in labels], float(np.median(took)) * 1e3


def compare(segmenter: Segmenter, masks: Sequence[Masks], found: Sequence[Pair]) -> list[Row]:
    """The row without the filter, then for every radius those of each eps and the one with flat photos."""
    truths = [pair.truth for pair in found]
    flat = [Pair(Image.new("RGB", pair.photo.size, "grey"), pair.truth) for pair in found]
    plain, took = regions(segmenter, masks, found)
    counts = sum(confusion(one[None], truth[None], 2)[0] for one, truth in zip(plain, truths, strict=True))
    turned = bool(matching(np.asarray(counts))[0])  # region 0 is the foreground: one matching for all rows
    base = scores([one ^ turned for one in plain], truths)
    rows = [Row(None, None, means(base), None, took)]
    for radius, eps in product(RADII, (*EPS, None)):
        edges = GuidedEdges(radius, eps or EPS[0])
        guided = Segmenter(segmenter.backend, n=segmenter.n, size=segmenter.size, edges=edges)
        labels, took = regions(guided, masks, found if eps else flat)
        ours = scores([one ^ turned for one in labels], truths)
        differences = {name: interval(ours[name] - base[name]) for name in MEASURES}
        rows.append(Row(radius, eps, means(ours), differences, took))
    return rows


def means(each: PerPhoto) -> dict[str, float]:
    return {name: float(values.mean()) for name, values in each.items()}


def true_masks(fitted: Sequence[NetworkInput], found: Sequence[Pair], n: int) -> list[Masks]:
    """(n, h, w) of each photo at the network's size: the share of foreground, all of it in region 1."""
    masks = []
    for one, pair in zip(fitted, found, strict=True):
        height, width = one.pixels.shape[:2]
        share = Image.fromarray(pair.truth.astype(np.float32)).resize((width, height), Image.Resampling.BOX)
        foreground = np.asarray(share)
        masks.append(np.stack([1 - foreground, foreground, *[np.zeros_like(foreground)] * (n - 2)]))
    return masks


def show(title: str, rows: Sequence[Row]) -> None:
    table = Table("radius", "eps", "IoU", "accuracy", "border F", "ms", title=title, title_justify="left")
    for row in rows:
        radius = "none" if row.radius is None else f"{row.radius:g}"
        eps = "" if row.radius is None else "flat" if row.eps is None else f"{row.eps:g}"
        table.add_row(radius, eps, *(cell(row, measure) for measure in MEASURES), f"{row.milliseconds:.1f}")
    Console(width=140).print(table)


def cell(row: Row, measure: str) -> str:
    mean = f"{row.means[measure]:.4f}"
    if row.differences is None:
        return mean
    difference, low, high = row.differences[measure]
    return f"{mean}  {difference:+.4f} [{low:+.4f}, {high:+.4f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model", help="as `redoseg segment` takes it")
    parser.add_argument("lfw", type=Path, metavar="LFW_ORIGINAL")
    parser.add_argument("--checkpoint", default="last", help="in a run: last, best or a step")
    parser.add_argument("--weights", choices=("ema", "raw"))
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parser.parse_args()

    segmenter = Segmenter.from_pretrained(
        options.model, checkpoint=options.checkpoint, weights=options.weights, device="cpu"
    )
    found = pairs(options.lfw)
    fitted = [segmenter.fit(pair.photo) for pair in found]
    size = segmenter.size
    results = {
        f"the masks of a model of {size} px": compare(segmenter, segmenter.predict(fitted), found),
        f"the truth at {size} px": compare(segmenter, true_masks(fitted, found, segmenter.n), found),
    }
    for title, rows in results.items():
        show(f"{len(found)} photos, {title}", rows)
    if options.json:
        figures: dict[str, Any] = {title: [asdict(row) for row in rows] for title, rows in results.items()}
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps({"photos": len(found), **figures}, indent=1) + "\n")


if __name__ == "__main__":
    main()
