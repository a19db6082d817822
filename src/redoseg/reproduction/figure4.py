"""Figure 4: the same f trained with N labelled images. How many are needed to reach what none gives?"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from redoseg.data.dataset import open_data
from redoseg.evaluation.evaluate import predict
from redoseg.evaluation.metrics import confusion, per_dataset
from redoseg.evaluation.trivial import fixed_mask
from redoseg.models.load import load_model
from redoseg.networks.mask import MaskNetwork
from redoseg.reproduction.fits import counts, fits, make_all
from redoseg.reproduction.plots import label_curves
from redoseg.reproduction.protocol import SETS, DataSet, Experiment
from redoseg.reproduction.runs import failure, train_all
from redoseg.reproduction.splits import Part, parts_of
from redoseg.reproduction.table1 import METRICS, runs_of
from redoseg.reproduction.tables import DASH, figure, leave, markdown, of_summary, summary
from redoseg.tensors import pick_device


def figure4(experiment: Experiment) -> Path:
    """Train, fit, score and write. Returns the folder of result.json, table.md and figure.png."""
    sets = [SETS[name] for name in experiment.sets or experiment.scale.labelled_sets]
    runs = [run for dataset in sets for run in runs_of(experiment, dataset)]
    train_all(runs, jobs=experiment.jobs, console=experiment.console)
    result = {"sets": {dataset.name: _result(experiment, dataset) for dataset in sets}}
    folder = experiment.folder("figure4")
    leave(folder, result=experiment.described("figure4") | result, table=_table(result["sets"]))
    label_curves(result["sets"], folder / "figure.png")
    return folder


def _result(experiment: Experiment, dataset: DataSet) -> dict[str, Any]:
    opened = open_data(experiment.run(dataset, "base", 0))
    parts = parts_of(opened)
    numbers = counts(parts, experiment.scale.labels)
    made = make_all(experiment, fits(experiment, dataset, parts, numbers))
    curve = {
        n: {metric: summary([one["scores"][metric] for one in made if one["n"] == n]) for metric in METRICS}
        for n in numbers
    }
    levels = unsupervised(experiment, dataset, parts.scored)
    labels = parts.scored.images.labels(parts.scored.rows)
    trivial = fixed_mask(labels, opened.n)
    return {
        "title": dataset.title,
        "parts": parts.describe(),
        "supervised": curve,
        "unsupervised": levels,
        "crossings": {
            name: {metric: crossing(curve, metric, level[metric]) for metric in METRICS}
            for name, level in levels.items()
        },
        "fixed_mask": None if trivial is None else {m: getattr(trivial, m) for m in METRICS},
        "fits": made,
    }


def unsupervised(experiment: Experiment, dataset: DataSet, part: Part) -> dict[str, dict[str, Any]]:
    """On the same images, one matching for all: Table 1's runs by the rule that needs no mask, and the model
    that comes with the package, where the scale names one of its size."""
    runs = [run for run in runs_of(experiment, dataset) if failure(run.out) is None]
    device = pick_device(experiment.device)
    found = [matched(load_model(run.out, checkpoint="label-free", device=device).f, part) for run in runs]
    levels = {"ReDO": {metric: summary([one[metric] for one in found]) for metric in METRICS}}
    shipped = experiment.scale.shipped.get(dataset.name)
    if shipped:
        one = matched(load_model(shipped, device=device).f, part)
        levels[f"ReDO distilled ({shipped})"] = {metric: summary([one[metric]]) for metric in METRICS}
    return levels


def matched(f: MaskNetwork, part: Part) -> dict[str, float]:
    """One matching of regions and labels for the whole part."""
    regions, _ = predict(f, part.images, part.rows)
    scores = per_dataset(confusion(regions, part.images.labels(part.rows), f.n))
    return {"iou": scores.iou, "accuracy": scores.accuracy}


def crossing(
    curve: Mapping[int, Mapping[str, Any]], metric: str, level: Mapping[str, Any] | None
) -> dict[str, float | None]:
    """The first N whose mean reaches the level, and where the line through the means, over log N, does.

    None: no N reaches it. `between` is None, too, where the first N does already.
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


def _table(sets: Mapping[str, dict[str, Any]]) -> str:
    head = ["set", "row", "labelled images", "accuracy", "IoU", "IoU reached by f with so many labels"]
    rows: list[list[str]] = []
    for result in sets.values():
        for name, level in result["unsupervised"].items():
            cells = [of_summary(level[metric]) for metric in METRICS]
            rows.append([result["title"], name, "0", *cells, _said(result["crossings"][name]["iou"])])
        for n, means in result["supervised"].items():
            cells = [of_summary(means[metric]) for metric in METRICS]
            rows.append([result["title"], "f alone, SUPERVISED", str(n), *cells, DASH])
        if result["fixed_mask"]:
            cells = [figure(result["fixed_mask"][metric]) for metric in METRICS]
            rows.append([result["title"], "trivial: one fixed mask, chosen with labels", DASH, *cells, DASH])
    return markdown(head, rows) + "\n" + _notes(sets)


def _said(found: Mapping[str, float | None]) -> str:
    if found["reached_with"] is None:
        return "none tried"
    if found["between"] is None:
        return f"{found['reached_with']:.0f} (the fewest tried)"
    return f"{found['between']:.0f} (interpolated; {found['reached_with']:.0f} tried)"


def _notes(sets: Mapping[str, dict[str, Any]]) -> str:
    parts = [
        f"{result['title']}: drawn from {_part(result, 'pool')}, stopped by {_part(result, 'stop')}, scored "
        f"on {_part(result, 'scored')}"
        for result in sets.values()
    ]
    return (
        "Mean ± deviation over draws (f with labels) and seeds (ReDO, checkpoint `label-free`, one matching "
        "for the images scored). f with labels is stopped early by held-out labelled images that don't count "
        f"as its own: it is flattered where N is small. {'. '.join(parts)}. No person is in two "
        "of the parts.\n"
    )


def _part(result: Mapping[str, Any], name: str) -> str:
    part = result["parts"][name]
    return f"{part['images']:,} of {part['split']}"
