"""How well the score that needs no mask (label_free/signals.py) ranks checkpoints, beside the IoU on `val`.

    python experiments/rule.py measure RUN [RUN ...] --data lfw128.tar --out results/rule
    python experiments/rule.py report results/rule
    python experiments/rule.py made lfw128.tar --size 32 --out results/rule

`measure`: signals from a run's log where it has them, else from its kept checkpoints of f and from DATA
(drawn scenes need none), so that runs made before there was a rule count, too; delta's are in logs only.
What is found is kept in OUT/signals.json, and only what is new is measured when it is called again.
`report`: table.md. Labels are read here alone: IoU is that of the runs' logs, one matching for the split.
`made`: what the rule says of masks that are made: the truth of `val`, changed in ways that are wrong.
"""

import argparse
import itertools
import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import spearmanr
from study import curve, lines
from torch import Tensor

from redoseg.config import TrainConfig
from redoseg.data.dataset import open_dataset
from redoseg.data.labels import UNLABELLED
from redoseg.data.sampler import evenly_spaced
from redoseg.errors import RedosegError
from redoseg.label_free.measures import outline
from redoseg.label_free.signals import Signals, label_free_score, measure
from redoseg.label_free.statistics import mask_statistics, measure_masks
from redoseg.models.load import load_model
from redoseg.models.run_folder import RunFolder
from redoseg.tensors import to_tensor
from redoseg.training.trainer import OBSERVED

Row = dict[str, Any]
"""A checkpoint: data, run, step, iou, accuracy, signals (`Signals.as_dict`), smallest, least_variation."""

TERMS: dict[str, Callable[[Signals], float]] = {
    name: lambda signals, name=name: getattr(signals, name)  # type: ignore[misc]
    for name in ("centred", "outline", "mirrored", "moved", "swapped", "relit", "confidence", "variation",
                 "compactness", "brightness")
} | {
    "object's size": lambda signals: 1 - signals.sizes[0],
    "smallest region": lambda signals: min(signals.sizes),
    "recovered, least": lambda signals: min(signals.recovered) if signals.recovered else math.nan,
}  # fmt: skip

PARTS = [*TERMS][:9]
"""What a product might be made of: each is higher for a better mask, if it says anything."""

_LEAST = 4  # checkpoints of a run, for a rank correlation within it


def score(row: Row) -> float:
    return label_free_score(Signals.from_dict(row["signals"]), row["smallest"], row["least_variation"])


# Measuring


def name_of(run: Path) -> str:
    """Without the machine's folders: `paper/seed-1`, `lfw-a`."""
    return f"{run.parent.name}/{run.name}" if run.name.startswith("seed-") else run.name


def measured(runs: Iterable[Path], data: list[str], known: list[Row]) -> Iterator[Row]:
    """A row for each checkpoint of the runs' last attempts that was scored, but for those that are known."""
    have = {(row["run"], row["step"]) for row in known}
    images: dict[object, Tensor] = {}
    for path in runs:
        try:
            config = RunFolder(path).config()
            yield from _of_run(path, config, data, have, images)
        except RedosegError as error:
            print(f"left out: {name_of(path)}: {error}", flush=True)


def _of_run(
    path: Path, config: TrainConfig, data: list[str], have: set[Any], images: dict[object, Tensor]
) -> Iterator[Row]:
    folder, name = RunFolder(path), name_of(path)
    logged = {line["step"]: line["signals"] for line in lines(path) if line.get("signals")}
    drawn = config.data in (("digit",), ("digits",))
    for step, scores in curve(path):
        if (name, step) in have or scores["split"] != "val" or not folder.step(step).is_file():
            continue
        if step in logged:
            signals = logged[step]
        else:
            key = (config.data if drawn else (), config.size, config.n, config.resize)
            if key not in images:
                images[key] = _images(config, list(config.data) if drawn else data)
            f = load_model(path, checkpoint=str(step)).f
            # Older runs chose the background by another rule.
            f.order.copy_(torch.tensor(measure_masks(f, images[key]).order))
            signals = measure(f, images[key]).as_dict()
        row = {
            "data": ", ".join(Path(source).stem for source in config.data),
            **{"run": name, "step": step},
            **{matching: scores["per_dataset"][matching] for matching in ("iou", "accuracy")},
            **{"smallest": config.collapse_below, "least_variation": config.collapse_variation},
            "signals": signals,
        }
        print(f"{name} {step}: IoU {row['iou']:.3f}, score {score(row):.3f}", flush=True)
        yield row


def _images(config: TrainConfig, data: list[str]) -> Tensor:
    if not data:
        raise RedosegError(f"give --data: {', '.join(config.data)} is not drawn")
    dataset = open_dataset(data, size=config.size, n=config.n, resize=config.resize, mnist=config.mnist)
    train = dataset.split("train")
    return to_tensor(train.images(evenly_spaced(len(train), OBSERVED)))


# The table


def rank_correlation(x: Sequence[float], y: Sequence[float]) -> float:
    """Spearman's; NaN where one of them is constant or unknown."""
    if len(x) < 2 or not np.isfinite(x).all() or len(set(x)) < 2 or len(set(y)) < 2:
        return math.nan
    return float(spearmanr(x, y).statistic)


def by_run(rows: Iterable[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: (row["run"], row["step"])):
        found[row["run"]].append(row)
    return found


def chosen(rows: list[Row], by: Callable[[Row], float]) -> Row:
    """As training keeps it: of equals the later."""
    return max(rows, key=lambda row: (by(row), row["step"]))


def cost(rows: list[Row], by: Callable[[Row], float]) -> float:
    """What choosing a run's checkpoint so loses in IoU to the best there is."""
    return max(row["iou"] for row in rows) - chosen(rows, by)["iou"]


def _number(value: float, form: str = ".2f") -> str:
    """As the other tables have it: no zero before the point."""
    return "" if math.isnan(value) else f"{value:{form}}".replace("0.", ".", 1)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    for row in (head, ["---"] * len(head), *rows):
        yield f"| {' | '.join(row)} |"


def correlations(runs: dict[str, list[Row]]) -> Iterator[str]:
    """For the score and each signal: over all checkpoints, at the runs' ends, within runs."""
    everything = [row for rows in runs.values() for row in rows]

    def of(by: Callable[[Row], float]) -> list[str]:
        def correlation(rows: list[Row]) -> float:
            return rank_correlation([by(row) for row in rows], [row["iou"] for row in rows])

        within = [correlation(rows) for rows in runs.values() if len(rows) >= _LEAST]
        within = [value for value in within if not math.isnan(value)]
        inside = (median(within), mean(within)) if within else (math.nan, math.nan)
        values = (correlation(everything), correlation([rows[-1] for rows in runs.values()]), *inside)
        return [_number(value) for value in values]

    signals = [(row["run"], row["step"], Signals.from_dict(row["signals"])) for row in everything]
    at = {(run, step): found for run, step, found in signals}
    rows = [["**the score**", *of(score)], ["the step, for comparison", *of(lambda row: row["step"])]]
    for name, term in TERMS.items():
        rows.append([name, *of(lambda row, term=term: term(at[row["run"], row["step"]]))])  # type: ignore[misc]
    return _table(["Spearman with IoU", "all checkpoints", "last ones", "within a run, median", "mean"], rows)


def choices(runs: dict[str, list[Row]]) -> Iterator[str]:
    """What the rule chooses in each run, beside the best and the last; then among all runs."""
    table, costs, gains = [], [], []
    for name, rows in runs.items():
        if len(rows) < 2:
            continue
        best, rule, last = max(rows, key=lambda row: row["iou"]), chosen(rows, score), rows[-1]
        costs.append(best["iou"] - rule["iou"])
        gains.append(rule["iou"] - last["iou"])
        picked = [f"{_number(row['iou'], '.3f')} ({row['step']:,})" for row in (best, rule, last)]
        changes = [_number(-costs[-1], "+.3f"), _number(gains[-1], "+.3f")]
        table.append([name, *picked, *changes, _number(score(rule), ".3f")])
    if costs:
        summary = [_number(-mean(costs), "+.3f"), _number(mean(gains), "+.3f")]
        worst = [_number(-max(costs), "+.3f"), _number(min(gains), "+.3f")]
        table += [["mean", "", "", "", *summary, ""], ["worst", "", "", "", *worst, ""]]
    head = ["run", "best", "label-free", "last", "against best", "against last", "score"]
    return _table([*head[:4], *head[4:]], table)


def across(runs: dict[str, list[Row]]) -> str:
    picks = [chosen(rows, score) for rows in runs.values()]
    pick = max(picks, key=score)
    best = max((row for rows in runs.values() for row in rows), key=lambda row: row["iou"])
    return (
        f"Of all runs' choices the highest score, {_number(score(pick), '.3f')}, has {pick['run']} at step "
        f"{pick['step']:,}: IoU {_number(pick['iou'], '.3f')}. The best of all is "
        f"{_number(best['iou'], '.3f')} ({best['run']}, step {best['step']:,})."
    )


# How much of it is luck in choosing the terms


def products() -> dict[str, Callable[[Row], float]]:
    """Every product of one to three parts."""

    def product(names: tuple[str, ...]) -> Callable[[Row], float]:
        return lambda row: math.prod(
            max(0.0, TERMS[name](Signals.from_dict(row["signals"]))) for name in names
        )

    sets = [names for count in (1, 2, 3) for names in itertools.combinations(PARTS, count)]
    return {" * ".join(names): product(names) for names in sets}


def quality(values: dict[tuple[str, int], float], runs: dict[str, list[Row]]) -> float:
    """Of a rule, on runs: its rank correlation over all checkpoints less its mean cost."""
    rows = [row for some in runs.values() for row in some]
    found = [values[row["run"], row["step"]] for row in rows]
    correlation = rank_correlation(found, [row["iou"] for row in rows])
    by = lambda row: values[row["run"], row["step"]]  # noqa: E731
    lost = mean(cost(some, by) for some in runs.values())
    return -1.0 if math.isnan(correlation) else correlation - lost


def leave_one_out(runs: dict[str, list[Row]], others: dict[str, list[Row]]) -> str:
    """The product that is best on all runs but one, applied to that one; the one best on `others`, to all."""
    every = {**runs, **others}
    values = {
        name: {(row["run"], row["step"]): rule(row) for rows in every.values() for row in rows}
        for name, rule in products().items()
    }

    def best_on(some: dict[str, list[Row]]) -> str:
        return max(values, key=lambda name: quality(values[name], some))

    def loss(name: str, rows: list[Row]) -> float:
        return cost(rows, lambda row: values[name][row["run"], row["step"]])

    several = {name: rows for name, rows in runs.items() if len(rows) > 1}
    picked = {left: best_on({n: r for n, r in runs.items() if n != left}) for left in several}
    lost = mean(loss(picked[left], rows) for left, rows in several.items())
    ours = mean(cost(rows, score) for rows in several.values())
    text = (
        f"Of {len(values)} products of up to three parts the best on all runs but one, applied to that one, "
        f"costs {_number(lost, '.3f')} IoU in the mean (the rule: {_number(ours, '.3f')}); it is "
        f"{_most_common(picked.values())}."
    )
    if len(others) > 1:
        there = best_on(others)
        moved = mean(loss(there, rows) for rows in several.values())
        text += f" The one that is best on the other data, {there}, costs {_number(moved, '.3f')} here."
    return text


def _most_common(names: Iterable[str]) -> str:
    found = list(names)
    return ", ".join(
        f"{name} ({found.count(name)} times)" for name in sorted(set(found), key=found.count, reverse=True)
    )


def report(rows: list[Row]) -> str:
    parts = []
    for data in sorted({row["data"] for row in rows}):
        runs = by_run(row for row in rows if row["data"] == data)
        others = by_run(row for row in rows if row["data"] != data)
        count = sum(map(len, runs.values()))
        parts += [f"## {data}: {count} checkpoints of {len(runs)} runs", ""]
        parts += [*correlations(runs), "", *choices(runs), "", across(runs), ""]
        if len(runs) > 2:
            parts += [leave_one_out(runs, others), ""]
    return "\n".join(parts)


# Masks that are made


def made(images: Tensor, truth: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Masks (N, S, S) of 0 and 1: the truth, and what f might take for it. images (N, 3, S, S)."""

    def grown(mask: Tensor, by: int) -> Tensor:
        return F.max_pool2d(mask[:, None], 2 * by + 1, 1, by)[:, 0]

    light = images.mean(1)
    bright = (light > light.flatten(1).median(1).values[:, None, None]).float()
    rows, columns = torch.meshgrid(*[torch.linspace(-1, 1, side) for side in truth.shape[1:]], indexing="ij")
    yield "the truth", truth
    yield "the truth, a pixel more all round", grown(truth, 1)
    yield "a pixel less", 1 - grown(1 - truth, 1)
    yield "the brighter part of the truth", truth * bright
    yield "the darker part", truth * (1 - bright)
    yield "the image's brighter half", bright
    yield "the darker half", 1 - bright
    yield "the truth's mean, above a half", (truth.mean(0) > 0.5).float().expand_as(truth)
    yield "a disc", (rows.square() + columns.square() < 0.5).float().expand_as(truth)
    yield "everything but the truth", 1 - truth


def made_table(data: str, size: int) -> str:
    """Of the labelled images of `val`, at most 256; unlabelled pixels belong to no object, and to no IoU."""
    split = open_dataset([data], size=size, n=2).split("val")
    some = split.labelled[evenly_spaced(len(split.labelled), OBSERVED)]
    images, labels = to_tensor(split.images(some)), torch.from_numpy(split.labels(some))
    known = labels != UNLABELLED
    truth = ((labels > 0) & known).float()
    rows = []
    for name, mask in made(images, truth):
        both, either = mask * truth * known, torch.maximum(mask, truth) * known
        iou = (both.sum((1, 2)) / either.sum((1, 2)).clamp_min(1)).mean().item()
        edge = mask_statistics(torch.stack((1 - mask, mask), 1))
        centred, along = 1 - edge.border[1] / edge.sizes[1], outline(images, mask.long())
        product = max(0.0, centred) * max(0.0, along)
        rows.append([name, *(_number(value) for value in (iou, centred, along, product))])
    title = f"## {Path(data).stem} at {size} px, {len(some)} images of `val`"
    head = ["mask", "IoU", "centred", "outline", "centred * outline"]
    return "\n".join([title, "", *_table(head, rows), ""])


def measure_runs(options: argparse.Namespace) -> None:
    file = options.out / "signals.json"
    rows = read_rows(file) if file.is_file() else []
    options.out.mkdir(parents=True, exist_ok=True)
    try:
        for row in measured(options.runs, options.data, list(rows)):
            rows.append(row)
    finally:  # stopped in between, it goes on from here
        write_rows(file, rows)


def read_rows(file: Path) -> list[Row]:
    """What `write_rows` wrote: column names once, then a list a checkpoint; "signals.x" is x of `signals`."""
    table = json.loads(file.read_text())
    rows = []
    for values in table["rows"]:
        row: Row = {"signals": {}}
        for name, value in zip(table["columns"], values, strict=True):
            within, _, signal = name.partition(".")
            (row[within] if signal else row)[signal or within] = value
        rows.append(row)
    return rows


def write_rows(file: Path, rows: Sequence[Row]) -> None:
    flat = [
        {name: value for name, value in row.items() if name != "signals"}
        | {f"signals.{name}": value for name, value in row["signals"].items()}
        for row in rows
    ]
    columns = list(dict.fromkeys(itertools.chain.from_iterable(flat)))
    lines = ",\n".join(json.dumps([row.get(name) for name in columns], separators=(",", ":")) for row in flat)
    file.write_text(f'{{"columns": {json.dumps(columns)},\n"rows": [\n{lines}\n]}}\n')


def report_runs(options: argparse.Namespace) -> None:
    text = report(read_rows(options.out / "signals.json"))
    (options.out / "table.md").write_text(text)
    print(text)


def report_made(options: argparse.Namespace) -> None:
    options.out.mkdir(parents=True, exist_ok=True)
    text = "\n".join(made_table(data, size) for data in options.data for size in options.size)
    (options.out / "made.md").write_text(text)
    print(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    actions = parser.add_subparsers(required=True)
    runs = actions.add_parser("measure", help="signals of runs' checkpoints")
    runs.add_argument("runs", nargs="+", type=Path)
    runs.add_argument("--data", nargs="+", default=[], help="where the photos of the runs lie now")
    runs.add_argument("--out", type=Path, required=True, help="folder for signals.json")
    runs.set_defaults(do=measure_runs)
    reports = actions.add_parser("report", help="the table of what was measured")
    reports.add_argument("out", type=Path, help="folder with signals.json")
    reports.set_defaults(do=report_runs)
    masks = actions.add_parser("made", help="the rule on masks that are made")
    masks.add_argument("data", nargs="+")
    masks.add_argument("--size", nargs="+", type=int, default=[32])
    masks.add_argument("--out", type=Path, required=True, help="folder for made.md")
    masks.set_defaults(do=report_made)
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.do(options)


if __name__ == "__main__":
    main()
