"""What first labels are worth before any student has learned from them.

    python experiments/first_labels.py DATA ... [--most 60] --json FILE

Of each DATA (a folder or archive with masks) up to `--most` labelled images (of `val`, if there is one),
evenly spread, at 64 pixels. IoU of the object, a mean over images, nothing matched: of every first label at
one half, and refined from the starts that `auto` would choose for these images, without masks. In further
rows one constant of the saliency differs.
"""

import argparse
import json
from pathlib import Path
from unittest import mock

import numpy as np
import torch

from redoseg.baselines import saliency
from redoseg.data.dataset import open_dataset
from redoseg.data.sampler import evenly_spaced
from redoseg.distillation.first_labels import SOURCES, FirstLabels
from redoseg.evaluation.metrics import as_labelled, confusion
from redoseg.segmentation.refining import Refining
from redoseg.tensors import to_tensor

SIZE = 64
CHANGED = {
    "colours 5": ("_COLOUR", 5.0),
    "colours 10": ("_COLOUR", 10.0),
    "background 1": ("_BACKGROUND", 1.0),
}


def worth(source: str, images: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """IoU in [0, 1] of first labels, as they are and refined, of images (N, S, S, 3) uint8 with labels
    (N, S, S)."""
    teacher, tensors = FirstLabels(source, torch.device("cpu")), to_tensor(images, torch.device("cpu"))
    masks = teacher.masks(tensors)
    refining = Refining(teacher.find_starts(tensors), SIZE)
    refined = [refining(image, own).masks for image, own in zip(images, masks.numpy(), strict=True)]

    def iou(regions: np.ndarray) -> float:
        return round(as_labelled(confusion(regions.astype(np.uint8), truth, 2)).iou, 4)

    return {"as_they_are": iou(masks.numpy().argmax(1)), "refined": iou(np.stack(refined).argmax(1))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", nargs="+", type=Path)
    parser.add_argument("--most", type=int, default=60)
    parser.add_argument("--json", type=Path, required=True)
    asked = parser.parse_args()
    found = {}
    for data in asked.data:
        _, split = open_dataset([str(data)], size=SIZE).split_to_score(None)
        chosen = split.labelled[evenly_spaced(len(split.labelled), asked.most)]
        images, truth = split.images(chosen), split.labels(chosen)
        rows = {source: worth(source, images, truth) for source in SOURCES}
        for said, (name, value) in CHANGED.items():
            with mock.patch.object(saliency, name, value):
                rows[f"saliency, {said}"] = worth("saliency", images, truth)
        found[data.stem] = {"images": len(chosen)} | rows
        print(data.stem, {name: row["refined"] for name, row in rows.items()}, flush=True)
    asked.json.write_text(json.dumps(found, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
