"""f trained with N labelled images alone: the supervised side of Figure 4. SUPERVISED: masks are learned."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from redoseg.config import TrainConfig
from redoseg.data.dataset import open_data
from redoseg.evaluation.evaluate import predict
from redoseg.evaluation.metrics import Scores, as_labelled, confusion
from redoseg.files import read_json, write_json
from redoseg.networks.mask import MaskNetwork
from redoseg.reproduction.protocol import Experiment, PaperSet
from redoseg.reproduction.runs import run_in_processes
from redoseg.reproduction.splits import Part, Parts, divide_labelled
from redoseg.tensors import limit_threads
from redoseg.training import supervised


def draw_places(pool: Part, n: int, draw: int) -> NDArray[np.int64]:
    """Places of N images in the pool, at random. A draw's smaller sets lie within its larger ones."""
    return np.random.Generator(np.random.Philox(key=draw)).permutation(len(pool))[:n]


def label_counts(parts: Parts, labels: Sequence[int]) -> list[int]:
    """Those of the numbers `labels` that are smaller than the pool, and the size of the pool."""
    return [n for n in labels if n < len(parts.pool)] + [len(parts.pool)]


def run_fits(experiment: Experiment, paper_set: PaperSet, numbers: Sequence[int]) -> list[dict[str, Any]]:
    """The results of f trained with each number of labelled images, for each draw one; kept in files."""
    config, scale = experiment.run_config(paper_set, "base", 0), experiment.scale
    folder = experiment.out / "fits" / scale.name / paper_set.name
    fits = {folder / f"n-{n}-draw-{draw}.json": (n, draw) for draw in range(scale.draws) for n in numbers}
    tasks = {
        file.stem: partial(run_fit, config, n, draw, steps=scale.fit_steps, file=file)
        for file, (n, draw) in fits.items()
        if not file.is_file()
    }
    if tasks and experiment.jobs > 1:
        run_in_processes(list(tasks.values()), jobs=experiment.jobs, console=experiment.console)
    else:
        for name, task in tasks.items():
            task()
            experiment.console.print(f"{name}: done", highlight=False)
    return [read_json(file) for file in fits]


def run_fit(config: TrainConfig, n: int, draw: int, *, steps: int, file: Path) -> None:
    """Train f with N images of the pool, chosen by draw number `draw`, score it and write the result."""
    limit_threads(config.threads)
    parts = divide_labelled(open_data(config))
    places = draw_places(parts.pool, n, draw)
    labelled, held_out = parts.pool.read(places), parts.stop.read()
    fitted = supervised.fit(config, labelled, held_out, seed=draw, steps=steps)
    scores, images = score_part(fitted.f, parts.scored), [parts.pool.names[place] for place in places]
    write_json(file, {"n": n, "draw": draw, "step": fitted.step, "scores": scores, "images": images})


def score_part(
    f: MaskNetwork, part: Part, score: Callable[[NDArray[np.int64]], Scores] = as_labelled
) -> dict[str, float]:
    """The scores of f on a part: without any matching (channel k is label k), or with that of `score`."""
    regions, _ = predict(f, part.images, part.rows)
    scores = score(confusion(regions, part.images.labels(part.rows), f.n))
    return {"iou": scores.iou, "accuracy": scores.accuracy}
