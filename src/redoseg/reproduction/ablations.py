"""What the paper says in words about parts of its method, beside what trainings without each part give."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redoseg.config import TrainConfig
from redoseg.data.dataset import open_data
from redoseg.reproduction import tables
from redoseg.reproduction.plots import plot_ablations
from redoseg.reproduction.protocol import SETS, Experiment, PaperSet
from redoseg.reproduction.runs import read_log, train_all
from redoseg.reproduction.scoring import labelled_splits, score_run

BASE = "base"

_COLUMNS = (
    *("set", "arm", "said in the paper", "seeds", "seen here: IoU", "accuracy", "IoU per image"),
    *("acc per image", "smallest region", "masks vary by", "label-free score", "collapsed at step"),
)


@dataclass(frozen=True)
class Arm:
    """One change to the base: what the paper says of it, and the options that make it."""

    quote: str
    options: Mapping[str, Any]


def arms(base: TrainConfig) -> dict[str, Arm]:
    """Every arm by its name, as changes to a run with the options of `base`."""
    assert base.g_width is not None
    gains = {0.2: "doesn't work at all", 0.8: "works best", 1.4: "doesn't work at all"}
    other = "without" if base.attention else "with"
    return {
        BASE: Arm("", {}),
        "lambda_z 0": Arm(
            "the whole image goes into one region: optimal, and easy to discover", {"lambda_z": 0.0}
        ),
        "all regions redrawn": Arm(
            "the image can be ignored: the masks could be the same for all", {"redraw": "all"}
        ),
        **{
            f"orthogonal, gain {gain:g}": Arm(
                quote, {"init": "orthogonal", "init_gain": gain, "centred_start": False}
            )
            for gain, quote in gains.items()
        },
        "without pyramid pooling": Arm("with it masks are significantly better", {"f_pyramid": False}),
        f"{other} self-attention": Arm(
            "attention might not be mandatory, more experiments are needed", {"attention": not base.attention}
        ),
        "G half as wide": Arm(
            "half does on CUB and Flowers; the number matters", {"g_width": base.g_width // 2}
        ),
        "G twice as wide": Arm("the number matters", {"g_width": 2 * base.g_width}),
        "D updated twice": Arm("another ratio of D's to G's updates didn't help", {"d_updates": 2}),
    }


_NO_RESTART = {"collapse_below": 0.0, "collapse_variation": 0.0, "collapse_border": 1.0}
"""In an arm the check for a collapse is off: a run that fails is trained to its end."""


def ablations(experiment: Experiment) -> Path:
    """Train, score and write. Returns the folder of result.json, table.md and figure.png."""
    runs = {name: _arm_runs(experiment, SETS[name]) for name in experiment.sets or ("lfw",)}
    seed_by_seed = [
        seeds[seed]
        for seed in range(experiment.seeds)
        for by_arm in runs.values()
        for seeds in by_arm.values()
    ]
    train_all(seed_by_seed, jobs=experiment.jobs, console=experiment.console)
    sets = {name: _score_arms(SETS[name], by_arm) for name, by_arm in runs.items()}
    folder = tables.write_results(experiment, "ablations", {"sets": sets}, make_table(sets))
    plot_ablations(sets, folder / "figure.png")
    return folder


def _arm_runs(experiment: Experiment, paper_set: PaperSet) -> dict[str, list[TrainConfig]]:
    """By arm a run for each seed. The base is Table 1's run: it does start again after a collapse."""
    base = experiment.run_config(paper_set, BASE, 0)
    runs = {}
    for name, arm in arms(base).items():
        folder = name.replace(",", "").replace(" ", "-")
        options = {**_NO_RESTART, **arm.options} if arm.options else {}
        seeds = range(experiment.seeds)
        runs[name] = [experiment.run_config(paper_set, folder, seed, **options) for seed in seeds]
    return runs


def _score_arms(paper_set: PaperSet, runs: Mapping[str, Sequence[TrainConfig]]) -> dict[str, Any]:
    dataset = open_data(runs[BASE][0])
    split = next((name for name in ("test", "val", "train") if name in labelled_splits(dataset)), None)
    scores = {arm: [score_run(run, dataset) for run in seeds] for arm, seeds in runs.items()}
    return {
        "title": paper_set.title,
        "split": split,
        "trivial": next((row["fixed_mask"] for row in _last_scores(scores[BASE], split)), None),
        "arms": {
            name: {"said": arm.quote, "options": dict(arm.options)}
            | _summarize_arm(runs[name], scores[name], split)
            for name, arm in arms(runs[BASE][0]).items()
        },
    }


def _last_scores(scores: Sequence[dict[str, Any]], split: str | None) -> list[dict[str, Any]]:
    """The rows of each last checkpoint on the split; none where the split has no masks."""
    splits = [score["rules"]["last"]["splits"] for score in scores if "last" in score["rules"]]
    return [by_split[split] for by_split in splits if split in by_split]


def _summarize_arm(
    runs: Sequence[TrainConfig], scores: Sequence[dict[str, Any]], split: str | None
) -> dict[str, Any]:
    """Summaries over the seeds: scores of the last checkpoints, regions and collapses from the logs."""
    rows = _last_scores(scores, split)
    logs = [[line for line in read_log(run.out) if "event" not in line] for run in runs]
    ends = [log[-1] for log in logs if log]
    return {
        "seeds": [run.seed for run in runs],
        "collapses": sum(score["collapses"] for score in scores),
        **{
            matching: tables.summarize_scores([row[matching] for row in rows], ("iou", "accuracy"))
            for matching in ("per_dataset", "per_image")
        },
        "smallest_region": tables.summarize([min(end["region_sizes"]) for end in ends]),
        "variation": tables.summarize([end["variation"] for end in ends]),
        "label_free": tables.summarize([end["label_free"] for end in ends if end["label_free"] is not None]),
        "would_restart_at": [_collapse_step(run.out) for run in runs],
    }


def _collapse_step(run: Path) -> int | None:
    """The first step at which the usual check would start the run again; None if it never would."""
    for line in read_log(run):
        if line.get("event") == "collapse":
            return int(line["step"])
        smallest, variation = min(line["region_sizes"]), line["variation"]
        if smallest < TrainConfig.collapse_below or variation < TrainConfig.collapse_variation:
            return int(line["step"])
    return None


def make_table(sets: Mapping[str, dict[str, Any]]) -> str:
    """Markdown: for each set a row for each arm, and the fixed mask."""
    records: list[dict[str, Any]] = []
    for result in sets.values():
        records += [
            {"set": result["title"], "arm": name} | _arm_cells(arm) for name, arm in result["arms"].items()
        ]
        if result["trivial"]:
            trivial = {"seen here: IoU": result["trivial"]["iou"], "accuracy": result["trivial"]["accuracy"]}
            records.append({"set": result["title"], "arm": "trivial: one fixed mask"} | trivial)
    return tables.to_markdown(records, _COLUMNS) + "\n" + _NOTES


def _arm_cells(arm: Mapping[str, Any]) -> dict[str, Any]:
    steps = [tables.DASH if step is None else f"{step:,}" for step in arm["would_restart_at"]]
    return {
        "said in the paper": arm["said"] or None,
        "seeds": len(arm["seeds"]),
        "seen here: IoU": arm["per_dataset"]["iou"],
        "accuracy": arm["per_dataset"]["accuracy"],
        **tables.score_cells(arm["per_image"], "{} per image"),
        "smallest region": arm["smallest_region"],
        "masks vary by": arm["variation"],
        "label-free score": arm["label_free"],
        "collapsed at step": ", ".join(steps),
    }


_NOTES = (
    "Scores of the last checkpoint, one matching per data set, then per image as in the paper; mean ± "
    "deviation over seeds. `masks vary by` is the mean deviation of a pixel's mask between images: 0 where "
    "all images get the same masks. `collapsed at step`: where the usual check would begin the run anew; in "
    "the arms that check is off, so that one sees what becomes of them.\n"
)
