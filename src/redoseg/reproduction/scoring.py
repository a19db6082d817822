"""A run's scores on every split that has masks, by every rule that chooses a checkpoint."""

from pathlib import Path
from typing import Any

from redoseg.config import TrainConfig
from redoseg.data.dataset import Dataset
from redoseg.data.labels import UNLABELLED
from redoseg.errors import DataError
from redoseg.evaluation.evaluate import score
from redoseg.files import read_json, write_json
from redoseg.models.load import load_model
from redoseg.models.run_folder import RunFolder
from redoseg.reproduction.runs import collapses, failure
from redoseg.tensors import pick_device

RULES = ("best", "last", "label-free")
"""The paper's (chosen on val with masks), and two that need none."""

_LABELS_LOOKED_AT = 64  # of a split, to know whether there is a label in it


def labelled_splits(dataset: Dataset) -> list[str]:
    """The splits in which there is a labelled pixel."""
    return [name for name in dataset.splits if _labelled(dataset, name)]


def _labelled(dataset: Dataset, name: str) -> bool:
    split = dataset.splits[name]
    some = split.labelled[:_LABELS_LOOKED_AT]
    return bool(len(some)) and bool((split.labels(some) != UNLABELLED).any())


def run_scores(config: TrainConfig, dataset: Dataset) -> dict[str, Any]:
    """By rule and split what `redoseg evaluate --json` gives; how often it collapsed, why it failed if so.

    Kept in the run's scores.json, so it is measured once. DataError if the data isn't what was trained on.
    """
    run = RunFolder(config.out)
    told = {"seed": config.seed, "collapses": collapses(run.path), "failed": failure(run.path)}
    if told["failed"] is not None:
        return told | {"rules": {}}
    if run.fingerprint() != dataset.fingerprint:
        raise DataError(f"the data has changed since {run.path} was trained: bring back the same files")
    kept = run.path / "scores.json"
    rules = read_json(kept) if kept.is_file() else {}
    for rule in RULES:
        if rule not in rules and _has(run, rule):
            rules[rule] = _scores(run.path, rule, config, dataset)
            write_json(kept, rules)
    return told | {"rules": rules}


def _has(run: RunFolder, rule: str) -> bool:
    """`best` is there only where the run had masks to choose with."""
    return {"best": run.best, "last": run.last, "label-free": run.label_free}[rule].is_file()


def _scores(run: Path, rule: str, config: TrainConfig, dataset: Dataset) -> dict[str, Any]:
    model = load_model(run, checkpoint=rule, device=pick_device(config.device))
    scores = {name: score(model, dataset.splits[name]).as_dict() for name in labelled_splits(dataset)}
    return {"checkpoint": model.checkpoint, "splits": scores}
