"""Scores and settings as tables for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from redoseg.evaluation.metrics import Scores

if TYPE_CHECKING:
    from redoseg.evaluation.evaluate import Evaluation

ROW_LABELS = {
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
    return rows_table(title, {label: getattr(evaluation, name) for name, label in ROW_LABELS.items()})


def rows_table(title: str, rows: dict[str, Scores | None]) -> Table:
    table = Table(title=title, title_justify="left")
    for column in ("", "IoU", "accuracy", "mean IoU", "IoU of each region"):
        table.add_column(column, justify="left" if not column else "right")
    for label, row in rows.items():
        if row is not None:
            regions = " ".join(f"{value:.3f}" for value in row.regions)
            table.add_row(label, f"{row.iou:.3f}", f"{row.accuracy:.3f}", f"{row.mean_iou:.3f}", regions)
    return table
