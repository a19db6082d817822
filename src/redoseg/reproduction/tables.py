"""What an experiment writes, result.json and table.md, and how scores are written in a table."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pandas as pd

from redoseg.files import write_aside, write_json
from redoseg.reproduction.protocol import Experiment
from redoseg.version import __version__

DASH = "-"

METRICS = ("accuracy", "iou")


def write_results(experiment: Experiment, name: str, result: dict[str, Any], table: str) -> Path:
    """Write result.json and table.md, each whole or not at all. Returns their folder."""
    folder = experiment.folder(name)
    write_json(folder / "result.json", {"redoseg": __version__} | experiment.describe(name) | result)
    write_aside(folder / "table.md", lambda aside: aside.write_text(table, encoding="utf-8"))
    return folder


def to_markdown(records: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """A Markdown table: a row for each record, by heading its cells (see `format_cell`), else a dash."""
    cells = pd.DataFrame(records, columns=list(columns), dtype=object).map(format_cell)
    lines = [columns, ["---"] * len(columns), *cells.to_numpy()]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def format_cell(value: Any) -> str:
    """A score as `.781`, a summary as `.781 ± .005`, a whole number as `1,327`, nothing as a dash."""
    if isinstance(value, dict):
        return format_score(value["mean"], value["deviation"])
    if isinstance(value, int):
        return f"{value:,}"
    return value if isinstance(value, str) else format_score(value)


def format_score(value: float | None, deviation: float | None = None) -> str:
    """`.781 ± .005`, without the deviation where there is none; a dash for no value."""
    if value is None or math.isnan(value):
        return DASH
    spread = "" if deviation is None else f" ± {_three_digits(deviation)}"
    return _three_digits(value) + spread


def _three_digits(value: float) -> str:
    text = f"{value:.3f}"
    return text[1:] if text.startswith("0.") else text


def score_cells(scores: Mapping[str, Any], heading: str = "{}", accuracy: str = "acc") -> dict[str, Any]:
    """Accuracy and IoU, or summaries of them, under headings made from the pattern `heading`."""
    return {heading.format(accuracy): scores["accuracy"], heading.format("IoU"): scores["iou"]}


def summarize(values: Sequence[float]) -> dict[str, Any] | None:
    """The mean, the sample deviation (None for a single value) and the values; None for no value."""
    if not values:
        return None
    # exact before they are rounded, whatever the order in which numpy or pandas would add
    deviation = stdev(values) if len(values) > 1 else None
    return {"mean": mean(values), "deviation": deviation, "values": list(values)}


def summarize_scores(
    scores: Sequence[Mapping[str, float]], metrics: Sequence[str] = METRICS
) -> dict[str, Any]:
    """By metric the summary of several scores: of the seeds or of the draws."""
    return {metric: summarize([score[metric] for score in scores]) for metric in metrics}
