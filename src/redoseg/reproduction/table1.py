"""Table 1: accuracy and IoU on each data set, over several seeds, with the trivial rows beside."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from redoseg.config import TrainConfig
from redoseg.data.dataset import open_data
from redoseg.reproduction.plots import bars
from redoseg.reproduction.protocol import SETS, DataSet, Experiment, Reported
from redoseg.reproduction.runs import train_all
from redoseg.reproduction.scoring import RULES, labelled_splits, run_scores
from redoseg.reproduction.tables import DASH, figure, leave, markdown, of_summary, summary

SPLITS = ("train", "val", "test")
MATCHINGS = ("per_image", "per_dataset")
TRIVIAL = {"fixed_mask": "one fixed mask", "disc": "one centred disc"}
METRICS = ("accuracy", "iou")

_RULES = {
    "best": "best (on val, with masks: the paper's)",
    "last": "last (no masks)",
    "label-free": "label-free (no masks)",
}
_MATCHINGS = {"per_image": "per image (the paper's)", "per_dataset": "per data set"}


def table1(experiment: Experiment) -> Path:
    """Train, score and write. Returns the folder of result.json, table.md and figure.png."""
    runs = {name: runs_of(experiment, SETS[name]) for name in experiment.sets or SETS}
    by_seed = [run for of in zip(*runs.values(), strict=True) for run in of]
    train_all(by_seed, jobs=experiment.jobs, console=experiment.console)
    result = {"sets": {name: set_result(SETS[name], of) for name, of in runs.items()}}
    folder = experiment.folder("table1")
    leave(folder, result=experiment.described("table1") | result, table=table(result["sets"]))
    bars(result["sets"], folder / "figure.png")
    return folder


def runs_of(experiment: Experiment, dataset: DataSet) -> list[TrainConfig]:
    """A training for each seed. Other experiments use the same ones."""
    return [experiment.run(dataset, "base", seed) for seed in range(experiment.seeds)]


def set_result(dataset: DataSet, runs: Sequence[TrainConfig]) -> dict[str, Any]:
    """As `scored_result`."""
    return scored_result(dataset.title, dataset.paper, runs)


def scored_result(title: str, paper: Reported, runs: Sequence[TrainConfig]) -> dict[str, Any]:
    """What the runs give: by rule, split, matching and metric a summary over the seeds."""
    opened = open_data(runs[0])
    scores = [run_scores(run, opened) for run in runs]
    splits = labelled_splits(opened)
    return {
        "title": title,
        "data": opened.describe(),
        "seeds": [run.seed for run in runs],
        "collapses": sum(score["collapses"] for score in scores),
        "failed": [score["seed"] for score in scores if score["failed"]],
        "label_free": summary(_label_free(scores)),
        "rules": {rule: _by_split(scores, rule, splits) for rule in RULES},
        "trivial": _trivial(scores, splits),
        "paper": {name: list(values) for name, values in paper.items()},
        "runs": scores,
    }


def _by_split(scores: Sequence[dict[str, Any]], rule: str, splits: Sequence[str]) -> dict[str, Any]:
    found = [score["rules"][rule]["splits"] for score in scores if rule in score["rules"]]
    return {
        split: {
            matching: {metric: summary([run[split][matching][metric] for run in found]) for metric in METRICS}
            for matching in MATCHINGS
        }
        for split in splits
        if found
    }


def _label_free(scores: Sequence[dict[str, Any]]) -> list[float]:
    """What the checkpoints that it chose score without labels."""
    rules = [score["rules"]["label-free"] for score in scores if "label-free" in score["rules"]]
    return [rule["checkpoint"]["score"] for rule in rules]


def _trivial(scores: Sequence[dict[str, Any]], splits: Sequence[str]) -> dict[str, Any]:
    """Rows that don't depend on the run: of the first one that was scored."""
    scored = [rule["splits"] for score in scores for rule in score["rules"].values()]
    return {split: {name: scored[0][split][name] for name in TRIVIAL} for split in splits if scored}


def table(sets: dict[str, dict[str, Any]]) -> str:
    """Markdown: for each set the paper's row, ours by rule and matching, the trivial ones."""
    head = ["set", "row", "checkpoint", "matching", "seeds", "collapses", "label-free score"]
    head += [f"{split} {name}" for split in SPLITS for name in ("acc", "IoU")]
    rows: list[list[str]] = []
    for result in sets.values():
        rows += [_paper_row(result)] if result["paper"] else []
        rows += [*_our_rows(result), *_trivial_rows(result)]
    return markdown(head, rows) + "\n" + _NOTES


_NOTES = (
    "Means over images, then mean ± deviation over seeds. No mask is read in training; `best` reads those of "
    "val for its choice, so its scores on val flatter. The trivial rows are chosen with labels, on one half "
    "of a split for the other. A dash: no masks there. The label-free score "
    "(docs/method.md) needs none, but can't be compared between sets.\n"
)


def _paper_row(result: dict[str, Any]) -> list[str]:
    paper = result["paper"]
    cells = [
        figure(*paper[split][2 * k : 2 * k + 2]) if split in paper else DASH
        for split in SPLITS
        for k in range(2)
    ]
    return [
        result["title"],
        "the paper, 128 px",
        _RULES["best"],
        _MATCHINGS["per_image"],
        "5",
        DASH,
        DASH,
        *cells,
    ]


def _our_rows(result: dict[str, Any]) -> list[list[str]]:
    seeds, collapses = str(len(result["seeds"])), str(result["collapses"])
    collapses += f", {len(result['failed'])} never lived" if result["failed"] else ""
    told = [seeds, collapses, of_summary(result["label_free"])]
    rows = []
    for rule, by_split in result["rules"].items():
        for matching in MATCHINGS if by_split else ():
            cells = [
                of_summary(by_split[split][matching][metric]) if split in by_split else DASH
                for split in SPLITS
                for metric in METRICS
            ]
            row = [result["title"], "redoseg", _RULES[rule], _MATCHINGS[matching], *told]
            rows.append([*row, *cells])
    if not rows:
        rows = [[result["title"], "redoseg", DASH, DASH, *told, *[DASH] * 6]]
    return rows


def _trivial_rows(result: dict[str, Any]) -> list[list[str]]:
    rows = []
    for name, text in TRIVIAL.items():
        cells = [
            figure(result["trivial"][split][name][metric])
            if result["trivial"].get(split, {}).get(name)
            else DASH
            for split in SPLITS
            for metric in METRICS
        ]
        if set(cells) != {DASH}:
            rows.append([result["title"], f"trivial: {text}", DASH, "as labelled", DASH, DASH, DASH, *cells])
    return rows
