"""Scores as tables for people."""

from typing import TYPE_CHECKING

from rich.table import Table

from redoseg.evaluation.metrics import Scores
from redoseg.models.card import AS_WRITTEN, MATCHINGS, ROWS, TRIVIAL, WHOLE, WRITTEN_TEXT

if TYPE_CHECKING:
    from redoseg.evaluation.evaluate import Evaluation


def scores_table(evaluation: "Evaluation") -> Table:
    """A model's rows and the trivial ones; the title says what was scored and what chose the checkpoint."""
    chosen = evaluation.checkpoint
    weights = {True: "moving average", False: "raw weights", None: "weights as saved"}[chosen["ema"]]
    step = "" if chosen["step"] is None else f", step {chosen['step']}"
    masks = chosen.get("supervision")
    read = f"; {masks} read in training, their images left out" if masks else ""
    title = f"{evaluation.images} images scored; checkpoint: {chosen['rule']}{step}, {weights}{read}"
    return rows_table(title, {row_label(row): getattr(evaluation, row) for row in (AS_WRITTEN, WHOLE, *ROWS)})


def row_label(row: str, method: str = "redoseg") -> str:
    """The label of a row of scores in a table; `method` names what predicted the regions."""
    if row == AS_WRITTEN:
        return f"{method}, {WRITTEN_TEXT} ({AS_WRITTEN})"
    if row == WHOLE:
        return f"{method}, the same of whole photos at their own size ({WHOLE})"
    return f"{method}, {MATCHINGS[row]} ({row})" if row in MATCHINGS else TRIVIAL[row]


def rows_table(title: str, rows: dict[str, Scores | None]) -> Table:
    """A line for each label whose row isn't None."""
    table = Table(title=title, title_justify="left")
    for column in ("", "IoU", "accuracy", "mean IoU", "IoU of each region"):
        table.add_column(column, justify="left" if not column else "right")
    for label, row in rows.items():
        if row is not None:
            regions = " ".join(f"{value:.3f}" for value in row.regions)
            table.add_row(label, f"{row.iou:.3f}", f"{row.accuracy:.3f}", f"{row.mean_iou:.3f}", regions)
    return table
