"""What actions print with: errors and progress to stderr, results to stdout."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from rich.console import Console

if TYPE_CHECKING:
    from redoseg.evaluation.evaluate import Evaluation

Weights = Literal["ema", "raw"]
"""Of a run's mask networks: the moving average, or what the optimiser moves."""

Device = Annotated[str, tyro.conf.arg(help="auto, cpu, cuda, cuda:1, mps ...")]
Cache = Annotated[
    Path | None, tyro.conf.arg(help="Folder of the resized images. None: the user's cache folder.")
]
Json = Annotated[bool, tyro.conf.arg(name="json", help="Print one JSON object instead of a table.")]

errors = Console(stderr=True)
output = Console()


def print_scores(evaluation: "Evaluation") -> None:
    """As a table."""
    from redoseg.evaluation.tables import scores_table

    output.print(scores_table(evaluation))
