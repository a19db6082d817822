"""f trained with N labelled images alone: the supervised side of Figure 4. SUPERVISED: masks are learned."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from redoseg.config import TrainConfig
from redoseg.data.dataset import open_data
from redoseg.evaluation.evaluate import predict
from redoseg.evaluation.metrics import as_labelled, confusion
from redoseg.files import read_json, write_json
from redoseg.networks.mask import MaskNetwork
from redoseg.reproduction.protocol import DataSet, Experiment
from redoseg.reproduction.runs import work
from redoseg.reproduction.splits import Part, Parts, parts_of
from redoseg.training.supervised import fit


@dataclass(frozen=True)
class Fit:
    """One of them: N images of the pool, the draw that chose them, the file of its result."""

    config: TrainConfig
    n: int
    draw: int
    steps: int
    file: Path


def drawn(pool: Part, n: int, draw: int) -> NDArray[np.int64]:
    """Places of N images in the pool. A draw's smaller sets lie within its larger ones."""
    return np.random.Generator(np.random.Philox(key=draw)).permutation(len(pool))[:n]


def counts(parts: Parts, labels: Sequence[int]) -> list[int]:
    """The numbers of labelled images that the pool has, and all of it."""
    return [n for n in labels if n < len(parts.pool)] + [len(parts.pool)]


def fits(experiment: Experiment, dataset: DataSet, parts: Parts, numbers: Sequence[int]) -> list[Fit]:
    config = experiment.run(dataset, "base", 0)
    folder = experiment.out / "fits" / experiment.scale.name / dataset.name
    return [
        Fit(config, n, draw, experiment.scale.fit_steps, folder / f"n-{n}-draw-{draw}.json")
        for draw in range(experiment.scale.draws)
        for n in numbers
    ]


def make_all(experiment: Experiment, wanted: Sequence[Fit]) -> list[dict[str, Any]]:
    """Make what isn't made yet; the results of all, in order."""
    left = [one for one in wanted if not one.file.is_file()]
    if left and experiment.jobs > 1:
        tasks = [partial(make, one) for one in left]
        work(tasks, jobs=experiment.jobs, console=experiment.console)
    else:
        for one in left:
            make(one)
            experiment.console.print(f"{one.file.stem}: done", highlight=False)
    return [read_json(one.file) for one in wanted]


def make(one: Fit) -> None:
    """Train, score on the part that is scored, keep the result."""
    if one.config.threads:
        torch.set_num_threads(one.config.threads)
    parts = parts_of(open_data(one.config))
    places = drawn(parts.pool, one.n, one.draw)
    fitted = fit(one.config, parts.pool.read(places), parts.stop.read(), seed=one.draw, steps=one.steps)
    write_json(
        one.file,
        {
            "n": one.n,
            "draw": one.draw,
            "step": fitted.step,
            "scores": score_as_labelled(fitted.f, parts.scored),
            "images": [parts.pool.names[place] for place in places],
        },
    )


def score_as_labelled(f: MaskNetwork, part: Part) -> dict[str, float]:
    """Nothing is matched: channel k is label k."""
    regions, _ = predict(f, part.images, part.rows)
    scores = as_labelled(confusion(regions, part.images.labels(part.rows), f.n))
    return {"iou": scores.iou, "accuracy": scores.accuracy}
