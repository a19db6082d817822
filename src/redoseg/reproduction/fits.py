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
from redoseg.reproduction.protocol import Experiment, PaperSet
from redoseg.reproduction.runs import run_in_processes
from redoseg.reproduction.splits import Part, Parts, divide_labelled
from redoseg.training import supervised


@dataclass(frozen=True)
class Fit:
    """A training of f with N images of the pool, chosen by draw number `draw`; `file` takes its result."""

    config: TrainConfig
    n: int
    draw: int
    steps: int
    file: Path


def draw_places(pool: Part, n: int, draw: int) -> NDArray[np.int64]:
    """Places of N images in the pool, at random. A draw's smaller sets lie within its larger ones."""
    return np.random.Generator(np.random.Philox(key=draw)).permutation(len(pool))[:n]


def label_counts(parts: Parts, labels: Sequence[int]) -> list[int]:
    """Those of the numbers `labels` that are smaller than the pool, and the size of the pool."""
    return [n for n in labels if n < len(parts.pool)] + [len(parts.pool)]


def run_fits(experiment: Experiment, paper_set: PaperSet, numbers: Sequence[int]) -> list[dict[str, Any]]:
    """Run those fits that have no result yet: for each draw one with each number of labelled images.

    Returns the results of all, as `run_fit` writes them.
    """
    config = experiment.run_config(paper_set, "base", 0)
    folder = experiment.out / "fits" / experiment.scale.name / paper_set.name
    fits = [
        Fit(config, n, draw, experiment.scale.fit_steps, folder / f"n-{n}-draw-{draw}.json")
        for draw in range(experiment.scale.draws)
        for n in numbers
    ]
    missing = [fit for fit in fits if not fit.file.is_file()]
    if missing and experiment.jobs > 1:
        tasks = [partial(run_fit, fit) for fit in missing]
        run_in_processes(tasks, jobs=experiment.jobs, console=experiment.console)
    else:
        for fit in missing:
            run_fit(fit)
            experiment.console.print(f"{fit.file.stem}: done", highlight=False)
    return [read_json(fit.file) for fit in fits]


def run_fit(fit: Fit) -> None:
    """Train f, score it on the part that is scored and write the result."""
    if fit.config.threads:
        torch.set_num_threads(fit.config.threads)
    parts = divide_labelled(open_data(fit.config))
    places = draw_places(parts.pool, fit.n, fit.draw)
    fitted = supervised.fit(
        fit.config, parts.pool.read(places), parts.stop.read(), seed=fit.draw, steps=fit.steps
    )
    write_json(
        fit.file,
        {
            "n": fit.n,
            "draw": fit.draw,
            "step": fitted.step,
            "scores": score_as_labelled(fitted.f, parts.scored),
            "images": [parts.pool.names[place] for place in places],
        },
    )


def score_as_labelled(f: MaskNetwork, part: Part) -> dict[str, float]:
    """The scores of f on a part without any matching: channel k is label k."""
    regions, _ = predict(f, part.images, part.rows)
    scores = as_labelled(confusion(regions, part.images.labels(part.rows), f.n))
    return {"iou": scores.iou, "accuracy": scores.accuracy}
