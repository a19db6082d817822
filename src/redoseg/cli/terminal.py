"""What actions print with: errors and progress to stderr, results to stdout."""

from typing import TYPE_CHECKING, Literal

from rich.console import Console

if TYPE_CHECKING:
    from redoseg.evaluation.evaluate import Evaluation

Weights = Literal["ema", "raw"]
"""Of a run's mask networks: the moving average, or what the optimiser moves."""

errors = Console(stderr=True)
output = Console()


def print_scores(evaluation: "Evaluation") -> None:
    """As a table."""
    from redoseg.evaluation.tables import scores_table

    output.print(scores_table(evaluation))
