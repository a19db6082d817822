"""What actions print with: errors and progress to stderr, results to stdout."""

from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    from redoseg.evaluation import Evaluation

errors = Console(stderr=True)
output = Console()


def print_scores(evaluation: "Evaluation") -> None:
    """As a table."""
    from redoseg.report import scores_table

    output.print(scores_table(evaluation))
