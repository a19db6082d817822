"""Table 1: accuracy and IoU on each data set, over several seeds, with the trivial rows beside."""

from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from redoseg.config import TrainConfig
from redoseg.data.dataset import open_data
from redoseg.reproduction.plots import plot_table1
from redoseg.reproduction.protocol import SETS, Experiment, PaperSet, Reported
from redoseg.reproduction.runs import train_all
from redoseg.reproduction.scoring import RULES, labelled_splits, score_run
from redoseg.reproduction.students import ROWS, distill_all, score_students
from redoseg.reproduction.tables import score_cells, summarize, summarize_scores, to_markdown, write_results

SPLITS = ("train", "val", "test")
MATCHINGS = {"per_image": "per image (the paper's)", "per_dataset": "per data set"}
AS_LABELLED = "as labelled"
TRIVIAL = {"fixed_mask": "one fixed mask", "disc": "one centred disc"}

_RULE_LABELS = {
    "best": "best (on val, with masks: the paper's)",
    "last": "last (no masks)",
    "label-free": "label-free (no masks)",
}
_COLUMNS = (
    *("set", "row", "checkpoint", "matching", "seeds", "collapses", "label-free score"),
    *(f"{split} {metric}" for split in SPLITS for metric in ("acc", "IoU")),
)


def table1(experiment: Experiment) -> Path:
    """Train, score and write. Returns the folder of result.json, table.md and figure.png."""
    runs = {name: base_runs(experiment, SETS[name]) for name in experiment.sets or SETS}
    seed_by_seed = list(chain.from_iterable(zip(*runs.values(), strict=True)))
    train_all(seed_by_seed, jobs=experiment.jobs, console=experiment.console)
    sets = {name: score_runs(SETS[name].title, SETS[name].paper, runs[name]) for name in runs}
    student = experiment.scale.student
    distill_all(seed_by_seed, student, experiment.console)
    for name, result in sets.items():
        result["students"] = _summarize_students(runs[name], result, student)
    folder = write_results(experiment, "table1", {"sets": sets}, make_table(sets))
    plot_table1(sets, folder / "figure.png")
    return folder


def base_runs(experiment: Experiment, paper_set: PaperSet) -> list[TrainConfig]:
    """A training for each seed with the scale's own options. Other experiments use the same runs."""
    return [experiment.run_config(paper_set, "base", seed) for seed in range(experiment.seeds)]


def score_runs(title: str, paper: Reported, runs: Sequence[TrainConfig]) -> dict[str, Any]:
    """Score every run of a data set: by rule, split, matching and metric a summary over the seeds."""
    dataset = open_data(runs[0])
    scores = [score_run(run, dataset) for run in runs]
    splits = labelled_splits(dataset)
    label_free = [score["rules"]["label-free"] for score in scores if "label-free" in score["rules"]]
    scored = [rule["splits"] for score in scores for rule in score["rules"].values()]
    return {
        "title": title,
        "data": dataset.describe(),
        "seeds": [run.seed for run in runs],
        "collapses": sum(score["collapses"] for score in scores),
        "failed": [score["seed"] for score in scores if score["failed"]],
        "label_free": summarize([rule["checkpoint"]["score"] for rule in label_free]),
        "rules": {rule: _summarize_rule(scores, rule, splits) for rule in RULES},
        # The trivial rows are the same for all runs: the first that was scored has them.
        "trivial": {split: {name: scored[0][split][name] for name in TRIVIAL} for split in splits if scored},
        "paper": {name: list(values) for name, values in paper.items()},
        "runs": scores,
    }


def _summarize_rule(scores: Sequence[dict[str, Any]], rule: str, splits: Sequence[str]) -> dict[str, Any]:
    """By split, matching and metric; empty where no run has a checkpoint chosen by the rule."""
    runs = [score["rules"][rule]["splits"] for score in scores if rule in score["rules"]]
    return {
        split: {matching: summarize_scores([run[split][matching] for run in runs]) for matching in MATCHINGS}
        for split in splits
        if runs
    }


def _summarize_students(
    runs: Sequence[TrainConfig], result: Mapping[str, Any], options: Mapping[str, Any]
) -> dict[str, Any]:
    """By row, split and matching summaries over the seeds that lived, in the splits that are scored."""
    splits = tuple(result["trivial"])
    lived = [run for run in runs if run.seed not in result["failed"]]
    found = [score_students(run, options, splits) for run in lived]
    return {
        row: {
            split: {
                matching: summarize_scores([rows[row][split][matching] for rows in found if rows[row]])
                for matching in next(rows[row][split] for rows in found if rows[row])
            }
            for split in splits
        }
        for row in ROWS
        if any(rows[row] for rows in found)
    }


def make_table(sets: Mapping[str, dict[str, Any]]) -> str:
    """Markdown: for each set the paper's row, ours by rule and matching, the trivial ones."""
    records: list[dict[str, Any]] = []
    for result in sets.values():
        ours = [*_our_records(result), *_student_records(result)]
        rows = [*_paper_records(result), *ours, *_trivial_records(result)]
        records += [{"set": result["title"]} | row for row in rows]
    return to_markdown(records, _COLUMNS) + "\n" + _NOTES


_NOTES = (
    "Means over images, then mean ± deviation over seeds. No mask is read in training; `best` reads those of "
    "val for its choice, so its scores on val flatter. The trivial rows are chosen with labels, on one half "
    "of a split for the other. A dash: no masks there. The label-free score "
    "(docs/method.md) needs none, but can't be compared between sets.\n"
)


def _split_cells(by_split: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    cells = [score_cells(scores, f"{split} {{}}") for split, scores in by_split.items()]
    return {heading: cell for of_split in cells for heading, cell in of_split.items()}


def _paper_records(result: dict[str, Any]) -> list[dict[str, Any]]:
    if not result["paper"]:
        return []
    reported = {
        split: {
            metric: {"mean": values[k], "deviation": values[k + 1]}
            for metric, k in (("accuracy", 0), ("iou", 2))
        }
        for split, values in result["paper"].items()
    }
    how = {"checkpoint": _RULE_LABELS["best"], "matching": MATCHINGS["per_image"], "seeds": 5}
    return [{"row": "the paper, 128 px"} | how | _split_cells(reported)]


def _our_records(result: dict[str, Any]) -> list[dict[str, Any]]:
    failed = f", {len(result['failed'])} never lived" if result["failed"] else ""
    common = {
        "row": "redoseg",
        "seeds": len(result["seeds"]),
        "collapses": f"{result['collapses']}{failed}",
        "label-free score": result["label_free"],
    }
    records = [
        common
        | {"checkpoint": _RULE_LABELS[rule], "matching": label}
        | _split_cells({split: scores[matching] for split, scores in by_split.items()})
        for rule, by_split in result["rules"].items()
        if by_split
        for matching, label in MATCHINGS.items()
    ]
    return records or [common]


def _student_records(result: dict[str, Any]) -> list[dict[str, Any]]:
    matchings = MATCHINGS | {"as_labelled": AS_LABELLED}
    return [
        {"row": ROWS[row], "checkpoint": _RULE_LABELS["last"], "matching": matchings[matching]}
        | {"seeds": len(scores["iou"]["values"])}
        | _split_cells({split: by_matching[matching] for split, by_matching in by_split.items()})
        for row, by_split in result.get("students", {}).items()  # results of 0.2 have none
        for matching, scores in next(iter(by_split.values())).items()
    ]


def _trivial_records(result: dict[str, Any]) -> list[dict[str, Any]]:
    rows = {
        text: {split: trivial[name] for split, trivial in result["trivial"].items() if trivial[name]}
        for name, text in TRIVIAL.items()
    }
    return [
        {"row": f"trivial: {text}", "matching": AS_LABELLED} | _split_cells(by_split)
        for text, by_split in rows.items()
        if by_split
    ]
