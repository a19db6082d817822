"""Action reproduce: a table or a figure of the paper by its name."""

import dataclasses
from pathlib import Path
from typing import Literal

import tyro

from redoseg.cli.terminal import Device, errors
from redoseg.errors import ConfigError

Name = Literal[
    "table1", "figure2", "figure3", "figure4", "figure5", "figure6", "figure7", "figure8", "digits",
    "ablations", "semi-supervised",
]  # fmt: skip
SetName = Literal["lfw", "cub", "flowers", "flowers+lfw"]


def reproduce(
    name: tyro.conf.Positional[Name],
    /,
    root: Path = Path("data"),
    seeds: int | None = None,
    scale: Literal["small", "paper"] = "paper",
    recipe: Literal["default", "paper", "authors"] | None = None,
    sets: tuple[SetName, ...] = (),
    out: Path = Path("runs/reproduce"),
    jobs: int = 1,
    device: Device = "auto",
) -> int:
    """Make a table or a figure of the paper: runs, result.json, table.md, a picture. Stopped, it goes on.

    Args:
        name: Which one. semi-supervised is the paper's future work.
        root: Folder of the data sets, as `redoseg data download` leaves them, or archives in the package's
            own form (lfw*.tar, flowers*.tar, birds*.tar), and mnist/.
        seeds: Runs for each set. None: 5; at --scale small 3, and 1 for ablations and semi-supervised.
        scale: paper: its size and length; small: the same experiment at 32 pixels, every run within 20
            minutes on two CPU cores.
        recipe: Train by this recipe. None: paper; at --scale small default, as the paper's rates are too slow
            for that length.
        sets: Only these data sets. None: those of the experiment.
        out: Folder of the runs, which experiments share, and of the results.
        jobs: Trainings at a time.
    """
    from redoseg.reproduction.catalogue import EXPERIMENTS
    from redoseg.reproduction.protocol import SCALES, Experiment

    if jobs < 1 or (seeds is not None and seeds < 1):
        raise ConfigError(f"--jobs is {jobs}, --seeds {seeds}: both must be at least 1")
    chosen = SCALES[scale]
    if recipe is not None and recipe != chosen.recipe:
        chosen = dataclasses.replace(chosen, recipe=recipe)
        out = out / recipe  # runs of different recipes must not share a folder
    usual = 1 if scale == "small" and name in ("ablations", "semi-supervised") else chosen.seeds
    experiment = Experiment(root, out, chosen, seeds or usual, sets, jobs, device, errors)
    folder = EXPERIMENTS[name](experiment)
    print((folder / "table.md").read_text(encoding="utf-8"))
    for file in sorted(folder.iterdir()):
        if not file.name.startswith("."):
            print(file)
    return 0
