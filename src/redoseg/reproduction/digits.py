"""colored-2-MNIST, the paper's sanity check: two digits and a background, three regions."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL.Image import Image

from redoseg.config import TrainConfig
from redoseg.data.dataset import Dataset, open_data
from redoseg.data.mnist import missing_files
from redoseg.figures.tiles import sample_grid
from redoseg.files import write_aside
from redoseg.models.load import load_model
from redoseg.redrawing.redraw import redraw_grid, sample_codes
from redoseg.reproduction.protocol import Experiment
from redoseg.reproduction.runs import failure_reason, train_all
from redoseg.reproduction.table1 import make_table, score_runs
from redoseg.reproduction.tables import write_results
from redoseg.tensors import pick_device, to_tensor

_ROWS, _CODES, _SEED = 8, 3, 0


def digits(experiment: Experiment) -> Path:
    """Train, score and write. Returns the folder of result.json, table.md and figure.png."""
    runs = [_run_config(experiment, seed) for seed in range(experiment.seeds)]
    train_all(runs, jobs=experiment.jobs, console=experiment.console)
    sets = {"digits": score_runs("colored-2-MNIST", {}, runs)}
    folder = write_results(experiment, "digits", {"sets": sets}, make_table(sets))
    completed = next((run for run in runs if failure_reason(run.out) is None), None)
    if completed is not None:
        picture = _make_picture(completed, open_data(completed))
        write_aside(folder / "figure.png", lambda aside: picture.save(aside, "PNG"))
    return folder


def _run_config(experiment: Experiment, seed: int) -> TrainConfig:
    """With MNIST's own digits where they are under the root, else with scikit-learn's."""
    scale = experiment.scale
    mnist = experiment.root / "mnist"
    options: dict[str, Any] = {"n": 3, "code_size": 16} | dict(scale.options) | dict(scale.digits)
    return TrainConfig.of(
        recipe=scale.recipe,
        settings="digits" if scale.recipe != "default" else "none",
        data=("digits",),
        mnist=None if missing_files(mnist) else mnist,
        out=experiment.out / "runs" / scale.name / "digits" / "base" / f"seed-{seed}",
        seed=seed,
        device=experiment.device,
        **options,
    ).resolved()


def _make_picture(config: TrainConfig, dataset: Dataset) -> Image:
    """Scenes of `val` not chosen by hand: input, truth, mask, each region redrawn with the same codes."""
    model = load_model(config.out, device=pick_device(config.device))
    split = dataset.split("val")
    rows = np.random.Generator(np.random.Philox(key=_SEED)).permutation(len(split))[:_ROWS]
    codes = sample_codes(config.n, _CODES, config.code_size, seed=_SEED)
    truth = torch.from_numpy(split.labels(rows))
    images = to_tensor(split.images(rows), model.f.order.device)
    return sample_grid(redraw_grid(model.f, model.generators, images, codes, truth))
