"""The paper's future work: N labels alone, N labels and ReDO, ReDO alone. SEMI-SUPERVISED."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from redoseg.config import TrainConfig
from redoseg.data.dataset import open_data
from redoseg.files import write_folder_aside
from redoseg.models.load import load_model
from redoseg.reproduction.figure4 import score_fixed_mask, score_unsupervised
from redoseg.reproduction.fits import draw_places, run_fits, score_part
from redoseg.reproduction.plots import plot_semi_supervised
from redoseg.reproduction.protocol import SETS, Experiment, PaperSet
from redoseg.reproduction.runs import failure_reason, train_all
from redoseg.reproduction.splits import Part, divide_labelled
from redoseg.reproduction.table1 import base_runs
from redoseg.reproduction.tables import score_cells, summarize_scores, to_markdown, write_results
from redoseg.tensors import pick_device

_COLUMNS = ("set", "labelled images", "row", "runs", "accuracy", "IoU")


def semi_supervised(experiment: Experiment) -> Path:
    """Train, fit, score and write. Returns the folder of result.json, table.md and figure.png."""
    paper_sets = [SETS[name] for name in experiment.sets or ("lfw",)]
    labelled = {paper_set.name: labelled_runs(experiment, paper_set) for paper_set in paper_sets}
    runs = [run for paper_set in paper_sets for run in base_runs(experiment, paper_set)]
    runs += [run for by_number in labelled.values() for seeds in by_number.values() for run in seeds]
    train_all(runs, jobs=experiment.jobs, console=experiment.console)
    sets = {name: _fit_and_score(experiment, SETS[name], by_number) for name, by_number in labelled.items()}
    folder = write_results(experiment, "semi-supervised", {"sets": sets}, make_table(sets))
    plot_semi_supervised(sets, folder / "figure.png")
    return folder


def labelled_runs(experiment: Experiment, paper_set: PaperSet) -> dict[int, list[TrainConfig]]:
    """By N a run for each seed, with N labelled images from the draw of the seed's number."""
    pool = divide_labelled(open_data(experiment.run_config(paper_set, "base", 0))).pool

    def run_config(n: int, seed: int) -> TrainConfig:
        folder = _labelled_folder(experiment, paper_set, pool, n, seed)
        return experiment.run_config(paper_set, f"labelled-{n}", seed, labelled=str(folder))

    numbers = [n for n in experiment.scale.few if n < len(pool)]
    return {n: [run_config(n, seed) for seed in range(experiment.seeds)] for n in numbers}


def _labelled_folder(experiment: Experiment, paper_set: PaperSet, pool: Part, n: int, draw: int) -> Path:
    """A folder of N labelled images for --labelled, made if it isn't there."""
    folder = experiment.out / "labelled" / experiment.scale.name / paper_set.name / f"n-{n}-draw-{draw}"
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        write_folder_aside(folder, lambda aside: _write_pairs(aside, pool, n, draw))
    return folder


def _write_pairs(folder: Path, pool: Part, n: int, draw: int) -> None:
    places = draw_places(pool, n, draw)
    for kind, arrays in zip(("images", "masks"), pool.read(places), strict=True):
        for place, array in zip(places, arrays, strict=True):
            file = folder / kind / f"{pool.names[place]}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(file)


def _fit_and_score(
    experiment: Experiment, paper_set: PaperSet, runs: Mapping[int, list[TrainConfig]]
) -> dict[str, Any]:
    dataset = open_data(experiment.run_config(paper_set, "base", 0))
    parts = divide_labelled(dataset)
    fits, device = run_fits(experiment, paper_set, list(runs)), pick_device(experiment.device)
    return {
        "title": paper_set.title,
        "parts": parts.describe(),
        "labels": {
            n: {
                "alone": summarize_scores([fit["scores"] for fit in fits if fit["n"] == n]),
                "with ReDO": summarize_scores(_score_labelled_runs(seeds, parts.scored, device)),
            }
            for n, seeds in runs.items()
        },
        "unsupervised": score_unsupervised(experiment, paper_set, parts.scored),
        "fixed_mask": score_fixed_mask(parts.scored, dataset.n),
    }


def _score_labelled_runs(runs: list[TrainConfig], part: Part, device: torch.device) -> list[dict[str, float]]:
    """Scores of the last checkpoints: no label is spent on a choice among them."""
    complete = [run for run in runs if failure_reason(run.out) is None]
    return [score_part(load_model(run.out, device=device).f, part) for run in complete]


def make_table(sets: Mapping[str, dict[str, Any]]) -> str:
    """Markdown: for each set and N f alone and with ReDO; ReDO alone; the fixed mask."""
    records: list[dict[str, Any]] = []
    for result in sets.values():
        rows = [
            (str(n), label, by_row[name])
            for n, by_row in result["labels"].items()
            for name, label in (("alone", "N labels alone"), ("with ReDO", "N labels + ReDO"))
        ]
        rows += [("0", f"{name}, alone", level) for name, level in result["unsupervised"].items()]
        if result["fixed_mask"]:
            rows += [("all", "trivial: one fixed mask", result["fixed_mask"])]
        for n, row, scores in rows:
            iou = scores["iou"]  # the fixed mask's is a number, of no run
            cells = {"runs": len(iou["values"]) if isinstance(iou, dict) else None}
            cells |= score_cells(scores, accuracy="accuracy")
            records.append({"set": result["title"], "labelled images": n, "row": row} | cells)
    return to_markdown(records, _COLUMNS) + "\n" + _make_notes(sets)


def _make_notes(sets: Mapping[str, dict[str, Any]]) -> str:
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
