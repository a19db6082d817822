"""The protocol: which data sets, at which size and length, with which options, and what the paper reports."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from redoseg.config import Box, Recipe, Settings, TrainConfig
from redoseg.errors import ConfigError

FACE: Box = (0.25, 0.2, 0.75, 0.8)
"""Where LFW has its faces: pictures that are kept show them blurred."""

Reported = Mapping[str, tuple[float, float | None, float, float | None]]
"""By split: accuracy and its deviation, IoU and its deviation (None: not reported)."""


@dataclass(frozen=True)
class PaperSet:
    """A data set of the paper, or a union of some; `settings` are its options there."""

    name: str
    title: str
    settings: Settings
    paper: Reported
    blur: Box | None = None

    @property
    def parts(self) -> list[str]:
        """The sets whose union it is."""
        return self.name.split("+")


SETS: dict[str, PaperSet] = {
    paper_set.name: paper_set
    for paper_set in (
        PaperSet("lfw", "LFW", "lfw", {"test": (0.917, 0.002, 0.781, 0.005)}, FACE),
        PaperSet(
            "cub", "CUB", "cub", {"train": (0.840, 0.012, 0.423, 0.023), "test": (0.845, 0.012, 0.426, 0.025)}
        ),
        PaperSet(
            "flowers",
            "Flowers",
            "flowers",
            {"train": (0.886, 0.008, 0.780, 0.012), "test": (0.879, 0.008, 0.764, 0.012)},
        ),
        PaperSet("flowers+lfw", "Flowers+LFW", "flowers", {"test": (0.856, None, 0.691, None)}, FACE),
    )
}
"""Table 1 of the paper, row by row: means and deviations over five runs."""

ARCHIVES: dict[str, tuple[str, ...]] = {
    "lfw": ("lfw*.tar", "lfw*.zip"),
    "flowers": ("flowers*.tar", "flowers*.zip"),
    "cub": ("cub*.tar", "birds*.tar", "cub*.zip", "birds*.zip"),
}
"""Archives in the package's own form (docs/data.md), looked for where a set's own files are missing."""


@dataclass(frozen=True)
class Scale:
    """The size and the length of all trainings. `options` are those of every training."""

    name: str
    recipe: Recipe
    options: Mapping[str, Any]
    seeds: int
    labels: Sequence[int]
    """Figure 4's numbers of labelled images. The whole pool is added as the last one."""
    draws: int
    fit_steps: int
    """Updates, at most, of f trained with labels alone."""
    labelled_sets: Sequence[str]
    """The sets of Figure 4. `small` has enough masks for it on faces alone."""
    few: Sequence[int] = (2, 10, 50)
    """Numbers of labelled images in the semi-supervised table, each of them in `labels`."""
    digits: Mapping[str, Any] = field(default_factory=dict)
    """Options that differ for colored-2-MNIST."""
    student: Mapping[str, Any] = field(default_factory=dict)
    """Options of the student of each of Table 1's runs, as `DistillConfig` has them."""
    shipped: Mapping[str, str] = field(default_factory=dict)
    """By set a distilled model of this size that comes with the package: a second level in Figure 4."""


SCALES: dict[str, Scale] = {
    "small": Scale(
        name="small",
        recipe="default",
        options={
            "size": 32,
            "width": 16,
            "g_width": 16,
            "steps": 1_500,
            "eval_every": 250,
            "sample_every": 500,
            "precision": "bfloat16",
            "threads": 1,
        },
        seeds=3,
        labels=(1, 2, 5, 10, 20, 50, 100, 200),
        draws=3,
        fit_steps=600,
        labelled_sets=("lfw",),
        digits={"f_jitter": 0.0, "flip": False, "f_width": 8, "steps": 3_000},
        student={  # that of `redoseg auto`
            "steps": 500,
            "f_width": 8,
            "f_blocks": 4,
            "batch": 32,
            "lr": 2e-3,
            "ema_half_life": 3_000.0,
        },
        shipped={"lfw": "faces", "flowers": "flowers"},
    ),
    "paper": Scale(
        name="paper",
        recipe="paper",
        options={"size": 128, "steps": 30_000, "eval_every": 1_000, "sample_every": 5_000},
        seeds=5,
        labels=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000),
        draws=5,
        fit_steps=4_000,
        labelled_sets=("lfw", "cub", "flowers"),
    ),
}
"""`small`: a run takes at most 20 minutes on two CPU cores. The paper's rates learn too slowly for that (its
recipe is at IoU .38 on faces after as many steps), so `small` trains with the recipe `default`."""


def locate(paper_set: PaperSet, root: Path) -> tuple[str, ...]:
    """DATA for each part of a set: its files under `root`, or an archive. ConfigError without either."""
    return tuple(_locate_part(part, root) for part in paper_set.parts)


def _locate_part(part: str, root: Path) -> str:
    if (root / part).is_dir():
        return f"{part}:{root / part}"
    for pattern in ARCHIVES[part]:
        found = sorted(root.glob(pattern))
        if found:
            return str(found[0])
    raise ConfigError(
        f"there is no {SETS[part].title} in {root}: `redoseg data download {part} --root {root}` fetches it, "
        f"or put an archive of images/ and masks/ there, called {ARCHIVES[part][0].replace('*', '')}"
    )


@dataclass(frozen=True)
class Experiment:
    """How to make a table or a figure: where the data lies, where results go, at which scale.

    `out` holds `runs/`, shared by all experiments of a scale, and a folder of results for each. `sets`: only
    these of an experiment's data sets; empty: all. `jobs`: trainings at a time.
    """

    root: Path
    out: Path
    scale: Scale
    seeds: int
    sets: tuple[str, ...] = ()
    jobs: int = 1
    device: str = "auto"
    console: Console = field(default_factory=lambda: Console(stderr=True))

    def folder(self, name: str) -> Path:
        """Where the results of experiment `name` go."""
        return self.out / f"{name}-{self.scale.name}"

    def run_config(self, paper_set: PaperSet, arm: str, seed: int, **changes: Any) -> TrainConfig:
        """A training with the scale's options, `changes` over them. ConfigError if the data isn't there."""
        scale = self.scale
        options = {"best_by": "per_image", "blur": paper_set.blur, "device": self.device, **scale.options}
        return TrainConfig.of(
            recipe=scale.recipe,
            settings=paper_set.settings if scale.recipe != "default" else "none",
            data=locate(paper_set, self.root),
            out=self.out / "runs" / scale.name / paper_set.name / arm / f"seed-{seed}",
            seed=seed,
            **options | changes,
        ).resolved()

    def describe(self, name: str) -> dict[str, Any]:
        """What was asked for, as result.json has it."""
        return {
            "experiment": name,
            "scale": self.scale.name,
            "recipe": self.scale.recipe,
            "options": dict(self.scale.options),
            "seeds": self.seeds,
        }
