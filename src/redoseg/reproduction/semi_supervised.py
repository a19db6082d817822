"""The paper's future work: N labels alone, N labels and ReDO, ReDO alone. SEMI-SUPERVISED."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from redoseg.config import TrainConfig
from redoseg.data.dataset import open_data
from redoseg.evaluation.trivial import fixed_mask
from redoseg.files import write_folder_aside
from redoseg.models.load import load_model
from redoseg.reproduction.figure4 import unsupervised
from redoseg.reproduction.fits import drawn, fits, make_all, score_as_labelled
from redoseg.reproduction.plots import paired_points
from redoseg.reproduction.protocol import SETS, DataSet, Experiment
from redoseg.reproduction.runs import failure, train_all
from redoseg.reproduction.splits import Part, Parts, parts_of
from redoseg.reproduction.table1 import METRICS, runs_of
from redoseg.reproduction.tables import DASH, figure, leave, markdown, of_summary, summary
from redoseg.tensors import pick_device


def semi_supervised(experiment: Experiment) -> Path:
    """Train, fit, score and write. Returns the folder of result.json, table.md and figure.png."""
    sets = [SETS[name] for name in experiment.sets or ("lfw",)]
    runs = {dataset.name: labelled_runs(experiment, dataset) for dataset in sets}
    order = [run for dataset in sets for run in runs_of(experiment, dataset)]
    order += [run for of in runs.values() for by_seed in of.values() for run in by_seed]
    train_all(order, jobs=experiment.jobs, console=experiment.console)
    result = {"sets": {one.name: _result(experiment, one, runs[one.name]) for one in sets}}
    folder = experiment.folder("semi-supervised")
    leave(folder, result=experiment.described("semi-supervised") | result, table=_table(result["sets"]))
    paired_points(result["sets"], folder / "figure.png")
    return folder


def labelled_runs(experiment: Experiment, dataset: DataSet) -> dict[int, list[TrainConfig]]:
    """By N a run for each seed, with the labelled images of the draw of that number."""
    parts = parts_of(open_data(experiment.run(dataset, "base", 0)))
    few = [n for n in experiment.scale.few if n < len(parts.pool)]
    return {
        n: [
            experiment.run(
                dataset,
                f"labelled-{n}",
                seed,
                labelled=str(_folder(experiment, dataset, parts.pool, n, seed)),
            )
            for seed in range(experiment.seeds)
        ]
        for n in few
    }


def _folder(experiment: Experiment, dataset: DataSet, pool: Part, n: int, draw: int) -> Path:
    """A folder of N labelled images for --labelled, made if it isn't there."""
    folder = experiment.out / "labelled" / experiment.scale.name / dataset.name / f"n-{n}-draw-{draw}"
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        write_folder_aside(folder, lambda aside: _write_pairs(aside, pool, n, draw))
    return folder


def _write_pairs(folder: Path, pool: Part, n: int, draw: int) -> None:
    places = drawn(pool, n, draw)
    for kind, arrays in zip(("images", "masks"), pool.read(places), strict=True):
        for place, array in zip(places, arrays, strict=True):
            file = folder / kind / f"{pool.names[place]}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(file)


def _result(
    experiment: Experiment, dataset: DataSet, runs: Mapping[int, list[TrainConfig]]
) -> dict[str, Any]:
    opened = open_data(experiment.run(dataset, "base", 0))
    parts = parts_of(opened)
    alone = make_all(experiment, fits(experiment, dataset, parts, list(runs)))
    trivial = fixed_mask(parts.scored.images.labels(parts.scored.rows), opened.n)
    return {
        "title": dataset.title,
        "parts": parts.describe(),
        "labels": {
            n: {
                "alone": _over([one["scores"] for one in alone if one["n"] == n]),
                "with ReDO": _over(_scores(experiment, parts, of)),
            }
            for n, of in runs.items()
        },
        "unsupervised": unsupervised(experiment, dataset, parts.scored),
        "fixed_mask": None if trivial is None else {m: getattr(trivial, m) for m in METRICS},
    }


def _over(scores: list[dict[str, float]]) -> dict[str, Any]:
    return {metric: summary([one[metric] for one in scores]) for metric in METRICS}


def _scores(experiment: Experiment, parts: Parts, runs: list[TrainConfig]) -> list[dict[str, float]]:
    """Of the last checkpoints: no label is spent on a choice."""
    device = pick_device(experiment.device)
    return [
        score_as_labelled(load_model(run.out, device=device).f, parts.scored)
        for run in runs
        if failure(run.out) is None
    ]


def _table(sets: Mapping[str, dict[str, Any]]) -> str:
    head = ["set", "labelled images", "row", "runs", "accuracy", "IoU"]
    rows: list[list[str]] = []
    for result in sets.values():
        for n, by_row in result["labels"].items():
            for name, text in (("alone", "N labels alone"), ("with ReDO", "N labels + ReDO")):
                rows.append([result["title"], str(n), text, *_cells(by_row[name])])
        for name, level in result["unsupervised"].items():
            rows.append([result["title"], "0", f"{name}, alone", *_cells(level)])
        if result["fixed_mask"]:
            trivial = [figure(result["fixed_mask"][metric]) for metric in METRICS]
            rows.append([result["title"], "all", "trivial: one fixed mask", DASH, *trivial])
    return markdown(head, rows) + "\n" + _notes(sets)


def _cells(by_metric: Mapping[str, Any]) -> list[str]:
    found = by_metric["iou"]
    return [
        DASH if found is None else str(len(found["values"])),
        *(of_summary(by_metric[metric]) for metric in METRICS),
    ]


def _notes(sets: Mapping[str, dict[str, Any]]) -> str:
    parts = [
        f"{result['title']}: labels drawn from {result['parts']['pool']['images']:,} images of "
        f"{result['parts']['pool']['split']}, scored on {result['parts']['scored']['images']:,} of "
        f"{result['parts']['scored']['split']} with other people"
        for result in sets.values()
    ]
    return (
        "SEMI-SUPERVISED: rows with labels learn masks, and are scored as labelled. `N labels + ReDO` is "
        "`redoseg train --labelled`, its last checkpoint. `N labels alone` is f without the game, stopped "
        "early by held-out labelled images beside its N, which flatters it. ReDO alone: checkpoint "
        f"`label-free`, one matching for all images. {'. '.join(parts)}.\n"
    )
