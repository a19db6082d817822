"""What a student of refined masks gains from each of its parts: one change at a time.

    python experiments/students.py TEACHER DATA --out FOLDER --json FILE [--arms NAME ...]

TEACHER is a run with a student in it (such as RUN/students/boxes of `redoseg auto DATA --out RUN`), whose
masks of 3,000 images of DATA's split `train`, evenly spaced, are refined and learned. Every arm is the
same small student (64 px, width 8, four blocks, batch 32, rate 2e-3) but for one change. Scores:
foreground IoU and accuracy, means over labelled images of `val` (300 at most), region 1 as it is named,
nothing matched: of the network's own masks, and refined as `redoseg segment` does. `ceiling` learns TRUE
masks of one half of `val` and is scored on the other, both ways; its mean is what this student could
reach.
"""

import argparse
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from refining import ious
from torch import Tensor

from redoseg.config import TrainConfig
from redoseg.data.dataset import open_data
from redoseg.data.sampler import evenly_spaced
from redoseg.data.subset import SubsetSplit
from redoseg.distillation.pairs import unpack
from redoseg.distillation.targets import RefinedTargets
from redoseg.distillation.teacher import NetworkTeacher
from redoseg.label_free.calibration import find_starts
from redoseg.label_free.signals import label_free_score, measure
from redoseg.method.augmentation import VIEW_NUMBERS, shift_pixels, view
from redoseg.networks.mask import MaskNetwork
from redoseg.segmentation.refining import Refining
from redoseg.tensors import to_tensor
from redoseg.training.mask_learner import MaskLearner

SIZE, BATCH = 64, 32
Arrays = NDArray[np.uint8]
Change = Callable[[Tensor, torch.Generator], Tensor]


@dataclass(frozen=True)
class Arm:
    """How one student learns. `kept`: share of the images, the surest; `ignored`: pixels count as far as
    starts agree; `own`: the teacher's own masks in place of refined ones; `hard`: masks of 0 and 1;
    `overlap`: weight of one less the soft F-measure, beside the cross-entropy; `change` is made of
    images and masks together."""

    kept: float = 0.8
    ignored: bool = True
    own: bool = False
    hard: bool = False
    overlap: float = 0.0
    width: int = 8
    blocks: int = 4
    jitter: float = 0.3
    change: Change | None = None


def zoomed(low: float, high: float) -> Change:
    """Half of the batch at another scale, what lies outside mirrored in."""

    def change(batch: Tensor, random: torch.Generator) -> Tensor:
        half = len(batch) // 2
        grid = _placed(half, low, high, batch, random)
        small = F.avg_pool2d(F.pad(batch[:half], (1, 1, 1, 1), mode="replicate"), 3, 1)
        moved = F.grid_sample(small, grid, padding_mode="reflection", align_corners=False)
        return torch.cat((moved, batch[half:]))

    return change


def pasted(low: float, high: float) -> Change:
    """On a third of the batch another image's object, smaller, somewhere."""

    def change(batch: Tensor, random: torch.Generator) -> Tensor:
        third = len(batch) // 3
        below, above = batch[:third], batch[third : 2 * third]
        grid = _placed(third, low, high, batch, random)
        small = F.avg_pool2d(F.pad(above, (1, 1, 1, 1), mode="replicate"), 3, 1)
        moved = F.grid_sample(small, grid, padding_mode="zeros", align_corners=False)
        inside = F.grid_sample(torch.ones_like(above[:, :1]), grid, align_corners=False)
        mask = (moved[:, 3:] + 1) / 2 * inside
        over = ((mask - 0.3) / 0.4).clamp(0, 1)
        return torch.cat((over * moved + (1 - over) * below, batch[third:]))

    return change


def _placed(count: int, low: float, high: float, batch: Tensor, random: torch.Generator) -> Tensor:
    """A grid for each of `count` images: a scale between the two, and a random place."""
    scale = torch.exp(math.log(low) + torch.rand(count, generator=random) * math.log(high / low))
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = 1 / scale
    theta[:, :, 2] = (2 * torch.rand(count, 2, generator=random) - 1) * (1 / scale - 1).abs()[:, None]
    return F.affine_grid(theta, [count, *batch.shape[1:]], align_corners=False)


ARMS = {
    "base": Arm(),
    "base, seed 1": Arm(),
    "the network's masks, not refined": Arm(own=True),
    "all pixels count alike": Arm(ignored=False),
    "no photo left out": Arm(kept=1.0),
    "half of the photos left out": Arm(kept=0.5),
    "hard masks": Arm(hard=True),
    "cross-entropy + soft F": Arm(overlap=1.0),
    "zoomed, .5 to 1.25": Arm(change=zoomed(0.5, 1.25)),
    "copy-paste pairs": Arm(change=pasted(0.35, 0.9)),
    "no jitter": Arm(jitter=0.0),
    "width 16": Arm(width=16),
    "six blocks": Arm(blocks=6),
}


class Study:
    """A teacher's targets, and the images on which students are scored."""

    def __init__(self, teacher: Path, data: str, folder: Path, images: int, steps: int) -> None:
        self.steps, self.data = steps, data
        dataset = open_data(TrainConfig.of(data=data, out=folder, size=SIZE).resolved())
        whole, val = dataset.split("train"), dataset.split("val")
        self.train = SubsetSplit(whole, evenly_spaced(len(whole), min(images, len(whole))))
        labelled = val.labelled[evenly_spaced(len(val.labelled), min(300, len(val.labelled)))]
        self.images, self.truth = val.images(labelled), val.labels(labelled)
        self.teacher = NetworkTeacher(
            teacher, checkpoint="last", weights=None, device=torch.device("cpu"), mirrored=True
        )
        self.sample = to_tensor(self.train.images(evenly_spaced(len(self.train), 256)))
        self.teacher.starts = self.teacher.find_starts(self.sample)
        identity = {"teacher": self.teacher.identity["weights"], "data": dataset.fingerprint}
        self.targets = RefinedTargets(folder / "targets", self.train, self.teacher, identity)
        self.targets.make(lambda done, of: None)
        self.targets.load()
        self.fell_back = float((self.targets.doubt == 1).mean())

    def own_targets(self) -> Arrays:
        masks = self.teacher.masks_of_many(to_tensor(self.train.images(np.arange(len(self.train)))))
        objects: Arrays = (255 * masks[:, 1:]).round().byte().permute(0, 2, 3, 1).numpy()
        return objects

    def learn(self, arm: Arm, seed: int) -> MaskNetwork:
        kept = self.targets.surest(arm.kept)
        objects = self.own_targets()[kept] if arm.own else self.targets.objects[kept]
        return learn(arm, self.train.images(kept), objects, self.steps, seed)

    def ceiling(self, seed: int) -> dict[str, Any]:
        """Both halves of `val`: learn the truth of one, be scored on the other."""
        scores = []
        for half in (0, 1):
            truth = self.truth[half::2]
            objects = (255 * ((truth > 0) & (truth != 255))).astype(np.uint8)[..., None]
            f = learn(Arm(), self.images[half::2], objects, self.steps, seed)
            scores.append(self.score(f, slice(1 - half, None, 2)))
        return {name: float(np.mean([score[name] for score in scores])) for name in scores[0]}

    @torch.no_grad()
    def score(self, f: MaskNetwork, which: slice = slice(None)) -> dict[str, Any]:
        images, truth = self.images[which], self.truth[which]
        soft = f(to_tensor(images)).numpy()
        refining = Refining(find_starts(f(self.sample), self.sample), SIZE)
        refined = np.stack([refining(*pair).masks[1] for pair in zip(images, soft, strict=True)])
        (iou, accuracy), (iou_refined, accuracy_refined) = (
            ious(masks > 0.5, truth) for masks in (soft[:, 1], refined)
        )
        return {
            "iou": float(iou.mean()), "accuracy": float(accuracy.mean()),
            "refined_iou": float(iou_refined.mean()), "refined_accuracy": float(accuracy_refined.mean()),
            "below_half": float((iou_refined < 0.5).mean()), "object": float(soft[:, 1].mean()),
            "label_free": label_free_score(measure(f, self.sample)),
        }  # fmt: skip


def learn(arm: Arm, images: Arrays, objects: Arrays, steps: int, seed: int) -> MaskNetwork:
    """A student of these images (N, S, S, 3) and soft masks (N, S, S, 1), 255 on the object."""
    config = TrainConfig.of(
        data="photos", out="student", size=SIZE, batch=BATCH, f_width=arm.width, f_blocks=arm.blocks,
        lr_f=2e-3, ema_half_life=3000.0, compile="off",
    ).resolved()  # fmt: skip
    learner, random = MaskLearner(config, seed, torch.device("cpu")), torch.Generator().manual_seed(seed)
    if arm.overlap:
        learner._loss = with_overlap(learner, arm.overlap)
    for step, chosen in zip(range(steps), _batches(len(images), random), strict=False):
        masks = torch.from_numpy(objects[chosen]).permute(0, 3, 1, 2) / 127.5 - 1
        batch = torch.cat((to_tensor(images[chosen]), masks), 1)
        turned = torch.rand(len(batch), generator=random) < 0.5
        batch[turned] = batch[turned].flip(3)
        batch = batch if arm.change is None else arm.change(batch, random)
        seen, masks, weights, _ = unpack(batch, (0.02, 0.9))
        weights = weights if arm.ignored else (weights >= 0).float()
        u = torch.rand(len(batch), 2 + VIEW_NUMBERS, generator=random)
        moved = shift_pixels(torch.cat((seen, masks, weights), 1), 0.1 * (2 * u[:, :2] - 1))
        seen, masks, weights = torch.split(moved, [3, 2, 1], 1)
        seen = view(seen, u[:, 2:], torch.full((len(batch),), arm.jitter)) if arm.jitter else seen
        learner.update(seen, (masks > 0.5).float() if arm.hard else masks, weights, step)
    learner.check_finite(steps)
    return learner.f.eval()


def _batches(count: int, random: torch.Generator) -> Iterator[NDArray[np.int64]]:
    """Every image once an epoch, whole batches alone; of fewer images than a batch some come twice."""
    while True:
        order = np.resize(torch.randperm(count, generator=random).numpy(), max(count, BATCH))
        yield from (order[start : start + BATCH] for start in range(0, len(order) - BATCH + 1, BATCH))


def with_overlap(learner: MaskLearner, weight: float) -> Callable[..., Tensor]:
    """The cross-entropy and, beside it, one less the F-measure of the soft object."""

    def loss(images: Tensor, targets: Tensor, counted: Tensor, total: Tensor | None) -> Tensor:
        found = 1 - torch.sigmoid(learner.networks["f"].logits(images))
        wanted = targets[:, 1:]
        both, sums = ((counted * one).sum((1, 2, 3)) for one in (found * wanted, found + wanted))
        f_measure = (2 * both + 1) / (sums + 1)
        return learner._cross_entropy(images, targets, counted, total) + weight * (1 - f_measure).mean()

    return loss


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("teacher", type=Path)
    parser.add_argument("data")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--arms", nargs="+", default=["ceiling", *ARMS])
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--steps", type=int, default=400)
    options = parser.parse_args()
    torch.set_num_threads(1)
    study = Study(options.teacher, options.data, options.out, options.images, options.steps)
    name = Path(options.data).name
    found = {
        "data": name, "images": len(study.train), "steps": options.steps, "starts": study.teacher.starts,
        "fell_back": study.fell_back, "teacher": study.teacher.identity["weights"],
        "scored": len(study.truth),
    }  # fmt: skip
    rows = json.loads(options.json.read_text())["arms"] if options.json.is_file() else {}
    for arm in options.arms:
        if arm in rows:
            continue
        began, seed = time.monotonic(), int(arm.endswith("seed 1"))
        rows[arm] = (
            study.ceiling(seed) if arm == "ceiling" else study.score(study.learn(ARMS[arm], seed))
        ) | {"seed": seed, "seconds": round(time.monotonic() - began)}
        options.json.write_text(json.dumps(found | {"arms": rows}, indent=1) + "\n")
        print(arm, {key: round(value, 3) for key, value in rows[arm].items()}, flush=True)


if __name__ == "__main__":
    main()
