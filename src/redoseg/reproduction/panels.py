"""What a figure shows: a run, and images taken at random, never chosen by hand, with their scores."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from redoseg.config import Box, TrainConfig
from redoseg.data.dataset import Dataset, Split, open_data
from redoseg.data.labels import UNLABELLED
from redoseg.errors import DataError
from redoseg.evaluation.evaluate import predict
from redoseg.evaluation.metrics import as_labelled, confusion, matching, per_image
from redoseg.figures.pages import reduce_colours, stack_blocks
from redoseg.files import write_aside
from redoseg.models.load import load_model
from redoseg.models.model import Model
from redoseg.models.run_folder import RunFolder
from redoseg.reproduction.protocol import SETS, Experiment, PaperSet
from redoseg.reproduction.runs import failure_reason, train_all
from redoseg.reproduction.scoring import labelled_splits
from redoseg.reproduction.tables import write_results
from redoseg.tensors import pick_device

SEED = 0
"""Decides the order of images: it depends neither on a model nor on a score."""

RULE = "last"
"""The checkpoint that pictures are made with: no mask chose it, and it holds the generators."""


@dataclass(frozen=True)
class Pool:
    """The images that a figure may show: of `test` if it has masks, else of `val` if it has, else of `train`.

    `rows` are the images with a labelled pixel, rising; if none has one, `labelled` is False and `rows` all.
    """

    name: str
    split: Split
    rows: NDArray[np.int64]
    labelled: bool

    def names(self, rows: NDArray[np.int64]) -> list[str]:
        return [self.split.names[row] for row in rows]


@dataclass(frozen=True)
class FigureRun:
    """Table 1's run with seed 0 on a set of the paper, its model, and the images that may be shown."""

    paper_set: PaperSet
    config: TrainConfig
    dataset: Dataset
    model: Model
    pool: Pool

    def blur_boxes(self, rows: NDArray[np.int64]) -> list[Box | None]:
        """For each image the box to blur; None where it comes from a set without faces."""
        return [source.blur for source in self.sources(rows)]

    def sources(self, rows: NDArray[np.int64]) -> list[PaperSet]:
        """For each image its set, with which its name begins in a union; else the union, which has faces."""
        union = self.paper_set
        stems = self.dataset.name.split(" + ")
        known = {stem: SETS[part] for stem, part in zip(stems, union.parts, strict=False)}
        if len(union.parts) == 1 or not len(known) == len(stems) == len(union.parts):
            return [union] * len(rows)
        return [known.get(name.partition("/")[0], union) for name in self.pool.names(rows)]

    def describe(self, experiment: Experiment) -> dict[str, Any]:
        """What is shown, as result.json has it."""
        return {
            "title": self.paper_set.title,
            "run": self.config.out.relative_to(experiment.out).as_posix(),
            "checkpoint": self.model.checkpoint,
            "data": self.dataset.name,
            "split": self.pool.name,
            "drawn_from": len(self.pool.rows),
            "masks": self.pool.labelled,
            "rows_seed": SEED,
        }


def load_figure_runs(experiment: Experiment, names: Sequence[str]) -> tuple[list[FigureRun], dict[str, str]]:
    """Train what isn't yet. Returns the runs that lived, and by set why its run didn't. DataError if the data
    isn't what a run was trained on."""
    configs = {name: experiment.run_config(SETS[name], "base", 0) for name in names}
    train_all(list(configs.values()), jobs=experiment.jobs, console=experiment.console)
    reasons = {name: failure_reason(config.out) for name, config in configs.items()}
    runs = [_load_run(SETS[name], configs[name]) for name, reason in reasons.items() if reason is None]
    return runs, {name: reason for name, reason in reasons.items() if reason is not None}


def _load_run(paper_set: PaperSet, config: TrainConfig) -> FigureRun:
    dataset, folder = open_data(config), RunFolder(config.out)
    if not dataset.is_the_one(folder.fingerprint()):
        raise DataError(f"the data has changed since {folder.path} was trained: bring back the same files")
    model = load_model(folder.path, checkpoint=RULE, device=pick_device(config.device))
    return FigureRun(paper_set, config, dataset, model, choose_pool(dataset))


def write_figure(
    experiment: Experiment,
    name: str,
    *,
    sets: Mapping[str, dict[str, Any]],
    failed: Mapping[str, str],
    table: str,
    pictures: Sequence[tuple[str, Image]],
) -> Path:
    """Write result.json, table.md and, of pictures under their titles, figure.png. Returns the folder."""
    folder = write_results(experiment, name, {"seeds": 1, "sets": sets, "failed": failed}, table)
    if pictures:
        page = reduce_colours(stack_blocks(pictures))
        write_aside(folder / "figure.png", lambda aside: page.save(aside, "PNG", optimize=True))
    return folder


def set_cells(result: Mapping[str, Any]) -> dict[str, str]:
    """The cells that a set has in every row of a table: its name, the split, the checkpoint."""
    chosen = result["checkpoint"]
    checkpoint = f"{chosen['rule']}, step {chosen['step']:,}"
    return {"set": result["title"], "split": result["split"], "checkpoint": checkpoint}


def choose_pool(dataset: Dataset) -> Pool:
    """Choose the split and the images that a figure may show (see `Pool`)."""
    with_masks = labelled_splits(dataset)
    name = next((name for name in ("test", "val", "train") if name in with_masks), "train")
    split, rows = dataset.split(name), dataset.split(name).labelled
    if name not in with_masks:
        return Pool(name, split, np.arange(len(split)), False)
    return Pool(name, split, rows[(split.labels(rows) != UNLABELLED).any((1, 2))], True)


def shuffle(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """The rows in an order that depends on SEED and on how many they are alone."""
    return rows[np.random.Generator(np.random.Philox(key=SEED)).permutation(len(rows))]


@dataclass(frozen=True)
class PoolScores:
    """The scores of each of a pool's N images.

    `labels` (N, S, S): the regions under one matching for the whole data set, `label_of_region` (n,).
    `accuracy` and `iou` (N,) are under that matching, `best_accuracy` and `best_iou` under each image's own.
    """

    labels: NDArray[np.uint8]
    label_of_region: NDArray[np.intp]
    accuracy: NDArray[np.float64]
    iou: NDArray[np.float64]
    best_accuracy: NDArray[np.float64]
    best_iou: NDArray[np.float64]

    def means(self) -> dict[str, dict[str, float]]:
        """By matching and metric the means over all images: what `redoseg evaluate` gives for the split."""
        return self._by_matching(np.mean)

    def of_image(self, place: int) -> dict[str, dict[str, float]]:
        """By matching and metric the scores of one image."""
        return self._by_matching(lambda values: values[place])

    def _by_matching(self, pick: Callable[[NDArray[np.float64]], Any]) -> dict[str, dict[str, float]]:
        return {
            "per_dataset": {"accuracy": float(pick(self.accuracy)), "iou": float(pick(self.iou))},
            "per_image": {"accuracy": float(pick(self.best_accuracy)), "iou": float(pick(self.best_iou))},
        }


def score_pool(model: Model, pool: Pool) -> PoolScores:
    """Score every labelled image of the pool, in its order."""
    n = model.f.n
    regions = predict(model.f, pool.split, pool.rows)[0]
    counts = confusion(regions, pool.split.labels(pool.rows), n)
    label_of_region = matching(counts.sum(0))
    matched = counts[:, np.argsort(label_of_region)]
    one = [as_labelled(matched[k : k + 1]) for k in range(len(counts))]
    own = [per_image(counts[k : k + 1]) for k in range(len(counts))]
    return PoolScores(
        labels=label_of_region.astype(np.uint8)[regions],
        label_of_region=label_of_region,
        accuracy=np.array([scores.accuracy for scores in one]),
        iou=np.array([scores.iou for scores in one]),
        best_accuracy=np.array([scores.accuracy for scores in own]),
        best_iou=np.array([scores.iou for scores in own]),
    )
