"""Every table and figure of the paper, by its name."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from redoseg.reproduction.ablations import ablations
from redoseg.reproduction.digits import digits
from redoseg.reproduction.figure4 import figure4
from redoseg.reproduction.figures2_3 import redraw_figure
from redoseg.reproduction.figures5_8 import mask_figure
from redoseg.reproduction.protocol import Experiment
from redoseg.reproduction.semi_supervised import semi_supervised
from redoseg.reproduction.table1 import table1

EXPERIMENTS: Mapping[str, Callable[[Experiment], Path]] = {
    "table1": table1,
    "figure2": partial(redraw_figure, name="figure2", usual_sets=("lfw", "cub", "flowers"), count=6),
    "figure3": partial(redraw_figure, name="figure3", usual_sets=("flowers+lfw",), count=10),
    "figure4": figure4,
    "figure5": partial(mask_figure, name="figure5", usual_set="flowers", more=False),
    "figure6": partial(mask_figure, name="figure6", usual_set="cub", more=False),
    "figure7": partial(mask_figure, name="figure7", usual_set="flowers", more=True),
    "figure8": partial(mask_figure, name="figure8", usual_set="cub", more=True),
    "digits": digits,
    "ablations": ablations,
    "semi-supervised": semi_supervised,
}
"""Each trains what isn't trained yet, scores, writes, and returns the folder of its results."""
