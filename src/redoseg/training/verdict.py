"""At a run's end: has it found an object? Judged on its training images, without a label."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from redoseg.config import TrainConfig
from redoseg.data.sampler import evenly_spaced
from redoseg.label_free.measures import contained
from redoseg.label_free.signals import find_regions, label_free_score, measure, steadiness
from redoseg.label_free.trouble import trouble
from redoseg.label_free.verdict import SURE, Verdict
from redoseg.networks.mask import MaskNetwork
from redoseg.segmentation.refining import Refining
from redoseg.tensors import to_array

JUDGED = 192  # images, at most, whose masks are refined to see how sure they are


@torch.no_grad()
def judge(f: MaskNetwork, images: Tensor, starts: Sequence[float], config: TrainConfig) -> Verdict:
    """The verdict on f by images (N, 3, S, S) in [-1, 1]; `starts` is from where their masks are refined."""
    signals, regions = measure(f, images), find_regions(f, images)
    pieces = contained(regions > 0)
    score = label_free_score(signals, config.collapse_below, config.collapse_variation, pieces)
    some = images[torch.from_numpy(evenly_spaced(len(images), JUDGED)).to(images.device)]
    masks, refining = f.ordered_masks(some).cpu().numpy(), Refining(tuple(starts))
    doubts = [refining(photo, mask).doubt for photo, mask in zip(to_array(some), masks, strict=True)]
    sure = float(np.mean(np.array(doubts) <= SURE))
    steady = steadiness(f, images, regions)
    return Verdict(score, sure, trouble=trouble(signals, pieces), steady=steady)
