"""What teaches the first students: first labels, models that come with the package, what a person names.

Each start has a small student for a short while; which of these goes on is judged afterwards, without a mask
(`auto`).
"""

import dataclasses
from pathlib import Path

import torch

from redoseg.automation.named import named_starts
from redoseg.config import TrainConfig
from redoseg.config.auto import AutoConfig
from redoseg.config.distill import FIRST_PREFIX
from redoseg.data.dataset import open_data
from redoseg.data.sampler import evenly_spaced
from redoseg.errors import ConfigError, DataError
from redoseg.label_free.signals import label_free_score, measure
from redoseg.models.run_folder import RunFolder
from redoseg.models.shipped import shipped_folder, shipped_names
from redoseg.models.source import find_model
from redoseg.tensors import to_tensor

USUAL = ("boxes", "clusters", "saliency")
"""The first labels that are tried if nobody says which. `disc` was never the best, nor was `iem`, which takes
up to .7 s a photo."""
_SHIPPED = 2  # of the models that come with the package, that are tried
_SEEN = 64  # photos on which such a model is judged
_KNOWS = 0.2  # label-free score from which it is worth a try


def find_starts(config: AutoConfig, device: torch.device) -> dict[str, str]:
    """What teaches the first students, as `redoseg distill` takes it, by the students' names.

    Raises as `named_starts`, and ConfigError for a start with more than two regions or of larger images;
    DataError for a run of other photos; ModelError for one that can't be read.
    """
    if not config.starts:
        return {name: FIRST_PREFIX + name for name in USUAL} | _shipped_starts(config, device)
    starts = named_starts(config.starts)
    for teacher in starts.values():
        if not teacher.startswith(FIRST_PREFIX):
            _check(Path(teacher), config)
    return starts


def _check(teacher: Path, config: AutoConfig) -> None:
    """Errors for a run or model that can't teach a student of these photos."""
    f = find_model(teacher).load().f
    if f.n != 2:
        raise ConfigError(f"--starts {teacher} has {f.n} regions: auto looks for one object, in two")
    if f.size > config.size:
        raise ConfigError(f"--starts {teacher} was trained at {f.size} pixels: add --size {f.size}")
    run = RunFolder(teacher)
    if not run.exists:
        return
    own = dataclasses.replace(run.config(), cache=config.cache, squares=1)
    if not open_data(own, config.data).is_the_one(run.fingerprint()):
        copies = " (with --trim, copies without frames are learned)" if config.trim else ""
        raise DataError(
            f"--starts {teacher} was trained on other photos{copies}: `redoseg export {teacher}` makes a "
            "model of it, which may be named instead"
        )


def _shipped_starts(config: AutoConfig, device: torch.device) -> dict[str, str]:
    """The shipped models of two regions whose masks of these photos look most like an object's, with the
    place of each that can't be taken for a folder here; none of those whose masks look like nothing.
    Their scores order them badly, since each sees the photos at its own size, so the best alone won't do."""
    scores: dict[str, float] = {}
    for name in shipped_names():
        model = find_model(_folder_of(name)).load(device)
        if model.f.n != 2:
            continue
        own = open_data(
            TrainConfig.of(data=config.data, out=config.out, size=model.f.size, cache=config.cache)
        ).split("train")
        signals = measure(model.f, to_tensor(own.images(evenly_spaced(len(own), _SEEN)), device))
        scores[name] = label_free_score(signals)
    best = sorted(scores, key=lambda name: -scores[name])[:_SHIPPED]
    return {name: str(_folder_of(name)) for name in best if scores[name] >= _KNOWS}


def _folder_of(shipped: str) -> Path:
    """The folder of a shipped model: its name alone might be that of a folder here."""
    folder = shipped_folder(shipped)
    assert folder is not None
    return folder
