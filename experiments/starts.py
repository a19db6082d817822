"""What the start of the inpainting-error baseline decides, and which of its ends the objective would choose.

    python experiments/starts.py DATA --size S [--split val] [--most K] --json FILE

For each start: IoU of the object (one matching for the split), the mean objective of its ends, and for how
many images its end has the largest. Beside them the ends of largest objective, and that of the true mask.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from redoseg.baselines.iem import Inpainter, climb, square
from redoseg.data.dataset import open_dataset
from redoseg.data.sampler import evenly_spaced
from redoseg.evaluation.metrics import confusion, per_dataset

STARTS = (0.4, 0.5, 0.6, 0.7, 0.8)


def iou(masks: NDArray[np.uint8], truth: NDArray[np.uint8]) -> float:
    return round(per_dataset(confusion(masks, truth, 2)).iou, 5)


def measured(images: NDArray[np.uint8], truth: NDArray[np.uint8]) -> dict[str, Any]:
    """Images (B, S, S, 3), labels (B, S, S)."""
    masks = np.empty((len(STARTS), *truth.shape), np.uint8)
    found, true = np.empty((len(STARTS), len(images))), np.empty(len(images))
    for k, image in enumerate(images):
        inpainter = Inpainter.for_image(image)
        true[k] = inpainter.objective((truth[k] == 1).astype(np.float32))
        for start, share in enumerate(STARTS):
            mask, values = climb(inpainter, square(len(image), share))
            masks[start, k], found[start, k] = mask, values[-1]
    largest = found.argmax(0)
    rows = {
        str(share): {
            "iou": iou(masks[i], truth),
            "objective": found[i].mean(),
            "chosen": int((largest == i).sum()),
        }
        for i, share in enumerate(STARTS)
    }
    taken = masks[largest, np.arange(len(images))]
    return {
        "starts": rows,
        "largest": {"iou": iou(taken, truth), "objective": found.max(0).mean()},
        "truth": {"objective": true.mean(), "larger_than_found": int((true > found.max(0)).sum())},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--split", default="val")
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--most", type=int)
    parser.add_argument("--json", type=Path, required=True)
    asked = parser.parse_args()
    dataset = open_dataset([asked.data], size=asked.size)
    split = dataset.split(asked.split)
    chosen = split.labelled[evenly_spaced(len(split.labelled), asked.most)]
    result = measured(split.images(chosen), split.labels(chosen))
    told = {"data": dataset.name, "split": asked.split, "size": asked.size, "images": len(chosen)} | result
    rounded = json.loads(json.dumps(told), parse_float=lambda text: round(float(text), 5))
    asked.json.write_text(json.dumps(rounded, indent=1) + "\n")


if __name__ == "__main__":
    main()
