"""The experiments' pictures, made with matplotlib."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from redoseg.files import write_aside
from redoseg.reproduction.tables import METRICS

_OURS, _PAPER, _TRIVIAL = "#0072B2", "#D55E00", "#999999"  # colour-blind people can tell them apart, too
_LABELS = {"accuracy": "accuracy", "iou": "IoU"}
_RULE_MARKERS = {"best": "o", "last": "s", "label-free": "^"}
_LEVEL_STYLES = ("-", "--")

Sets = Mapping[str, dict[str, Any]]
"""By set what an experiment's result.json holds of it."""


def plot_table1(sets: Sets, file: Path) -> None:
    """Table 1: for each set our seeds by rule, matched per data set; the paper's score; the fixed mask."""
    figure, axes = _new_figure(2)
    titles = [
        result["title"] + ("" if result["trivial"] else "\n(no masks here)") for result in sets.values()
    ]
    scores = _table1_scores(sets)
    for axis, metric in zip(axes, METRICS, strict=True):
        of_metric = scores[scores.metric == metric]
        for offset, (rule, marker) in enumerate(_RULE_MARKERS.items(), -1):
            ours = of_metric[of_metric.row == rule]
            x = ours.x + 0.16 * offset
            axis.plot(x, ours.value, marker, color=_OURS, ms=5, alpha=0.75, label=f"ours, {rule}")
        _plot_bars(axis, of_metric[of_metric.row == "paper"], "the paper (test, 128 px)", color=_PAPER)
        trivial = of_metric[of_metric.row == "fixed_mask"]
        _plot_bars(axis, trivial, "one fixed mask, chosen with labels", color=_TRIVIAL, ls="dotted")
        axis.set_xticks(range(len(sets)), titles)
        axis.set_ylabel(f"{_LABELS[metric]}, one matching per data set")
        axis.set_ylim(0, 1)
    axes[0].legend(fontsize=7, frameon=False, loc="lower left")
    _save_png(figure, file)


def _table1_scores(sets: Sets) -> pd.DataFrame:
    """Long form, one score a line: `x` is the set's place, `row` is `paper`, a rule or a trivial row."""
    scores: list[tuple[int, str, str, float]] = []
    for x, result in enumerate(sets.values()):
        split = next((name for name in ("test", "val", "train") if name in result["trivial"]), None)
        rules = {rule: by_split[split] for rule, by_split in result["rules"].items() if split in by_split}
        trivial = result["trivial"].get(split, {})
        for k, metric in enumerate(METRICS):
            scores.append((x, metric, "paper", result["paper"]["test"][2 * k]))
            scores += [(x, metric, name, row[metric]) for name, row in trivial.items() if row]
            scores += [
                (x, metric, rule, value)
                for rule, row in rules.items()
                for value in row["per_dataset"][metric]["values"]
            ]
    return pd.DataFrame(scores, columns=["x", "metric", "row", "value"])


def _plot_bars(axis: Axes, scores: pd.DataFrame, label: str, **style: Any) -> None:
    axis.hlines(scores.value, scores.x - 0.35, scores.x + 0.35, label=label, **style)


def plot_ablations(sets: Sets, file: Path) -> None:
    """For each set and arm the seeds' IoU; the fixed mask's as a line."""
    most = max(len(result["arms"]) for result in sets.values())
    figure, axes = _new_figure(len(sets), height=0.5 + 0.32 * most, width=6.5)
    for axis, result in zip(axes, sets.values(), strict=True):
        names = list(result["arms"])
        for matching, marker, colour in (("per_dataset", "o", _OURS), ("per_image", "x", _TRIVIAL)):
            found = [arm[matching]["iou"] for arm in result["arms"].values()]
            points = [(value, y) for y, iou in enumerate(found) if iou for value in iou["values"]]
            seeds = pd.DataFrame(points, columns=["iou", "y"])
            axis.plot(seeds.iou, seeds.y, marker, color=colour, ms=6, label=matching.replace("_", " "))
        if result["trivial"]:
            axis.axvline(result["trivial"]["iou"], color=_TRIVIAL, ls=":", label="one fixed mask")
        axis.set_yticks(range(len(names)), names)
        axis.invert_yaxis()
        axis.set_xlim(0, 1)
        axis.set_xlabel(f"IoU on {result['split']}")
        axis.set_title(result["title"])
    axes[0].legend(fontsize=7, frameon=False)
    _save_png(figure, file)


def plot_figure4(sets: Sets, file: Path) -> None:
    """Figure 4: IoU and accuracy against N; a level for what is reached without labels."""
    figure, axes = _new_figure(2 * len(sets), height=3.8)
    pairs = [(result, metric) for result in sets.values() for metric in ("iou", "accuracy")]
    for axis, (result, metric) in zip(axes, pairs, strict=True):
        numbers = [int(n) for n in result["supervised"]]
        summaries = [by_metric[metric] for by_metric in result["supervised"].values()]
        low, high = ([pick(summary["values"]) for summary in summaries] for pick in (min, max))
        axis.fill_between(numbers, low, high, color=_PAPER, alpha=0.2, lw=0)
        means = [summary["mean"] for summary in summaries]
        axis.plot(numbers, means, "o-", color=_PAPER, ms=4, label="f with N labels (mean, range)")
        _plot_levels(axis, result, metric, "no label", color=_OURS)
        _finish_axis(axis, numbers, _LABELS[metric], result["title"])
        axis.tick_params(axis="x", labelsize=7)
    axes[0].legend(fontsize=7, frameon=False, loc="lower right")
    _save_png(figure, file)


def plot_semi_supervised(sets: Sets, file: Path) -> None:
    """The semi-supervised table: IoU against N, with and without ReDO; levels without labels."""
    figure, axes = _new_figure(len(sets), height=3.8)
    for axis, result in zip(axes, sets.values(), strict=True):
        for name, colour in (("alone", _PAPER), ("with ReDO", _OURS)):
            found = {int(n): by_row[name]["iou"] for n, by_row in result["labels"].items()}
            summaries = {n: iou for n, iou in found.items() if iou}
            means = [iou["mean"] for iou in summaries.values()]
            label = "N labels alone" if name == "alone" else "N labels + ReDO"
            axis.plot(list(summaries), means, color=colour, label=label)
            for n, iou in summaries.items():
                axis.plot([n] * len(iou["values"]), iou["values"], "o", color=colour, ms=4, alpha=0.7)
        _plot_levels(axis, result, "iou", "alone", color="k", lw=0.8)
        _finish_axis(axis, [int(n) for n in result["labels"]], "IoU", result["title"])
    axes[0].legend(fontsize=7, frameon=False)
    _save_png(figure, file)


def _plot_levels(axis: Axes, result: Mapping[str, Any], metric: str, suffix: str, **style: Any) -> None:
    """Lines across for what doesn't depend on N: models that learned without labels, and the fixed mask."""
    for k, (name, level) in enumerate(result["unsupervised"].items()):
        if level[metric]:
            axis.axhline(level[metric]["mean"], ls=_LEVEL_STYLES[k % 2], label=f"{name}, {suffix}", **style)
    if result["fixed_mask"]:
        axis.axhline(result["fixed_mask"][metric], color=_TRIVIAL, ls=":", label="one fixed mask")


def _finish_axis(axis: Axes, numbers: Sequence[int], label: str, title: str) -> None:
    """A score against the number of labelled images, which is on a log scale."""
    axis.set_xscale("log")
    axis.set_xticks(numbers, [str(n) for n in numbers], minor=False)
    axis.minorticks_off()
    axis.set_xlabel("labelled images")
    axis.set_ylabel(label)
    axis.set_title(title)


def _new_figure(columns: int = 1, height: float = 4.0, width: float = 4.6) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(width * columns, height), layout="constrained")
    axes = [figure.add_subplot(1, columns, k + 1) for k in range(columns)]
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _save_png(figure: Figure, file: Path) -> None:
    write_aside(file, lambda aside: figure.savefig(aside, format="png", dpi=110))
