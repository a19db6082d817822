"""Which images a figure shows, drawn at random and never chosen by hand; the run that it shows them of."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from redoseg.config import Box, TrainConfig
from redoseg.data.dataset import Dataset, Split, open_data
from redoseg.data.labels import UNLABELLED
from redoseg.errors import DataError
from redoseg.evaluation.evaluate import predict
from redoseg.evaluation.metrics import as_labelled, confusion, matching, per_image
from redoseg.models.load import load_model
from redoseg.models.model import Model
from redoseg.models.run_folder import RunFolder
from redoseg.reproduction.protocol import SETS, DataSet, Experiment
from redoseg.reproduction.runs import failure, train_all
from redoseg.reproduction.scoring import labelled_splits
from redoseg.tensors import pick_device

SEED = 0
"""Of the order in which images are drawn: neither a model nor a score has a say in it."""

RULE = "last"
"""The checkpoint that pictures are made of: no mask chose it, and the generators are in it."""


@dataclass(frozen=True)
class Pool:
    """What a figure draws from: `split` is `test` if masks are there, else `val` if they are, else `train`.

    `rows` are its images with a labelled pixel, rising; all of them if it has none: then `labelled` is False.
    """

    name: str
    split: Split
    rows: NDArray[np.int64]
    labelled: bool

    def names(self, rows: NDArray[np.int64]) -> list[str]:
        return [self.split.names[row] for row in rows]


@dataclass(frozen=True)
class Shown:
    """A set, seed 0 of its runs of Table 1, and the images to draw from."""

    of: DataSet
    config: TrainConfig
    data: Dataset
    model: Model
    pool: Pool

    def boxes(self, rows: NDArray[np.int64]) -> list[Box | None]:
        """For each image the box to blur, where it is of a set that has faces in it."""
        return [source.blur for source in self.sources(rows)]

    def sources(self, rows: NDArray[np.int64]) -> list[DataSet]:
        """For each image the set that it's from. Where its name doesn't tell, the union, faces and all."""
        if len(self.of.parts) == 1:
            return [self.of] * len(rows)
        stems = self.data.name.split(" + ")
        known = {stem: SETS[part] for stem, part in zip(stems, self.of.parts, strict=False)}
        sure = len(known) == len(stems) == len(self.of.parts)
        names = self.pool.names(rows)
        return [known.get(name.partition("/")[0], self.of) if sure else self.of for name in names]

    def describe(self, experiment: Experiment) -> dict[str, Any]:
        """For result.json."""
        return {
            "title": self.of.title,
            "run": self.config.out.relative_to(experiment.out).as_posix(),
            "checkpoint": self.model.checkpoint,
            "data": self.data.name,
            "split": self.pool.name,
            "drawn_from": len(self.pool.rows),
            "masks": self.pool.labelled,
            "rows_seed": SEED,
        }


def shown_sets(experiment: Experiment, names: Sequence[str]) -> tuple[list[Shown], dict[str, str]]:
    """The runs, trained now if they aren't yet; by set, why its run never lived.

    DataError if the data isn't what a run was trained on.
    """
    sets = [SETS[name] for name in names]
    runs = [experiment.run(dataset, "base", 0) for dataset in sets]
    train_all(runs, jobs=experiment.jobs, console=experiment.console)
    reasons = {dataset.name: failure(run.out) for dataset, run in zip(sets, runs, strict=True)}
    lived = [
        _shown(dataset, run) for dataset, run in zip(sets, runs, strict=True) if reasons[dataset.name] is None
    ]
    return lived, {name: reason for name, reason in reasons.items() if reason is not None}


def _shown(of: DataSet, config: TrainConfig) -> Shown:
    data, run = open_data(config), RunFolder(config.out)
    if run.fingerprint() != data.fingerprint:
        raise DataError(f"the data has changed since {run.path} was trained: bring back the same files")
    model = load_model(run.path, checkpoint=RULE, device=pick_device(config.device))
    return Shown(of, config, data, model, pool_of(data))


def pool_of(dataset: Dataset) -> Pool:
    """As `Pool` says."""
    with_masks = labelled_splits(dataset)
    name = next((name for name in ("test", "val", "train") if name in with_masks), "train")
    split = dataset.split(name)
    if name not in with_masks:
        return Pool(name, split, np.arange(len(split)), False)
    rows = split.labelled
    return Pool(name, split, rows[(split.labels(rows) != UNLABELLED).any((1, 2))], True)


def shuffled(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """In an order that SEED and their number alone decide."""
    return rows[np.random.Generator(np.random.Philox(key=SEED)).permutation(len(rows))]


@dataclass(frozen=True)
class Scored:
    """Each of a pool's N images, scored.

    `labels` (N, S, S): its regions under the one matching of the data set, `label_of_region` (n,). `accuracy`
    and `iou` (N,) are under that one, the `best_` ones under each image's own.
    """

    labels: NDArray[np.uint8]
    label_of_region: NDArray[np.intp]
    accuracy: NDArray[np.float64]
    iou: NDArray[np.float64]
    best_accuracy: NDArray[np.float64]
    best_iou: NDArray[np.float64]

    def means(self) -> dict[str, dict[str, float]]:
        """The scores of all by matching: what `redoseg evaluate` says of the split."""
        return _by_matching(*map(np.mean, (self.accuracy, self.iou, self.best_accuracy, self.best_iou)))

    def both(self, place: int) -> dict[str, dict[str, float]]:
        """The scores of one image by matching."""
        scores = (self.accuracy, self.iou, self.best_accuracy, self.best_iou)
        return _by_matching(*(values[place] for values in scores))


def _by_matching(*scores: np.floating[Any]) -> dict[str, dict[str, float]]:
    pairs = {"per_dataset": scores[:2], "per_image": scores[2:]}
    return {name: {"accuracy": float(pair[0]), "iou": float(pair[1])} for name, pair in pairs.items()}


def scored_pool(model: Model, pool: Pool) -> Scored:
    """Every labelled image of the pool, in its order."""
    n = model.f.n
    regions = predict(model.f, pool.split, pool.rows)[0]
    counts = confusion(regions, pool.split.labels(pool.rows), n)
    label_of_region = matching(counts.sum(0))
    matched = counts[:, np.argsort(label_of_region)]
    ours = [as_labelled(matched[k : k + 1]) for k in range(len(counts))]
    best = [per_image(counts[k : k + 1]) for k in range(len(counts))]
    return Scored(
        labels=label_of_region.astype(np.uint8)[regions],
        label_of_region=label_of_region,
        accuracy=np.array([one.accuracy for one in ours]),
        iou=np.array([one.iou for one in ours]),
        best_accuracy=np.array([one.accuracy for one in best]),
        best_iou=np.array([one.iou for one in best]),
    )
