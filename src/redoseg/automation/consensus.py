"""Do beginnings that know nothing of each other end with the same object? Where there is none, each finds
something else."""

from collections.abc import Mapping

import torch
from torch import Tensor

from redoseg.automation.folder import AutoFolder, Plan
from redoseg.config import TrainConfig
from redoseg.config.auto import AutoConfig
from redoseg.data.dataset import open_data
from redoseg.data.sampler import evenly_spaced
from redoseg.label_free.measures import agreement, region_maps
from redoseg.models.load import load_model
from redoseg.tensors import pick_device, to_tensor

_SEEN = 96  # photos, at most, on which students are compared
_BATCH = 32


@torch.no_grad()
def agreement_of_starts(
    config: AutoConfig, folder: AutoFolder, plan: Plan, scores: Mapping[str, float], kept: str
) -> float | None:
    """Cohen's kappa between the regions of the kept student and those of the first student that agrees with
    it best, other than the one that it comes from: 1 if they are the same, 0 as by chance. None with a single
    beginning."""
    origin = max(plan.starts, key=lambda name: scores[name])
    others = [name for name in plan.starts if name != origin and scores[name] >= 0]
    if not others:
        return None
    device = pick_device(config.device)
    described = TrainConfig.of(data=config.data, out=config.out, size=config.size, cache=config.cache)
    photos = open_data(described).split("train")
    images = to_tensor(photos.images(evenly_spaced(len(photos), _SEEN)), device)

    def regions(name: str) -> Tensor:
        f = load_model(folder.student(name), device=device).f
        return torch.cat([region_maps(f.ordered_masks(part)) for part in torch.split(images, _BATCH)])

    found = regions(kept)
    return max(agreement(found, regions(name)) for name in others)
