"""Many short runs, arms times seeds: some at a time, gone on with where they were stopped; table and curves.

    python experiments/study.py run DATA --arms default paper --seeds 0 1 2 --jobs 2 --out runs/study
    python experiments/study.py report runs/study --keep results/study

`run` starts `redoseg train` for each arm (arms.py) and seed: all arms of the first seed, then of the next.
`report` reads what is there, finished or not, and writes table.md, curves.png and the runs' small files.
Scores are of the split `val`, by one matching for the split; no mask is used in training.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from shutil import copyfile
from statistics import mean
from typing import Any

import matplotlib
from arms import ARMS, SMALL

matplotlib.use("Agg")
from matplotlib import pyplot as plt

KEPT = ("run.json", "metrics.jsonl", "evaluation.json")
Line = dict[str, Any]


def command(arm: str, seed: int, data: list[str], out: Path, options: dict[str, Any]) -> list[str]:
    """`redoseg train` with an arm's options, explicit ones winning over the recipe's."""
    table = {**SMALL, **ARMS[arm], **options, "seed": seed, "out": out}
    words = [sys.executable, "-m", "redoseg", "train", *data]
    for name, value in table.items():
        flag = f"--{name.replace('_', '-')}"
        if isinstance(value, bool):
            words.append(flag if value else flag.replace("--", "--no-", 1))
        else:
            words += [flag, str(value)]
    return words


def run(options: argparse.Namespace) -> None:
    """All runs that aren't finished, `--jobs` at a time, one thread each."""
    every = options.eval_every
    common = {"steps": options.steps, "eval_every": every, "sample_every": options.steps, "threads": 1}
    if options.size:
        common |= {"size": options.size, "width": options.size // 2, "g_width": options.size // 2}
    if options.device:
        common["device"] = options.device
    jobs = [(arm, seed) for seed in options.seeds for arm in options.arms]

    def one(job: tuple[str, int]) -> None:
        arm, seed = job
        out = options.out / arm / f"seed-{seed}"
        if last_step(out) >= options.steps and (out / "model").is_dir():
            return
        out.mkdir(parents=True, exist_ok=True)
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        with open(out.parent / f"{out.name}.log", "a", encoding="utf-8") as log:
            done = subprocess.run(
                command(arm, seed, options.data, out, common), stdout=log, stderr=log, env=environment
            )
        print(
            f"{arm} seed {seed}: {'done' if done.returncode == 0 else f'exit {done.returncode}'}", flush=True
        )

    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(one, jobs))


def lines(run: Path) -> Iterator[Line]:
    """A run's log; nothing where there is none."""
    file = run / "metrics.jsonl"
    if file.is_file():
        yield from (json.loads(line) for line in file.read_text().splitlines())


def last_step(run: Path) -> int:
    return max((line["step"] for line in lines(run)), default=0)


def curve(run: Path) -> list[tuple[int, Line]]:
    """(step, scores) of the last attempt."""
    points: list[tuple[int, Line]] = []
    for line in lines(run):
        if line.get("event") == "collapse":
            points = []
        elif line.get("val"):
            points.append((line["step"], line["val"]))
    return points


def restarts(run: Path) -> int:
    return sum(line.get("event") == "collapse" for line in lines(run))


def report(options: argparse.Namespace) -> None:
    """table.md, curves.png, and the small files of each run, also of arms that aren't in `ARMS`."""
    runs = {
        arm: {
            int(run.name.removeprefix("seed-")): run for run in sorted((options.runs / arm).glob("seed-*/"))
        }
        for arm in dict.fromkeys((*ARMS, *sorted(folder.name for folder in options.runs.iterdir())))
        if (options.runs / arm).is_dir()
    }
    at = options.at
    rows = [row for arm, seeds in runs.items() for row in table_row(arm, seeds, at)]
    head = ["arm", "seeds", "collapses", f"IoU at {at} (each seed)", "mean", "accuracy", "IoU, per image",
            "accuracy, per image", "further on: step, IoU", "s a step"]  # fmt: skip
    table = [head, ["---"] * len(head), *rows]
    options.keep.mkdir(parents=True, exist_ok=True)
    (options.keep / "table.md").write_text("\n".join(f"| {' | '.join(row)} |" for row in table) + "\n")
    draw(runs, options.keep / "curves.png", options.level)
    for arm, seeds in runs.items():
        for seed, run in seeds.items():
            into = options.keep / arm / f"seed-{seed}"
            into.mkdir(parents=True, exist_ok=True)
            for name in KEPT:
                if (run / name).is_file():
                    copyfile(run / name, into / name)
    print((options.keep / "table.md").read_text())


def table_row(arm: str, seeds: dict[int, Path], at: int) -> Iterator[list[str]]:
    """Scores at a step that runs have in common; those that are further on say so."""
    curves = {seed: points for seed, run in seeds.items() if (points := dict(curve(run))) and at in points}
    if not curves:
        return
    scores = [points[at] for points in curves.values()]
    iou, accuracy, flattering, flattered = (
        [score[matching][name] for score in scores]
        for matching in ("per_dataset", "per_image")
        for name in ("iou", "accuracy")
    )
    further = [(max(points), points[max(points)]) for points in curves.values() if max(points) > at]
    pace = [
        line["seconds"] / line["step"] for run in seeds.values() for line in lines(run) if line.get("val")
    ]
    yield [
        arm,
        " ".join(map(str, curves)),
        str(sum(restarts(run) for run in seeds.values())),
        " ".join(f"{value:.3f}" for value in iou),
        *(f"{mean(values):.3f}" for values in (iou, accuracy, flattering, flattered)),
        ", ".join(f"{step:,}: {score['per_dataset']['iou']:.3f}" for step, score in further),
        f"{min(pace):.2f}",
    ]


def draw(runs: dict[str, dict[int, Path]], file: Path, level: float | None) -> None:
    """IoU against steps: a colour for each arm, a line for each seed; the trivial row's level."""
    figure, axis = plt.subplots(figsize=(8, 4.5), layout="constrained")
    colours = plt.get_cmap("tab20")
    for index, (arm, seeds) in enumerate(runs.items()):
        for number, run in enumerate(seeds.values()):
            points = [(step, score["per_dataset"]["iou"]) for step, score in curve(run)]
            if points:
                label = arm if number == 0 else None
                axis.plot(*zip(*points, strict=True), color=colours(index % 20), lw=1.2, label=label)
    axis.set_xlabel("steps")
    axis.set_ylabel("IoU on val, one matching for the split")
    if level is not None:
        axis.axhline(level, color="k", lw=0.8, ls=":")
        axis.annotate("best fixed mask", (0, level), fontsize=7, va="bottom")
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(fontsize=7, ncols=2, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    figure.savefig(file, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    actions = parser.add_subparsers(required=True)
    runs = actions.add_parser("run", help="train")
    runs.add_argument("data", nargs="+")
    runs.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS), metavar="ARM")
    runs.add_argument("--seeds", nargs="+", type=int, default=[0])
    runs.add_argument("--steps", type=int, default=1500)
    runs.add_argument("--eval-every", type=int, default=250)
    runs.add_argument("--size", type=int, help="side in pixels, instead of 32; widths grow with it")
    runs.add_argument("--device", help="cpu, cuda, cuda:1 ...")
    runs.add_argument("--jobs", type=int, default=2)
    runs.add_argument("--out", type=Path, required=True)
    runs.set_defaults(do=run)
    reports = actions.add_parser("report", help="table and curves of what is there")
    reports.add_argument("runs", type=Path)
    reports.add_argument(
        "--keep", type=Path, required=True, help="folder for the table, the curves, small files"
    )
    reports.add_argument("--level", type=float, help="IoU of the best fixed mask, drawn as a line")
    reports.add_argument("--at", type=int, default=1500, help="step whose scores are compared")
    reports.set_defaults(do=report)
    options = parser.parse_args()
    options.do(options)


if __name__ == "__main__":
    main()
