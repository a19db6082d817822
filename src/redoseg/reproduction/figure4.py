"""Figure 4: the same f trained with N labelled images. How many are needed to reach what none gives?"""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from redoseg.data.dataset import open_data
from redoseg.evaluation.metrics import per_dataset
from redoseg.evaluation.trivial import fixed_mask
from redoseg.models.load import load_model
from redoseg.reproduction import tables
from redoseg.reproduction.fits import label_counts, run_fits, score_part
from redoseg.reproduction.plots import plot_figure4
from redoseg.reproduction.protocol import SETS, Experiment, PaperSet
from redoseg.reproduction.runs import failure_reason, train_all
from redoseg.reproduction.splits import Part, divide_labelled
from redoseg.reproduction.table1 import base_runs
from redoseg.reproduction.tables import DASH, METRICS
from redoseg.tensors import pick_device

_COLUMNS = ("set", "row", "labelled images", "accuracy", "IoU", "IoU reached by f with so many labels")


def figure4(experiment: Experiment) -> Path:
    """Train, fit, score and write. Returns the folder of result.json, table.md and figure.png."""
    paper_sets = [SETS[name] for name in experiment.sets or experiment.scale.labelled_sets]
    runs = [run for paper_set in paper_sets for run in base_runs(experiment, paper_set)]
    train_all(runs, jobs=experiment.jobs, console=experiment.console)
    sets = {paper_set.name: _fit_and_score(experiment, paper_set) for paper_set in paper_sets}
    folder = tables.write_results(experiment, "figure4", {"sets": sets}, make_table(sets))
    plot_figure4(sets, folder / "figure.png")
    return folder


def _fit_and_score(experiment: Experiment, paper_set: PaperSet) -> dict[str, Any]:
    dataset = open_data(experiment.run_config(paper_set, "base", 0))
    parts = divide_labelled(dataset)
    numbers = label_counts(parts, experiment.scale.labels)
    fits = run_fits(experiment, paper_set, numbers)
    curve = {n: tables.summarize_scores([fit["scores"] for fit in fits if fit["n"] == n]) for n in numbers}
    levels = score_unsupervised(experiment, paper_set, parts.scored)
    return {
        "title": paper_set.title,
        "parts": parts.describe(),
        "supervised": curve,
        "unsupervised": levels,
        "crossings": {
            name: {metric: find_crossing(curve, metric, level[metric]) for metric in METRICS}
            for name, level in levels.items()
        },
        "fixed_mask": score_fixed_mask(parts.scored, dataset.n),
        "fits": fits,
    }


def score_unsupervised(experiment: Experiment, paper_set: PaperSet, part: Part) -> dict[str, dict[str, Any]]:
    """Score Table 1's runs (`label-free`) and the scale's shipped model on a part, each by one matching."""
    runs = [run for run in base_runs(experiment, paper_set) if failure_reason(run.out) is None]
    device = pick_device(experiment.device)
    models = (load_model(run.out, checkpoint="label-free", device=device) for run in runs)
    levels = {"ReDO": tables.summarize_scores([score_part(model.f, part, per_dataset) for model in models])}
    shipped = experiment.scale.shipped.get(paper_set.name)
    if shipped:
        f = load_model(shipped, device=device).f
        distilled = score_part(f, _at_size(f.size, part, experiment, paper_set), per_dataset)
        levels[f"ReDO distilled ({shipped})"] = tables.summarize_scores([distilled])
    return levels


def _at_size(size: int, part: Part, experiment: Experiment, paper_set: PaperSet) -> Part:
    """The scored part with its images at another size: a shipped model sees its own."""
    config = experiment.run_config(paper_set, "base", 0)
    if config.size == size:
        return part
    return divide_labelled(open_data(replace(config, size=size))).scored


def score_fixed_mask(part: Part, n: int) -> dict[str, float] | None:
    """The scores of one fixed mask, chosen with labels; None with fewer than two images."""
    trivial = fixed_mask(part.images.labels(part.rows), n)
    return None if trivial is None else {metric: getattr(trivial, metric) for metric in METRICS}


def find_crossing(
    curve: Mapping[int, Mapping[str, Any]], metric: str, level: Mapping[str, Any] | None
) -> dict[str, float | None]:
    """Find where a curve of mean scores over N reaches the mean of a level.

    `reached_with` is the first N whose mean reaches it, None if no N does. `between` is where the straight
    line through the means, over log N, reaches it; None where the first N does already.
    """
    if level is None:
        return {"reached_with": None, "between": None}
    before: tuple[int, float] | None = None
    for n, means in curve.items():
        value = means[metric]["mean"]
        if value >= level["mean"]:
            if before is None:
                return {"reached_with": n, "between": None}
            share = (level["mean"] - before[1]) / (value - before[1])
            at = math.exp(math.log(before[0]) + share * (math.log(n) - math.log(before[0])))
            return {"reached_with": n, "between": at}
        before = n, value
    return {"reached_with": None, "between": None}


def make_table(sets: Mapping[str, dict[str, Any]]) -> str:
    """Markdown: for each set what needs no label, f with N labels, and the fixed mask."""
    records = []
    for result in sets.values():
        rows = [
            (name, "0", level, _format_crossing(result["crossings"][name]["iou"]))
            for name, level in result["unsupervised"].items()
        ]
        rows += [("f alone, SUPERVISED", str(n), means, DASH) for n, means in result["supervised"].items()]
        if result["fixed_mask"]:
            rows += [("trivial: one fixed mask, chosen with labels", DASH, result["fixed_mask"], DASH)]
        records += [
            {"set": result["title"], "row": row, "labelled images": n, _COLUMNS[-1]: crossing}
            | tables.score_cells(scores, accuracy="accuracy")
            for row, n, scores, crossing in rows
        ]
    return tables.to_markdown(records, _COLUMNS) + "\n" + _make_notes(sets)


def _format_crossing(crossing: Mapping[str, float | None]) -> str:
    if crossing["reached_with"] is None:
        return "none tried"
    if crossing["between"] is None:
        return f"{crossing['reached_with']:.0f} (the fewest tried)"
    return f"{crossing['between']:.0f} (interpolated; {crossing['reached_with']:.0f} tried)"


def _make_notes(sets: Mapping[str, dict[str, Any]]) -> str:
    parts = [
        f"{result['title']}: drawn from {_describe_part(result, 'pool')}, stopped by "
        f"{_describe_part(result, 'stop')}, scored on {_describe_part(result, 'scored')}"
        for result in sets.values()
    ]
    return (
        "Mean ± deviation over draws (f with labels) and seeds (ReDO, checkpoint `label-free`, one matching "
        "for the images scored). f with labels is stopped early by held-out labelled images that don't count "
        f"as its own: it is flattered where N is small. {'. '.join(parts)}. No person is in two "
        "of the parts.\n"
    )


def _describe_part(result: Mapping[str, Any], name: str) -> str:
    part = result["parts"][name]
    return f"{part['images']:,} of {part['split']}"
