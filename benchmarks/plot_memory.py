"""The picture of docs/performance.md: a process's memory over a long training and over many files.

python benchmarks/plot_memory.py results/benchmarks docs/images/memory.png
"""

import argparse
import csv
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

PANELS = (
    ("memory-training.csv", "step", "training: steps"),
    ("memory-segmenting.csv", "done", "segmenting: files"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    figure, axes = plt.subplots(1, 2, figsize=(8, 2.6), layout="constrained")
    for axis, (name, column, label) in zip(axes, PANELS, strict=True):
        with open(options.folder / name, encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        axis.plot(
            [float(row[column]) for row in rows], [float(row["resident_mb"]) for row in rows], "k-", lw=1
        )
        axis.set_ylim(0, 1.15 * max(float(row["resident_mb"]) for row in rows))
        axis.set_xlabel(label)
        axis.set_ylabel("MB in memory")
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(options.out, dpi=110)


if __name__ == "__main__":
    main()
