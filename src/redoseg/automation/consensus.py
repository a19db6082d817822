"""Do beginnings that know nothing of each other end with the same object? Where there is none, each finds
something else."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from redoseg.automation.folder import AutoFolder, Plan
from redoseg.automation.named import round_name
from redoseg.config import TrainConfig
from redoseg.config.auto import AutoConfig
from redoseg.data.dataset import open_data
from redoseg.data.sampler import evenly_spaced
from redoseg.distillation.rounds import verdict_of
from redoseg.files import read_json
from redoseg.label_free.measures import agreement
from redoseg.label_free.signals import find_regions
from redoseg.label_free.verdict import Verdict
from redoseg.models.load import load_model
from redoseg.models.run_folder import RunFolder
from redoseg.tensors import pick_device, to_tensor

_SEEN = 96  # photos, at most, on which students are compared


@torch.no_grad()
def with_consensus(
    verdict: Verdict,
    config: AutoConfig,
    folder: AutoFolder,
    plan: Plan,
    scores: Mapping[str, float],
    kept: str,
) -> Verdict:
    """The verdict on the kept student, with what other beginnings say. `agreed` is Cohen's kappa between the
    regions of the kept student and those of the first student that agrees with it best, other than the one
    that it comes from. Students that have found nothing themselves aren't asked; if no others are left, it is
    `alone`. With a single beginning the verdict stays as it was."""
    tried = [name for name in plan.starts if name in scores]  # without those that were left out
    origin = _taught_rounds(folder) or max(tried, key=lambda name: scores[name])
    others = [name for name in tried if name != origin and scores[name] >= 0]
    if not others:
        return verdict
    sound = [name for name in others if verdict_of(RunFolder(folder.student(name))).found != "not found"]
    if not sound:
        return replace(verdict, alone=True)
    device = pick_device(config.device)
    described = TrainConfig.of(data=config.data, out=config.out, size=config.size, cache=config.cache)
    photos = open_data(described).split("train")
    images = to_tensor(photos.images(evenly_spaced(len(photos), _SEEN)), device)

    def regions(name: str) -> Tensor:
        return find_regions(load_model(folder.student(name), device=device).f, images)

    found = regions(kept)
    return replace(verdict, agreed=max(agreement(found, regions(name)) for name in sound))


def _taught_rounds(folder: AutoFolder) -> str | None:
    """The first student that rounds come from. If they were begun by a version that compares students in
    another way, it needn't be the best one. None without rounds."""
    second = RunFolder(folder.student(round_name(2))).description
    return Path(read_json(second)["distill"]["run"]).name if second.is_file() else None
