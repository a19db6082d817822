"""The verb distill: train a student on the masks that a run makes of its own images. No label is read."""

import dataclasses
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from redoseg.config import DistillConfig, TrainConfig
from redoseg.config.train import Precision
from redoseg.data.dataset import Dataset
from redoseg.distillation.corrected import Corrected
from redoseg.distillation.first_labels import FirstLabels, named_source
from redoseg.distillation.learner import DistillationLearner
from redoseg.distillation.teacher import NetworkTeacher, Teacher
from redoseg.errors import ConfigError, DataError
from redoseg.models.card import supervision_text
from redoseg.models.run_folder import RunFolder
from redoseg.tensors import lacks_bfloat16, limit_threads
from redoseg.training.distributed import SingleProcess, process_group
from redoseg.training.log import say, say_loudly
from redoseg.training.train import (
    console_of,
    lock_of,
    open_everywhere,
    say_sides,
    warn_of_precision,
    warn_semi_supervised,
)
from redoseg.training.trainer import Trainer


def distill(config: DistillConfig, *, console: Console | None = None) -> Path:
    """Train a student of `config.run`, or go on with the one in `config.out`. Returns the student's folder.

    Raises ConfigError if there is no run, if options are impossible or differ from the student's, or if the
    teacher has changed; ModelError for a checkpoint that can't be read or has no mask to learn from;
    DataError for data that isn't the run's; DivergenceError, KeyboardInterrupt, ProcessError, ElsewhereError
    as `train`.
    """
    with process_group() as group:
        return _distill(config, console_of(group, console), group)


def _distill(config: DistillConfig, console: Console, group: SingleProcess) -> Path:
    if config.run.resolve() == config.out.resolve():
        raise ConfigError(f"--out is {config.run} itself: the student needs a folder of its own")
    group.check_batch(config.batch)
    limit_threads(config.threads)
    teacher = open_teacher(config, group.device(config.device))
    if config.synthetic is None and config.targets == "network" and teacher.generators is None:
        say(console, f"{config.run} has no generators there: no image is redrawn (--synthetic 0)")
    warn_of_masks(teacher, config.run, console)
    group.check_same(teacher.identity["weights"], "the teacher's weights")
    device = group.device(config.device)
    precision = group.broadcast(lambda: _choose_precision(config, teacher.config.precision, device))
    config = dataclasses.replace(config, precision=precision)
    warn_of_precision(precision, device, console)
    config = config.resolved(teacher.config, generators=teacher.generators is not None)
    described = config.described_as(teacher.config)
    if group.is_main_process:
        RunFolder(config.out).check_compatible(config)
    if teacher.is_run:
        dataset = _open_data(config.run, described, teacher.config.size, console, group)
    else:
        dataset = open_everywhere(described, console, group)
    say_sides(dataset, console)
    with lock_of(group, config.out):
        learner = DistillationLearner(config, described, teacher, dataset, console, group)
        warn_of_a_person(learner.corrected, console)
        Trainer(described, dataset, learner, console, group).run()
    return config.out


def warn_of_a_person(corrected: Corrected | None, console: Console) -> None:
    """Say loudly what is read of a person's work."""
    if corrected is not None and corrected.labelled is not None:
        masks, source = len(corrected.labelled), corrected.labelled.source
        warn_semi_supervised("corrected masks", masks, source, console)
    elif corrected is not None:
        text = "SEMI-SUPERVISED (--ticks): ticks decide which masks are learned"
        say_loudly(console, text)


def warn_of_masks(teacher: Teacher, run: Path, console: Console) -> None:
    """Say loudly that the teacher, and so the student, isn't without labels."""
    read = supervision_text(teacher.supervision)
    if read is None and teacher.identity["rule"] == "best":
        read = "its checkpoint was chosen with masks"
    if read is not None:
        text = f"NOT UNSUPERVISED: masks were read for {run} ({read})"
        say_loudly(console, text)


def open_teacher(config: DistillConfig, device: torch.device) -> Teacher:
    """What `config.run` names: a run, a model or first labels."""
    source = named_source(config.run)
    if source is not None:
        if config.targets != "refined":
            raise ConfigError(f"{config.run} needs --targets refined")
        teacher: Teacher = FirstLabels(source, device)
    else:
        teacher = NetworkTeacher(
            config.run,
            checkpoint=config.checkpoint,
            weights=config.weights,
            device=device,
            mirrored=config.mirrored,
        )
    if not teacher.is_run and not config.data:
        raise ConfigError(f"{config.run} comes without photos: say with --data what to learn from")
    return teacher


def _choose_precision(config: DistillConfig, of_teacher: Precision, device: torch.device) -> Precision:
    """--precision; where it isn't given, what the student began with, else as its teacher, but nothing that
    the processor would have to imitate."""
    if config.precision is not None:
        return config.precision
    folder = RunFolder(config.out)
    begun = folder.original_config() if folder.exists else None
    if isinstance(begun, DistillConfig) and begun.precision is not None:
        return begun.precision
    return "float32" if lacks_bfloat16(device) else of_teacher


def resume(path: Path, *, console: Console | None = None, **changed: Any) -> Path:
    """Go on with a student, with some options `changed`. Raises as `distill`."""
    original = RunFolder(path).original_config()
    if not isinstance(original, DistillConfig):
        raise ConfigError(f"{path} wasn't made by `redoseg distill`: `redoseg resume {path}` goes on with it")
    if original.corrected is not None and original.corrected == RunFolder(original.out).corrected:
        # What `fix` has put into the run's folder goes where the run goes.
        changed = {"corrected": RunFolder(path).corrected} | changed
    return distill(dataclasses.replace(original, out=path, **changed), console=console)


def _open_data(
    run: Path, described: TrainConfig, size: int, console: Console, group: SingleProcess
) -> Dataset:
    """Open the data that the run was trained on, at the student's size; `size` is the run's own.
    DataError if the fingerprint is another."""
    try:
        squares = described.squares if size == described.size else 1  # of another size none is learned
        same = dataclasses.replace(described, size=size, squares=squares)
        dataset = open_everywhere(same, console, group)
    except DataError as error:
        raise DataError(f"{error} ({run} was trained on it: --data says where it is now)") from error
    if not dataset.is_the_one(RunFolder(run).fingerprint()):
        where = " ".join(described.data)
        raise DataError(
            f"{where} isn't what {run} was trained on, or has changed since: bring back the same files, or "
            "say with --data where they are"
        )
    return dataset if described.size == size else open_everywhere(described, console, group)
