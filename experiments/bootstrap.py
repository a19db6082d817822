"""Is a model better than the best fixed mask, or than another model? Paired bootstrap over images.

    python experiments/bootstrap.py MODEL DATA [--against MODEL] [--split val] [--json FILE]

For each image the IoU of the object, with one matching for the split; the difference is paired within images,
the interval is the 2.5th to 97.5th percentile of the mean over images drawn again with replacement.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from redoseg.data.dataset import Split, open_dataset
from redoseg.evaluation.evaluate import predict
from redoseg.evaluation.metrics import Counts, confusion, matching
from redoseg.evaluation.trivial import fixed_mask_counts
from redoseg.models.load import load_model


def object_iou(counts: Counts) -> NDArray[np.float64]:
    """(B, 2, 2), [region, label] -> (B,); 1 where neither has an object."""
    both = counts[:, 1, 1]
    union = counts[:, 1].sum(1) + counts[:, :, 1].sum(1) - both
    iou: NDArray[np.float64] = np.where(union > 0, both / np.maximum(union, 1), 1.0)
    return iou


def model_iou(model: str, split: Split, checkpoint: str) -> NDArray[np.float64]:
    """IoU of each labelled image of the split."""
    f = load_model(model, checkpoint=checkpoint).f
    labelled = split.labelled
    counts = confusion(predict(f, split, labelled)[0], split.labels(labelled), f.n)
    return object_iou(counts[:, np.argsort(matching(counts.sum(0)))])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("data", nargs="+")
    parser.add_argument("--against", help="another model; none: the best fixed mask, chosen with labels")
    parser.add_argument("--checkpoint", default="last")
    parser.add_argument("--split", default="val")
    parser.add_argument("--draws", type=int, default=10_000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    f = load_model(options.model, checkpoint=options.checkpoint).f
    if f.n != 2:
        parser.error("for models with two regions")
    split = open_dataset(options.data, size=f.size, n=2).split(options.split)
    ours = model_iou(options.model, split, options.checkpoint)
    if options.against:
        theirs = model_iou(options.against, split, "last")
    else:
        counts = fixed_mask_counts(split.labels(split.labelled), 2)
        assert counts is not None
        theirs = object_iou(counts)
    difference = ours - theirs
    random = np.random.default_rng(0)
    means = [
        difference[random.integers(0, len(difference), len(difference))].mean() for _ in range(options.draws)
    ]
    low, high = np.percentile(means, (2.5, 97.5))
    figures = {
        "model": options.model, "checkpoint": options.checkpoint, "against": options.against or "fixed mask",
        "split": options.split, "images": len(difference), "iou": float(ours.mean()),
        "iou_against": float(theirs.mean()), "difference": float(difference.mean()),
        "interval_95": [float(low), float(high)], "images_better": float((difference > 0).mean()),
    }  # fmt: skip
    print(json.dumps(figures, indent=2))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
