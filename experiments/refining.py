"""Refined masks beside the network's own, GrabCut's and the trivial ones; and what doubt says of them.

    python experiments/refining.py MODEL DATA [--size 128] [--without DATA2 ...] [--json refining.json]

The labelled images of `val`, resized to SIZE x SIZE; or, if DATA is LFW as it is published (`lfw_funneled`
and `parts_lfw_funneled_gt_images`), its labelled photos at their own size. Foreground IoU and accuracy are
means over images; region 1 is the foreground, nothing is matched. The rows: the network's mask at one half;
refined from the starts that were chosen without labels; refined from each single start of a list, of which
the best is chosen with labels; GrabCut started from the network's mask (two iterations, the certain core
being where it is above .8, and no core); GrabCut from a centred box of 80 % of the image; a fixed mask and
a disc, chosen with labels. Border F: precision and recall of border pixels that have a partner within two
pixels. Doubt is that of each row's masks: its rank correlation with IoU, the IoU of the surer half, and of
each tenth of the images from sure to not. DATA2 holds photos without the model's object: 200 of each set
show what doubt says of them.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.table import Table
from scipy.ndimage import binary_erosion, distance_transform_edt
from scipy.stats import spearmanr

from redoseg.data.dataset import open_dataset
from redoseg.data.images import decode_image
from redoseg.data.labels import UNLABELLED
from redoseg.data.sampler import evenly_spaced
from redoseg.evaluation.trivial import disc, fixed_mask
from redoseg.models.backends.choice import open_backend
from redoseg.segmentation.refining import Refined, Refining, doubt
from redoseg.segmentation.segmenter import Segmenter

_NEAR = 2  # pixels between borders that still are the same
_MEASURES = ("iou", "accuracy", "border", "milliseconds", "spearman", "surer_half")
SINGLE = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
Image8, Masks = NDArray[np.uint8], NDArray[np.float32]
Predict = Callable[[Image8, Masks], Refined]


def grabcut(image: Image8, seeds: Image8) -> Refined:
    """OpenCV's GrabCut for two iterations; the seeds stay where it can't begin."""
    seen, models = seeds.copy(), (np.zeros((1, 65)), np.zeros((1, 65)))
    cv2.setRNGSeed(0)
    if np.isin(seeds, (1, 3)).sum() >= 20 and np.isin(seeds, (0, 2)).sum() >= 20:
        cv2.grabCut(image[..., ::-1].copy(), seen, None, *models, 2, cv2.GC_INIT_WITH_MASK)
    found = np.isin(seen, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.float32)
    masks = np.stack([1 - found, found])
    return Refined(masks, doubt(masks))


def from_mask(image: Image8, masks: Masks, core: float | None) -> Refined:
    soft = enlarged(masks, image)[1]
    seeds = np.where(soft > (0.5 if core is None else 0.3), cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    seeds[cv2.distanceTransform((soft <= 0.05).astype(np.uint8), cv2.DIST_L2, 3) > 0.1 * len(image)] = 0
    if core is not None:
        seeds[soft > core] = cv2.GC_FGD
    return grabcut(image, seeds)


def from_box(image: Image8, masks: Masks) -> Refined:
    seeds, margin = np.zeros(image.shape[:2], np.uint8), round(0.1 * len(image))
    seeds[margin:-margin, margin:-margin] = cv2.GC_PR_FGD
    return grabcut(image, seeds)


def enlarged(masks: Masks, image: Image8) -> Masks:
    size = image.shape[1::-1]
    return np.stack([cv2.resize(mask, size, interpolation=cv2.INTER_LINEAR) for mask in masks])


def own(image: Image8, masks: Masks) -> Refined:
    found = enlarged(masks, image)
    return Refined(found, doubt(found))


def ious(predicted: NDArray[np.bool_], truth: Image8) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """IoU and accuracy of each image; predicted (N, S, S), truth (N, S, S) with unlabelled pixels."""
    known = truth != UNLABELLED
    wanted, found = (truth > 0) & known, predicted & known
    both, either = (wanted & found).sum((1, 2)), (wanted | found).sum((1, 2))
    right = ((wanted == found) & known).sum((1, 2)) / known.sum((1, 2))
    return np.where(either > 0, both / np.maximum(either, 1), 1.0), right


def border_score(predicted: NDArray[np.bool_], truth: Image8) -> float:
    """The F-measure of border pixels, in [0, 1]; 0 where only one of the two has any."""
    ours, theirs = (whole & ~binary_erosion(whole, border_value=1) for whole in (predicted, truth == 1))
    if not (ours.any() and theirs.any()):
        return float(ours.any() == theirs.any())
    precision = (distance_transform_edt(~theirs)[ours] <= _NEAR).mean()
    recall = (distance_transform_edt(~ours)[theirs] <= _NEAR).mean()
    return float(2 * precision * recall / max(precision + recall, 1e-12))


def labelled_images(data: str, size: int) -> tuple[Image8, Image8]:
    """Images (N, S, S, 3) and labels (N, S, S): 0, 1 and UNLABELLED."""
    parts = sorted(Path(data).glob("parts_lfw_funneled_gt_images/*.ppm"))
    if parts:
        names = [file.stem for file in parts]
        folders = [Path(data) / "lfw_funneled" / name.rpartition("_")[0] for name in names]
        photos = [
            np.asarray(decode_image(folder / f"{name}.jpg"))
            for folder, name in zip(folders, names, strict=True)
        ]
        truth = [(np.asarray(decode_image(file)) != (0, 0, 255)).any(-1) for file in parts]
        return np.stack(photos), np.stack(truth).astype(np.uint8)
    split = open_dataset([data], size=size, n=2).split("val")
    return split.images(split.labelled), split.labels(split.labelled)


def score(predict: Predict, images: Image8, masks: list[Masks], truth: Image8) -> dict[str, Any]:
    began = time.process_time()
    found = [predict(image, own_masks) for image, own_masks in zip(images, masks, strict=True)]
    took = (time.process_time() - began) / len(images)
    objects = np.stack([one.masks[1] > 0.5 for one in found])
    iou, accuracy = ious(objects, truth)
    doubts = np.array([one.doubt for one in found])
    by_doubt = iou[doubts.argsort(kind="stable")]
    return {
        "iou": iou.mean(),
        "accuracy": accuracy.mean(),
        "border": np.mean([border_score(*pair) for pair in zip(objects, truth, strict=True)]),
        "milliseconds": 1e3 * took,
        "spearman": spearmanr(doubts, iou)[0] if np.ptp(doubts) else None,
        "surer_half": by_doubt[: len(iou) // 2].mean(),
        "tenths": [part.mean() for part in np.array_split(by_doubt, 10)],
    }


def quartiles(segmenter: Segmenter, refining: Refining, images: Image8) -> list[float]:
    """Of the doubt of refined masks: the lower quartile, the median and the upper one."""
    masks = segmenter.predict([segmenter.fit(Image.fromarray(image)) for image in images])
    doubts = [refining(image, one).doubt for image, one in zip(images, masks, strict=True)]
    return [float(value) for value in np.quantile(doubts, (0.25, 0.5, 0.75))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--without", nargs="*", default=[], metavar="DATA2")
    options = parser.parse_args()

    opened = open_backend(options.model, device="cpu")
    segmenter = Segmenter(opened.backend, n=opened.n, size=opened.size)
    images, truth = labelled_images(options.data, options.size)
    masks = segmenter.predict([segmenter.fit(Image.fromarray(image)) for image in images])
    starts = opened.starts or Refining().thresholds

    refining = Refining(starts)
    methods: dict[str, Predict] = {"the network": own, "refined": refining}
    methods |= {f"one start at {start}": Refining((start,)) for start in SINGLE}
    methods["GrabCut, core above .8"] = lambda image, own_masks: from_mask(image, own_masks, 0.8)
    methods["GrabCut, no core"] = lambda image, own_masks: from_mask(image, own_masks, None)
    methods["GrabCut from a box"] = from_box
    cv2.setNumThreads(1)
    rows = {name: score(predict, images, masks, truth) for name, predict in methods.items()}
    for name, trivial in (("fixed mask", fixed_mask(truth, 2)), ("disc", disc(truth, 2))):
        if trivial is not None:
            rows[f"trivial: {name}, chosen with labels"] = {"iou": trivial.iou, "accuracy": trivial.accuracy}

    result = {
        "model": Path(options.model).name,
        "images": len(images),
        "size": images.shape[1],
        "starts": starts,
    }
    result["doubt"] = {Path(options.data).stem: quartiles(segmenter, refining, images[:200])}
    for data in options.without:
        others = open_dataset([data], size=options.size, n=2).split("train")
        result["doubt"][Path(data).stem] = quartiles(
            segmenter, refining, others.images(evenly_spaced(len(others), 200))
        )
    table = Table("", "IoU", "accuracy", "border F", "ms", "Spearman", "surer half", title=str(result))
    for name, row in rows.items():
        cells = (row.get(key) for key in _MEASURES)
        table.add_row(name, *("" if cell is None else f"{cell:.3f}" for cell in cells))
    Console(width=120).print(table)
    if options.json is not None:
        rounded = json.loads(json.dumps(result | {"rows": rows}), parse_float=lambda x: round(float(x), 4))
        options.json.write_text(json.dumps(rounded, indent=1) + "\n")


if __name__ == "__main__":
    main()
