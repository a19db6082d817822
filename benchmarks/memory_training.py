"""Memory of a training process over many steps: tiny networks, milestones included, so that a leak shows.

    python benchmarks/memory_training.py --steps 10000 --csv training-memory.csv

Writes one row every 100 steps (step, seconds, resident MB) and prints the growth from a tenth of the way on.
"""

import argparse
import csv
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from memory import resident
from rich.console import Console

from redoseg.config import TrainConfig
from redoseg.data.dataset import open_data
from redoseg.training.distributed import SingleProcess
from redoseg.training.redo import ReDOLearner
from redoseg.training.trainer import Trainer

EVERY = 100


class Watched(ReDOLearner):
    """A game that notes its process's memory."""

    file: Path
    began: float

    def step(self, t: int) -> dict[str, torch.Tensor]:
        losses = super().step(t)
        if (t + 1) % EVERY == 0:
            with open(self.file, "a", encoding="utf-8") as file:  # to be watched, too
                file.write(f"{t + 1},{time.monotonic() - self.began:.1f},{resident():.2f}\n")
        return losses


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--csv", type=Path, default=Path("training-memory.csv"))
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    began = time.monotonic()
    with TemporaryDirectory() as folder:
        config = TrainConfig.of(
            data="digit", out=Path(folder) / "run", size=32, width=4, g_width=4, f_width=4, f_blocks=1,
            code_size=4, batch=4, steps=arguments.steps, eval_every=1000, sample_every=1000, save_every=250,
            collapse_below=0.0, collapse_variation=0.0, device=arguments.device, threads=1,
        ).resolved()  # fmt: skip
        console = Console(quiet=True, force_terminal=False)
        dataset, group = open_data(config), SingleProcess()
        game = Watched(config, dataset, group)
        game.file, game.began = arguments.csv, began
        game.file.write_text("step,seconds,resident_mb\n", encoding="utf-8")
        Trainer(config, dataset, game, console, group).run()
    with open(arguments.csv, encoding="utf-8") as file:
        rows = [(int(row["step"]), float(row["resident_mb"])) for row in csv.DictReader(file)]
    warm = [(step, size) for step, size in rows if step >= arguments.steps // 10]
    first, most, last = warm[0], max(size for _, size in warm), warm[-1]
    print(
        f"{last[0]} steps in {time.monotonic() - began:.0f} s: {first[1]:.1f} MB at step {first[0]}, "
        f"{last[1]:.1f} MB at the end, {most:.1f} MB at most"
    )


if __name__ == "__main__":
    main()
