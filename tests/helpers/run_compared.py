"""What tests of runs ask of a run's folder, and how they break it off."""

import dataclasses
import io
import json
import os
import shutil
import signal

import pytest
import torch
from rich.console import Console

from loaded_scripts import script
from redoseg.method.algorithm import ReDO
from redoseg.models.run_folder import RunFolder
from redoseg.models.weights import flat_moments, flat_weights
from redoseg.training.distributed import SingleProcess
from redoseg.training.redo import ReDOLearner
from redoseg.training.train import open_for_run
from redoseg.training.trainer import Trainer
from tinyruns import trained


def opened(config):
    """A run that has not taken a step yet."""
    config, console, group = config.resolved(), Console(file=io.StringIO()), SingleProcess()
    dataset = open_for_run(config, console)
    return Trainer(config, dataset, ReDOLearner(config, dataset, group), console, group)


def state_of(redo):
    """All tensors of networks and optimizers, as a checkpoint holds them."""
    return flat_weights(redo.networks.items()) | flat_moments(redo.optimizers)


def collapse_at(monkeypatch, *when):
    """Have f found collapsed at each (attempt, step)."""
    real = Trainer._measure_masks

    def measure_masks(self):
        found = real(self)
        dead = (self.attempt, self.step) in when
        return dataclasses.replace(found, sizes=(0.001, 0.999)) if dead else found

    monkeypatch.setattr(Trainer, "_measure_masks", measure_masks)


def log(run):
    return [json.loads(line) for line in run.metrics.read_text().splitlines()]


def without_times(line):
    return {name: value for name, value in line.items() if name != "seconds"}


def equal(ones, others):
    return ones.keys() == others.keys() and all(torch.equal(ones[name], others[name]) for name in ones)


differing_files = script("kill_test").differences


def differences(one, other):
    """Of all files of two runs: tensors bit for bit, log lines apart from times."""
    return list(differing_files(one, other))


class Killed(BaseException):
    pass


def ctrl_c_within(step, learner, name, monkeypatch, train):
    """`train()`, with Ctrl-C within the first such step that comes: in the learner's update of that name."""
    real, done = getattr(learner, name), []

    def update(self, *given):
        t = given[-1]
        done.append(t)
        if t == step - 1 and done.count(t) == 1:
            signal.raise_signal(signal.SIGINT)
        return real(self, *given)

    with monkeypatch.context() as patch:
        patch.setattr(learner, name, update)
        with pytest.raises(KeyboardInterrupt):
            train()


def interrupted(config, monkeypatch, step):
    """The folder of a run that was interrupted within that step."""
    ctrl_c_within(step, ReDO, "discriminator_update", monkeypatch, lambda: trained(config))
    return RunFolder(config.out)


def dying(monkeypatch, when, folder=None):
    """Have the process die when it renames its file number `when`; a list of those it has written.

    Those in `folder` itself are counted; without it all, wherever they are."""
    real, writes = os.replace, []

    def replace(aside, path):
        counted = folder in (None, path.parent)
        writes.extend([path] * counted)
        if counted and len(writes) == when:
            copy = shutil.copytree if aside.is_dir() else shutil.copy
            copy(aside, path.with_name(f".{path.name}.4194999"))  # what kill -9 would leave
            raise Killed
        real(aside, path)

    monkeypatch.setattr(os, "replace", replace)
    return writes
