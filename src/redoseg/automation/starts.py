"""What teaches the first students: first labels, models that come with the package, what a person names.

Each start has a small student for a short while; which of these goes on is judged afterwards, without a mask
(`auto`).
"""

import dataclasses
from pathlib import Path

import torch

from redoseg.config import TrainConfig
from redoseg.config.auto import AutoConfig
from redoseg.data.dataset import open_data
from redoseg.data.sampler import evenly_spaced
from redoseg.distillation.first_labels import PREFIX, SOURCES
from redoseg.errors import ConfigError, DataError
from redoseg.files import expanded
from redoseg.label_free.signals import label_free_score, measure
from redoseg.models.run_folder import RunFolder
from redoseg.models.shipped import shipped_folder, shipped_names
from redoseg.models.source import check_teacher, find_model
from redoseg.tensors import to_tensor

USUAL = ("disc", "boxes", "clusters")
"""The first labels that are tried if nobody says which. `iem` takes .2 s a photo and was never the best."""
_SHIPPED = 2  # of the models that come with the package, that are tried
_SEEN = 64  # photos on which such a model is judged
_KNOWS = 0.2  # label-free score from which it is worth a try


def find_starts(config: AutoConfig, device: torch.device) -> dict[str, str]:
    """What teaches the first students, as `redoseg distill` takes it, by the students' names.

    Raises ConfigError for a start that isn't there, that has more than two regions, or whose name another one
    has; DataError for a run of other photos.
    """
    if not config.starts:
        return {name: f"{PREFIX}{name}" for name in USUAL} | _shipped_starts(config, device)
    starts: dict[str, str] = {}
    for given in config.starts:
        name, teacher = _named(given, config)
        if name in starts:
            raise ConfigError(f"--starts {given}: another start is called {name}, too; rename its folder")
        starts[name] = teacher
    return starts


def _named(given: str, config: AutoConfig) -> tuple[str, str]:
    """The student's name and its teacher, of one of --starts."""
    if given in SOURCES:
        return given, f"{PREFIX}{given}"
    shipped = None if expanded(given).exists() else shipped_folder(given)
    folder = shipped or expanded(given).absolute()
    if not folder.exists():
        known = ", ".join((*SOURCES, *shipped_names()))
        raise ConfigError(f"--starts {given}: there is no such folder; name a run's or a model's, or {known}")
    check_teacher(folder)
    n = find_model(folder).load().f.n
    if n != 2:
        raise ConfigError(f"--starts {given} has {n} regions: auto looks for one object, in two")
    run = RunFolder(folder)
    if run.exists:
        _check_photos(run, config)
    name = folder.name if shipped else f"of-{folder.name}"  # no name of a round's
    return name, str(folder)


def _check_photos(run: RunFolder, config: AutoConfig) -> None:
    """DataError unless the run was trained on the photos that are to be learned."""
    own = dataclasses.replace(run.config(), cache=config.cache, squares=1)
    if not open_data(own, config.data).is_the_one(run.fingerprint()):
        raise DataError(
            f"--starts {run.path} was trained on other photos: `redoseg export {run.path}` makes a model of "
            "it, which may be named instead"
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
