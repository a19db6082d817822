"""Scores and settings as tables for people."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from rich.table import Table

from redoseg.config import TrainConfig
from redoseg.metrics import Scores

if TYPE_CHECKING:
    from redoseg.baselines import BaselineReport
    from redoseg.evaluation import Evaluation

_ROWS = {
    "per_dataset": "redoseg, one matching for the split (per_dataset)",
    "per_image": "redoseg, matched per image, as in the paper's tables (per_image)",
    "fixed_mask": "trivial: one fixed mask, chosen with labels",
    "disc": "trivial: one centred disc, chosen with labels",
}


def scores_table(evaluation: Evaluation) -> Table:
    """Our rows and the trivial ones; the title says what was scored and which rule chose the checkpoint."""
    chosen = evaluation.checkpoint
    weights = {True: "moving average", False: "raw weights", None: "weights as saved"}[chosen["ema"]]
    step = "" if chosen["step"] is None else f", step {chosen['step']}"
    masks = chosen.get("supervision")
    read = f"; {masks} read in training, their images left out" if masks else ""
    title = f"{evaluation.images} images scored; checkpoint: {chosen['rule']}{step}, {weights}{read}"
    return _table(title, {label: getattr(evaluation, name) for name, label in _ROWS.items()})


def baseline_table(report: BaselineReport) -> Table:
    """A baseline's rows and the trivial ones; the title says what was scored and how long an image took."""
    of = "" if report.images == report.labelled else f" of {report.labelled}"
    if report.seconds is None:
        title = f"{report.images}{of} images scored; {report.name}: CHOSEN WITH LABELS"
    else:
        title = (
            f"{report.images}{of} images scored; an image takes {report.seconds['median']:.3f} s (median; "
            f"mean {report.seconds['mean']:.3f}) in one thread"
        )
    rows: dict[str, Scores | None] = {}
    if not report.chosen_with_labels:
        matched = ("per_dataset", "per_image")
        rows = {_ROWS[name].replace("redoseg", report.name): getattr(report, name) for name in matched}
    trivial = ("fixed_mask", "disc")
    return _table(title, rows | {_ROWS[name]: getattr(report, name) for name in trivial})


def _table(title: str, rows: dict[str, Scores | None]) -> Table:
    table = Table(title=title, title_justify="left")
    for column in ("", "IoU", "accuracy", "mean IoU", "IoU of each region"):
        table.add_column(column, justify="left" if not column else "right")
    for label, row in rows.items():
        if row is not None:
            regions = " ".join(f"{value:.3f}" for value in row.regions)
            table.add_row(label, f"{row.iou:.3f}", f"{row.accuracy:.3f}", f"{row.mean_iou:.3f}", regions)
    return table


def dry_run(config: TrainConfig, data: dict[str, Any], tries: dict[str, Any] | None = None) -> str:
    """The resolved options, what was found in the data, with --labelled the masks that would be learned from
    and, if there are several, the tries, as JSON."""
    masks = {"supervision": data["supervision"]} if "supervision" in data else {}
    found = {name: value for name, value in data.items() if name not in masks}
    several = {} if tries is None else {"tries": tries}
    return json.dumps({"config": config.as_json(), "data": found} | masks | several, indent=2)
