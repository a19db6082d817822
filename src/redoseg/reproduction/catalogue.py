"""Every table and figure of the paper, by its name."""

from collections.abc import Callable, Mapping
from pathlib import Path

from redoseg.reproduction.ablations import ablations
from redoseg.reproduction.digits import digits
from redoseg.reproduction.figure4 import figure4
from redoseg.reproduction.figures2_3 import figure2, figure3
from redoseg.reproduction.figures5_8 import figure5, figure6, figure7, figure8
from redoseg.reproduction.protocol import Experiment
from redoseg.reproduction.semi_supervised import semi_supervised
from redoseg.reproduction.table1 import table1

EXPERIMENTS: Mapping[str, Callable[[Experiment], Path]] = {
    "table1": table1,
    "figure2": figure2,
    "figure3": figure3,
    "figure4": figure4,
    "figure5": figure5,
    "figure6": figure6,
    "figure7": figure7,
    "figure8": figure8,
    "digits": digits,
    "ablations": ablations,
    "semi-supervised": semi_supervised,
}
"""Each trains what isn't trained yet, scores, writes, and returns the folder of its results."""
