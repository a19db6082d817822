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
from redoseg.reproduction.runs import count_collapses, failure_reason
from redoseg.tensors import pick_device

RULES = ("best", "last", "label-free")
"""The paper's (chosen on val with masks), and two that need none."""

_MASKS_LOOKED_AT = 64  # of a split, to know whether any pixel is labelled


def labelled_splits(dataset: Dataset) -> list[str]:
    """The splits in which there is a labelled pixel, among the first masks."""
    some = {name: split.labels(split.labelled[:_MASKS_LOOKED_AT]) for name, split in dataset.splits.items()}
    return [name for name, labels in some.items() if (labels != UNLABELLED).any()]


def score_run(config: TrainConfig, dataset: Dataset) -> dict[str, Any]:
    """By rule and split what `redoseg evaluate --json` gives; how often the run collapsed, why it failed.

    The scores are kept in the run's scores.json, so that they are measured once. DataError if the data isn't
    what the run was trained on.
    """
    run = RunFolder(config.out)
    collapses, failed = count_collapses(run.path), failure_reason(run.path)
    outcome = {"seed": config.seed, "collapses": collapses, "failed": failed}
    if failed is not None:
        return outcome | {"rules": {}}
    if not dataset.is_the_one(run.fingerprint()):
        raise DataError(f"the data has changed since {run.path} was trained: bring back the same files")
    file = run.path / "scores.json"
    rules = read_json(file) if file.is_file() else {}
    for rule in RULES:
        # Only a run that had masks to choose with has a `best` checkpoint.
        chosen = {"best": run.best, "last": run.last, "label-free": run.label_free}[rule]
        if rule not in rules and chosen.is_file():
            rules[rule] = _score_checkpoint(run.path, rule, config, dataset)
            write_json(file, rules)
    return outcome | {"rules": rules}


def _score_checkpoint(run: Path, rule: str, config: TrainConfig, dataset: Dataset) -> dict[str, Any]:
    model = load_model(run, checkpoint=rule, device=pick_device(config.device))
    scores = {name: score(model, dataset.splits[name]).as_dict() for name in labelled_splits(dataset)}
    return {"checkpoint": model.checkpoint, "splits": scores}
