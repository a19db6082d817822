"""The experiments' pictures, drawn with matplotlib."""

from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from redoseg.files import write_aside

_OURS, _PAPER, _TRIVIAL = "#0072B2", "#D55E00", "#999999"  # told apart by colour-blind people, too


def _save(figure: Figure, file: Path) -> None:
    with matplotlib.rc_context({"svg.hashsalt": "redoseg"}):
        write_aside(file, lambda aside: figure.savefig(aside, format="png", dpi=110))


def _figure(columns: int = 1, height: float = 4.0, width: float = 4.6) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(width * columns, height), layout="constrained")
    axes = [figure.add_subplot(1, columns, k + 1) for k in range(columns)]
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def bars(sets: dict[str, dict[str, Any]], file: Path) -> None:
    """Table 1: for each set our seeds by rule, matched per data set; the paper's figure; the fixed mask."""
    rules = {"best": "o", "last": "s", "label-free": "^"}
    figure, axes = _figure(2)
    for axis, metric, label in zip(axes, ("accuracy", "iou"), ("accuracy", "IoU"), strict=True):
        for x, result in enumerate(sets.values()):
            split = next((name for name in ("test", "val", "train") if name in result["trivial"]), None)
            for k, (rule, marker) in enumerate(rules.items()):
                found = result["rules"][rule].get(split)
                values = found["per_dataset"][metric]["values"] if found else []
                axis.plot(
                    [x + 0.16 * (k - 1)] * len(values), values, marker, color=_OURS, ms=5, alpha=0.75,
                    label=f"ours, {rule}" if x == 0 else None,
                )  # fmt: skip
            paper = result["paper"]["test"][0 if metric == "accuracy" else 2]
            axis.hlines(paper, x - 0.35, x + 0.35, _PAPER, label="the paper (test, 128 px)" if x == 0 else "")
            trivial = result["trivial"].get(split, {}).get("fixed_mask") if split else None
            if trivial:
                axis.hlines(
                    trivial[metric], x - 0.35, x + 0.35, _TRIVIAL, "dotted",
                    label="one fixed mask, chosen with labels" if x == 0 else "",
                )  # fmt: skip
        titles = [
            result["title"] + ("" if result["trivial"] else "\n(no masks here)") for result in sets.values()
        ]
        axis.set_xticks(range(len(sets)), titles)
        axis.set_ylabel(f"{label}, one matching per data set")
        axis.set_ylim(0, 1)
    axes[0].legend(fontsize=7, frameon=False, loc="lower left")
    _save(figure, file)


def ablation_bars(sets: dict[str, dict[str, Any]], file: Path) -> None:
    """For each set and arm the seeds' IoU; the fixed mask's as a line."""
    most = max(len(result["arms"]) for result in sets.values())
    figure, axes = _figure(len(sets), height=0.5 + 0.32 * most, width=6.5)
    for axis, result in zip(axes, sets.values(), strict=True):
        names = list(result["arms"])
        for y, seen in enumerate(result["arms"].values()):
            for matching, marker, colour in (("per_dataset", "o", _OURS), ("per_image", "x", _TRIVIAL)):
                found = seen[matching]["iou"]
                values = found["values"] if found else []
                label = f"{matching.replace('_', ' ')}" if y == 0 else None
                axis.plot(values, [y] * len(values), marker, color=colour, ms=6, label=label)
        if result["trivial"]:
            axis.axvline(result["trivial"]["iou"], color=_TRIVIAL, ls=":", label="one fixed mask")
        axis.set_yticks(range(len(names)), names)
        axis.invert_yaxis()
        axis.set_xlim(0, 1)
        axis.set_xlabel(f"IoU on {result['split']}")
        axis.set_title(result["title"])
    axes[0].legend(fontsize=7, frameon=False)
    _save(figure, file)


def label_curves(sets: dict[str, dict[str, Any]], file: Path) -> None:
    """Figure 4: IoU and accuracy against N; a level for what is reached without labels."""
    figure, axes = _figure(2 * len(sets), height=3.8)
    pairs = [(result, metric) for result in sets.values() for metric in ("iou", "accuracy")]
    for axis, (result, metric) in zip(axes, pairs, strict=True):
        curve = {int(n): means[metric] for n, means in result["supervised"].items()}
        means = [found["mean"] for found in curve.values()]
        low, high = ([pick(found["values"]) for found in curve.values()] for pick in (min, max))
        axis.fill_between(list(curve), low, high, color=_PAPER, alpha=0.2, lw=0)
        axis.plot(list(curve), means, "o-", color=_PAPER, ms=4, label="f with N labels (mean, range)")
        for k, (name, level) in enumerate(result["unsupervised"].items()):
            if level[metric]:
                style = ("-", "--")[k % 2]
                axis.axhline(level[metric]["mean"], color=_OURS, ls=style, label=f"{name}, no label")
        if result["fixed_mask"]:
            axis.axhline(result["fixed_mask"][metric], color=_TRIVIAL, ls=":", label="one fixed mask")
        axis.set_xscale("log")
        axis.set_xticks(list(curve), [str(n) for n in curve], minor=False)
        axis.minorticks_off()
        axis.tick_params(axis="x", labelsize=7)
        axis.set_xlabel("labelled images")
        axis.set_ylabel({"iou": "IoU", "accuracy": "accuracy"}[metric])
        axis.set_title(result["title"])
    axes[0].legend(fontsize=7, frameon=False, loc="lower right")
    _save(figure, file)


def paired_points(sets: dict[str, dict[str, Any]], file: Path) -> None:
    """The semi-supervised table: IoU against N, with and without the game; levels without labels."""
    figure, axes = _figure(len(sets), height=3.8)
    rows = {"alone": (_PAPER, "N labels alone"), "with ReDO": (_OURS, "N labels + ReDO")}
    for axis, result in zip(axes, sets.values(), strict=True):
        numbers = [int(n) for n in result["labels"]]
        for name, (colour, label) in rows.items():
            found = [by_row[name]["iou"] for by_row in result["labels"].values()]
            known = [(n, one) for n, one in zip(numbers, found, strict=True) if one]
            axis.plot([n for n, _ in known], [one["mean"] for _, one in known], color=colour, label=label)
            for n, one in known:
                axis.plot([n] * len(one["values"]), one["values"], "o", color=colour, ms=4, alpha=0.7)
        for k, (name, level) in enumerate(result["unsupervised"].items()):
            if level["iou"]:
                axis.axhline(
                    level["iou"]["mean"], color="k", ls=("-", "--")[k % 2], lw=0.8, label=f"{name}, alone"
                )
        if result["fixed_mask"]:
            axis.axhline(result["fixed_mask"]["iou"], color=_TRIVIAL, ls=":", label="one fixed mask")
        axis.set_xscale("log")
        axis.set_xticks(numbers, [str(n) for n in numbers])
        axis.minorticks_off()
        axis.set_xlabel("labelled images")
        axis.set_ylabel("IoU")
        axis.set_title(result["title"])
    axes[0].legend(fontsize=7, frameon=False)
    _save(figure, file)
