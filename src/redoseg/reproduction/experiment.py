"""One experiment asked for: on which data, with how many seeds, at which scale, and where everything goes."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from redoseg.config import TrainConfig
from redoseg.reproduction.protocol import DataSet, Scale, run_config


@dataclass(frozen=True)
class Experiment:
    """`out` holds `runs/`, shared by all experiments of a scale, and a folder of results for each.

    `sets`: only these of an experiment's data sets; empty: all. `jobs`: trainings at a time.
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

    def run(self, dataset: DataSet, arm: str, seed: int, **changed: Any) -> TrainConfig:
        """A training: the scale's options, those `changed`, in a folder named after set, arm and seed."""
        out = self.out / "runs" / self.scale.name / dataset.name / arm / f"seed-{seed}"
        return run_config(
            dataset, self.scale, root=self.root, out=out, seed=seed, device=self.device, **changed
        )

    def described(self, name: str) -> dict[str, Any]:
        """For result.json: what was asked for."""
        return {
            "experiment": name,
            "scale": self.scale.name,
            "recipe": self.scale.recipe,
            "options": dict(self.scale.options),
            "seeds": self.seeds,
        }
