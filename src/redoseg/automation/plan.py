"""How long to learn from a folder on this machine."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from redoseg.automation.folder import Plan
from redoseg.automation.game import STEPS, diffaugment_for, game_config, seconds_of_a_step
from redoseg.automation.named import GAME, round_name
from redoseg.automation.starts import find_starts
from redoseg.automation.timing import TRIED, seconds_each
from redoseg.config import TrainConfig
from redoseg.config.auto import AutoConfig
from redoseg.data.dataset import Dataset, Split
from redoseg.data.sampler import evenly_spaced
from redoseg.distillation.first_labels import SOURCES
from redoseg.models.backends.onnx import cores
from redoseg.segmentation.refining import Refining
from redoseg.tensors import to_tensor
from redoseg.training.mask_learner import MaskLearner
from redoseg.training.verdict import JUDGED

MANY = 1_500  # photos from which the students learn for longer
SQUARES = 3
"""Of photos that aren't square, from which later students learn: at the ends of the long side lie heads and
tails. The first labels look for an object in the middle, so the first students learn from centred squares."""
_BATCH, _WIDTH, _BLOCKS = 32, 8, 4
_LEAST = 60  # steps of a student, however little time there is
_OVERHEAD = 1.25  # of the time that steps and refining take: scores, pictures, files


def student_options() -> dict[str, Any]:
    """The options of every student, as `DistillConfig` has them."""
    return {
        "targets": "refined", "f_width": _WIDTH, "f_blocks": _BLOCKS, "lr": 2e-3, "ema_half_life": 3_000.0,
        "precision": "float32",
    }  # fmt: skip


def make_plan(config: AutoConfig, dataset: Dataset, device: torch.device) -> Plan:
    """The plan for these photos on this machine: with the same `config.minutes` a faster one learns for more
    steps."""
    photos, squares = dataset.split("train"), len(dataset.training)
    starts = find_starts(config, device)
    first_images, rounds = min(len(photos), 600), 3
    first_steps, steps = 300, 1_200 if len(photos) >= MANY else 600
    batch = min(_BATCH, len(photos) // 2)  # of the surest photos, from which students learn
    labelling = _seconds_to_label(starts, photos)
    step, refined = _seconds_of_a_step(config, photos, device), _seconds_to_refine(config, photos)
    diffaugment = diffaugment_for(len(photos))
    move, game_steps = _game_of(config, starts, batch, diffaugment)
    judging = refined * cores() * min(JUDGED, len(photos))

    def parts(first: int, later: int, game: int) -> dict[str, float]:
        """Minutes of each student that there may be, by name; that of the game has the game with it."""
        seconds = {
            name: step * first + first_images * (refined + labelling.get(name, 0.0)) + judging
            for name in starts
        }
        if GAME in seconds:
            seconds[GAME] += move * game
        for number in range(2, 1 + rounds):
            seconds[round_name(number)] = step * later + refined * squares + judging
        return {name: _OVERHEAD * each / 60 for name, each in seconds.items()}

    def total(*steps: int) -> float:
        masks = _OVERHEAD * refined * squares / 60
        return sum(parts(*steps).values()) + masks

    wanted = first_steps, steps, game_steps
    if config.minutes is not None and total(*wanted) > config.minutes:
        fixed = total(0, 0, 0)
        share = max(0.0, config.minutes - fixed) / (total(*wanted) - fixed)
        first_steps, steps, game_steps = (
            min(number, max(_LEAST, round(share * number))) for number in wanted
        )
    chosen = first_steps, steps, game_steps
    return Plan(
        starts, first_images, first_steps, steps, rounds, batch, total(*chosen),
        squares=1 if dataset.sides is None else SQUARES, game_steps=game_steps, parts=parts(*chosen),
        diffaugment=diffaugment,
    )  # fmt: skip


def _game_of(config: AutoConfig, starts: dict[str, str], *options: Any) -> tuple[float, int]:
    """How long a step of the game takes here, in seconds, and how many it has; zeros without one. options:
    the further ones of `game_config`."""
    if GAME not in starts:
        return 0.0, 0
    return seconds_of_a_step(game_config(config, STEPS, *options)), STEPS


def _seconds_of_a_step(config: AutoConfig, photos: Split, device: torch.device) -> float:
    """How long a step of a student takes here, from a few that are thrown away."""
    options = student_options()
    described = TrainConfig.of(
        data=config.data, out=Path("timed"), size=config.size, batch=_BATCH, f_width=options["f_width"],
        f_blocks=options["f_blocks"], compile="off",
    ).resolved()  # fmt: skip
    learner = MaskLearner(described, 0, device)
    images = to_tensor(photos.images(np.arange(_BATCH) % len(photos)), device)
    masks = torch.full((_BATCH, 2, config.size, config.size), 0.5, device=device)
    counted = torch.ones_like(masks[:, :1])
    return seconds_each(lambda t: learner.update(images, masks, counted, t), learner.check_finite)


def _seconds_to_refine(config: AutoConfig, photos: Split) -> float:
    """How long a photo's targets take here, with all cores at work."""
    pictures, refining = photos.images(evenly_spaced(len(photos), TRIED)), Refining(size=config.size)
    soft = np.zeros((2, config.size, config.size), np.float32)
    soft[1, config.size // 4 : -config.size // 4, config.size // 4 : -config.size // 4] = 0.9
    soft[0] = 1 - soft[1]
    began = time.perf_counter()
    for picture in pictures:
        refining(picture, soft)
    return (time.perf_counter() - began) / len(pictures) / cores()


def _seconds_to_label(starts: dict[str, str], photos: Split) -> dict[str, float]:
    """How long first labels of a photo take here, by their name, with all cores at work. They are made twice:
    where refining starts is looked for among them first."""
    pictures = photos.images(evenly_spaced(len(photos), TRIED))
    seconds = {}
    for name in starts:
        if name in SOURCES:
            began = time.perf_counter()
            for picture in pictures:
                SOURCES[name](picture)
            seconds[name] = 2 * (time.perf_counter() - began) / len(pictures) / cores()
    return seconds
