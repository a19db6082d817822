"""What the paper says in words about parts of the method, each tried: one table, said there and seen here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redoseg.config import TrainConfig
from redoseg.data.dataset import open_data
from redoseg.reproduction.plots import ablation_bars
from redoseg.reproduction.protocol import SETS, DataSet, Experiment
from redoseg.reproduction.runs import log, train_all
from redoseg.reproduction.scoring import labelled_splits, run_scores
from redoseg.reproduction.tables import DASH, figure, leave, markdown, of_summary, summary

BASE = "base"


@dataclass(frozen=True)
class Arm:
    """One change against the base: what the paper says of it, and the options that make it."""

    said: str
    options: Mapping[str, Any]


def arms(base: TrainConfig) -> dict[str, Arm]:
    """Every arm, by its name, against a run with the options of `base`."""
    assert base.g_width is not None
    gains = {
        0.2: "doesn't work at all",
        0.8: "works best",
        1.4: "doesn't work at all",
    }
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
                said, {"init": "orthogonal", "init_gain": gain, "centred_start": False}
            )
            for gain, said in gains.items()
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


_LET_FAIL = {"collapse_below": 0.0, "collapse_variation": 0.0}
"""A run that fails is let fail: nothing starts it again."""


def ablations(experiment: Experiment) -> Path:
    """Train, score and write. Returns the folder of result.json, table.md and figure.png."""
    sets = [SETS[name] for name in experiment.sets or ("lfw",)]
    runs = {dataset.name: _runs(experiment, dataset) for dataset in sets}
    order = [run[seed] for seed in range(experiment.seeds) for of in runs.values() for run in of.values()]
    train_all(order, jobs=experiment.jobs, console=experiment.console)
    result = {"sets": {dataset.name: _result(dataset, runs[dataset.name]) for dataset in sets}}
    folder = experiment.folder("ablations")
    leave(folder, result=experiment.described("ablations") | result, table=_table(result["sets"]))
    ablation_bars(result["sets"], folder / "figure.png")
    return folder


def _runs(experiment: Experiment, dataset: DataSet) -> dict[str, list[TrainConfig]]:
    """By arm a run for each seed. The base is Table 1's; where it restarts after a collapse, that is told."""
    base = experiment.run(dataset, BASE, 0)
    return {
        name: [
            experiment.run(dataset, _folder(name), seed, **(arm.options and {**_LET_FAIL, **arm.options}))
            for seed in range(experiment.seeds)
        ]
        for name, arm in arms(base).items()
    }


def _folder(arm: str) -> str:
    return arm.replace(",", "").replace(" ", "-")


def _result(dataset: DataSet, runs: Mapping[str, Sequence[TrainConfig]]) -> dict[str, Any]:
    opened = open_data(runs[BASE][0])
    split = next((name for name in ("test", "val", "train") if name in labelled_splits(opened)), None)
    scored = {arm: [run_scores(run, opened) for run in of] for arm, of in runs.items()}
    told = arms(runs[BASE][0])
    return {
        "title": dataset.title,
        "split": split,
        "trivial": _trivial(scored[BASE], split),
        "arms": {
            arm: {"said": told[arm].said, "options": dict(told[arm].options)} | _seen(of, scored[arm], split)
            for arm, of in runs.items()
        },
    }


def _trivial(scored: Sequence[dict[str, Any]], split: str | None) -> dict[str, Any] | None:
    rules = [score["rules"]["last"]["splits"] for score in scored if "last" in score["rules"]]
    return rules[0][split]["fixed_mask"] if rules and split else None


def _seen(runs: Sequence[TrainConfig], scored: Sequence[dict[str, Any]], split: str | None) -> dict[str, Any]:
    """Summaries over the seeds of the last checkpoints, and what the logs say of regions and collapses."""
    rows = [score["rules"]["last"]["splits"].get(split) for score in scored if "last" in score["rules"]]
    rows = [row for row in rows if row is not None]
    ends = [_end(run.out) for run in runs]
    return {
        "seeds": [run.seed for run in runs],
        "collapses": sum(score["collapses"] for score in scored),
        **{
            matching: {
                metric: summary([row[matching][metric] for row in rows]) for metric in ("iou", "accuracy")
            }
            for matching in ("per_dataset", "per_image")
        },
        "smallest_region": summary([min(end["region_sizes"]) for end in ends if end]),
        "variation": summary([end["variation"] for end in ends if end]),
        "label_free": summary([end["label_free"] for end in ends if end and end["label_free"] is not None]),
        "would_restart_at": [_dies_at(run.out) for run in runs],
    }


def _end(run: Path) -> dict[str, Any] | None:
    """The last line of its log that isn't an event."""
    return next((line for line in reversed(list(log(run))) if "event" not in line), None)


def _dies_at(run: Path) -> int | None:
    """The first step at which the usual check would have begun it anew; None: never."""
    for line in log(run):
        if line.get("event") == "collapse":
            return int(line["step"])
        smallest, variation = min(line["region_sizes"]), line["variation"]
        if smallest < TrainConfig.collapse_below or variation < TrainConfig.collapse_variation:
            return int(line["step"])
    return None


def _table(sets: Mapping[str, dict[str, Any]]) -> str:
    head = ["set", "arm", "said in the paper", "seeds", "seen here: IoU", "accuracy", "IoU per image",
            "acc per image", "smallest region", "masks vary by", "label-free score",
            "collapsed at step"]  # fmt: skip
    rows: list[list[str]] = []
    for result in sets.values():
        for arm, seen in result["arms"].items():
            cells = [seen[m][metric] for m in ("per_dataset", "per_image") for metric in ("iou", "accuracy")]
            cells += [seen["smallest_region"], seen["variation"], seen["label_free"]]
            dies = ", ".join(DASH if step is None else f"{step:,}" for step in seen["would_restart_at"])
            said = seen["said"] or DASH
            rows.append([result["title"], arm, said, str(len(seen["seeds"])), *map(of_summary, cells), dies])
        if result["trivial"]:
            trivial = [figure(result["trivial"][metric]) for metric in ("iou", "accuracy")]
            rows.append([result["title"], "trivial: one fixed mask", DASH, DASH, *trivial, *[DASH] * 6])
    return markdown(head, rows) + "\n" + _NOTES


_NOTES = (
    "Scores of the last checkpoint, one matching per data set, then per image as in the paper; mean ± "
    "deviation over seeds. `masks vary by` is the mean deviation of a pixel's mask between images: 0 where "
    "all images get the same masks. `collapsed at step`: where the usual check would begin the run anew; in "
    "the arms that check is off, so that one sees what becomes of them.\n"
)
