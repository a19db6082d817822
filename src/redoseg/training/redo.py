"""Trains ReDO: Algorithm 1 on new images and new random draws in each step, restarted after a collapse."""

from typing import Any

import torch

from redoseg.config import TrainConfig
from redoseg.data.dataset import Dataset
from redoseg.data.sampler import InfiniteSampler, derive_seed
from redoseg.errors import ConfigError
from redoseg.method.algorithm import CURE, Metrics, ReDO
from redoseg.method.drawing import RandomDraws
from redoseg.networks.mask import MaskNetwork
from redoseg.training.batches import Batches, open_source
from redoseg.training.distributed import SingleProcess
from redoseg.training.labelled import open_labelled
from redoseg.training.learner import Learner
from redoseg.training.warm_start import WarmStart


class ReDOLearner(Learner):
    """The learner of `redoseg train`. Every process of a group takes every step, on its part of the batch."""

    can_restart = True
    cure = CURE

    def __init__(self, config: TrainConfig, dataset: Dataset, group: SingleProcess) -> None:
        self.config, self.group = config, group
        self.device = group.device(config.device)
        self.labelled = open_labelled(config, dataset)
        self.channels_named = self.labelled is not None
        self.supervision = None if self.labelled is None else self.labelled.supervision
        self.images = dataset.training
        self.source = open_source(self.images, self.device)
        self.started_from = ""  # the digest of --start
        self.restart(0)

    def restart(self, attempt: int) -> None:
        """Build new networks and optimizers from a seed that depends on the run's seed and the attempt."""
        config, group = self.config, self.group
        seed = derive_seed(config.seed, attempt)
        self.attempt = attempt
        alone = group.world == 1
        self.redo = ReDO(config, seed, self.device, group.all_reduce_mean_gradients, alone=alone)
        self.networks, self.optimizers = self.redo.networks.items(), self.redo.optimizers
        group.sync_batch_norm(self.redo.networks.G)
        stream = InfiniteSampler(len(self.images), config.batch, seed)
        self.batches = Batches(self.source, stream, flip=config.flip, rank=group.rank, world=group.world)

    def begin(self, saved: dict[str, Any] | None) -> None:
        """Give f the weights of --start, unless a checkpoint has brought its own."""
        if saved is None:
            self.start()
        else:
            self.started_from = saved.get("start", "")

    def start(self) -> None:
        """Give f the weights of --start. ConfigError if they aren't what they were when the run began."""
        if self.config.start is None:
            return
        start = WarmStart(self.config)
        if self.started_from and start.digest != self.started_from:
            raise ConfigError(f"--start {self.config.start} has changed since {self.config.out} was begun")
        self.started_from = start.digest
        averaged = [] if self.redo.networks.f_ema is None else [self.redo.networks.f_ema]
        start.copy_to(self.redo.networks.f, *averaged)

    @property
    def state(self) -> dict[str, Any]:
        """The digest of --start, if there is one."""
        return {"start": self.started_from} if self.config.start is not None else {}

    def describe(self) -> dict[str, Any]:
        """For run.json: the model from which f started."""
        if self.config.start is None:
            return {}
        return {"start": {"model": self.config.start, "weights": self.started_from}}

    @property
    def monitored(self) -> MaskNetwork:
        """f without averaging: a moving average is slow to show a collapse."""
        return self.redo.networks.f

    def step(self, t: int) -> Metrics:
        """Algorithm 1: update f, G and delta on a batch of images, then D on others. t counts from 0."""
        config, redo = self.config, self.redo
        random = torch.Generator().manual_seed(derive_seed(config.seed, self.attempt, t))
        batches = (1 + (config.fakes == "new")) * config.d_updates + 1  # that a step consumes
        new = iter(range(t * batches, (t + 1) * batches))
        labelled = None
        if self.labelled is not None:
            labelled = self.labelled.batch(config, self.attempt, t, self.device)

        I, draws = self.batches.at(next(new), random), self._sample_draws(random, t)
        metrics = redo.generator_update(I, draws, t, labelled)
        for _ in range(config.d_updates):
            I_real = self.batches.at(next(new), random)
            if config.fakes == "new":
                I, draws = self.batches.at(next(new), random), self._sample_draws(random, t)
            metrics |= redo.discriminator_update(I_real, I, draws, t)
        return metrics

    def _sample_draws(self, random: torch.Generator, t: int) -> RandomDraws:
        """Random numbers of the whole batch, of which this process takes those of its own images."""
        return RandomDraws.sample(self.config, random, t).part(self.group.rank, self.group.world)

    def check_finite(self, t: int) -> None:
        """Raise DivergenceError if a loss was not finite before step t."""
        self.redo.check_finite(t)


def check_shares(config: TrainConfig, group: SingleProcess) -> None:
    """Raise ConfigError for options with which the processes can't divide a batch among them."""
    batch, n, world = config.batch, config.n, group.world
    group.check_batch(batch)
    if world == 1 or config.redraw != "one":
        return
    if batch < n:  # a generator without an image has no gradient: None would become zero, and Adam would move
        raise ConfigError(f"--batch {batch} is too small for {world} processes: use at least {n} (--n)")
    if config.g_norm == "batch" and batch // n < world:
        raise ConfigError(
            f"--batch {batch} leaves some of {world} processes without an image of each of {n} regions, "
            f"which --g-norm batch needs: use --batch {n * world} or --g-norm instance"
        )
