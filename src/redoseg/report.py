"""Scores and settings as tables for people."""

import json
from typing import Any

from rich.table import Table

from redoseg.config import TrainConfig
from redoseg.evaluation import Evaluation
from redoseg.metrics import Scores

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
    table = Table(
        title=f"{evaluation.images} images scored; checkpoint: {chosen['rule']}{step}, {weights}{read}",
        title_justify="left",
    )
    for column in ("", "IoU", "accuracy", "mean IoU", "IoU of each region"):
        table.add_column(column, justify="left" if not column else "right")
    for name, label in _ROWS.items():
        row: Scores | None = getattr(evaluation, name)
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
