"""The verb train: begin a run, go on with it, or only check its options and data."""

import dataclasses
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from redoseg.config import TrainConfig
from redoseg.data.dataset import Dataset, open_data
from redoseg.data.sampler import InfiniteSampler
from redoseg.errors import ConfigError
from redoseg.models.run_folder import RunFolder
from redoseg.tensors import lacks_bfloat16, limit_threads
from redoseg.training.distributed import SingleProcess, process_group
from redoseg.training.labelled import open_labelled
from redoseg.training.log import say, say_loudly
from redoseg.training.redo import ReDOLearner, check_shares
from redoseg.training.trainer import Trainer


def train(config: TrainConfig, *, console: Console | None = None) -> Path:
    """Train a run, or go on with the one in `config.out`. Returns the run's folder.

    Raises ConfigError for options that are impossible or differ from the run's; DataError for data that can't
    be read or has changed; CollapseError after too many restarts; DivergenceError if a loss isn't finite;
    KeyboardInterrupt, after Ctrl-C, once a checkpoint is written. With several processes: ProcessError if
    another one was lost, ElsewhereError if another one raises the error.
    """
    with process_group() as group:
        return _train(group.broadcast(config.resolved), console, group)


def resume(path: Path, *, console: Console | None = None, **changed: Any) -> Path:
    """Go on with a run, with some options `changed`. Raises what `train` does; ConfigError without a run."""
    with process_group() as group:
        config = group.broadcast(lambda: _resumed_config(path, changed))
        return _train(config, console, group)


def check(config: TrainConfig, console: Console) -> tuple[TrainConfig, dict[str, object]]:
    """The resolved options with which `train` would run, and a description of the data, without training.
    With --labelled the description's entry `supervision` names the images whose masks would be read."""
    config = config.resolved()
    with process_group() as group:
        dataset = _prepare(config, console, group)
    InfiniteSampler(len(dataset.training), config.batch, config.seed)
    labelled = open_labelled(config, dataset)
    masks = {} if labelled is None else {"supervision": labelled.supervision}
    return config, dataset.describe() | masks


def _train(config: TrainConfig, console: Console | None, group: SingleProcess) -> Path:
    limit_threads(config.threads)
    console = console_of(group, console)
    dataset = _prepare(config, console, group)
    say_sides(dataset, console)
    with lock_of(group, config.out):
        Trainer(config, dataset, ReDOLearner(config, dataset, group), console, group).run()
    return config.out


def console_of(group: SingleProcess, console: Console | None) -> Console:
    """The console of this process. Of several processes only the main one prints."""
    if group.is_main_process:
        return console or Console(stderr=True)
    return Console(quiet=True, force_terminal=False)


def say_sides(dataset: Dataset, console: Console) -> None:
    """Say how many squares beside the centred ones are learned, if there are any."""
    if dataset.sides is not None:
        count = f"{len(dataset.sides)} squares beside the {len(dataset.split('train'))} centred ones"
        say(console, f"{count} are learned, too (--squares)")


def lock_of(group: SingleProcess, out: Path) -> Any:
    """A context in which no other command trains the run in `out`: the main process holds its lock."""
    return RunFolder(out).locked() if group.is_main_process else nullcontext()


def _resumed_config(path: Path, changed: dict[str, Any]) -> TrainConfig:
    folder = RunFolder(path)
    if not folder.exists:
        folder.refuse_tries()
        raise ConfigError(f"{path} holds no run: `redoseg train DATA --out {path}` begins one")
    config = folder.config()
    data = {"data": folder.find_data(config.data)}
    return dataclasses.replace(config, out=path, **(data | changed)).resolved()


def _prepare(config: TrainConfig, console: Console, group: SingleProcess) -> Dataset:
    """Open the data, after checks that the options fit the folder, the device and the processes."""
    check_shares(config, group)
    if group.is_main_process:
        RunFolder(config.out).check_compatible(config)
    warn_of_precision(config.precision, group.device(config.device), console)
    dataset = open_everywhere(config, console, group)
    labelled = open_labelled(config, dataset)
    group.check_same(labelled and labelled.supervision["fingerprint"])
    if labelled is not None and group.is_main_process:
        warn_semi_supervised("--labelled", len(labelled), labelled.source, console)
    return dataset


def warn_semi_supervised(option: str, images: int, source: str, console: Console) -> None:
    """Say loudly that masks are read."""
    count = "1 image is learned with its mask"
    if images != 1:
        count = f"{images} images are learned with their masks"
    warning = f"SEMI-SUPERVISED ({option}): {count} ({source})"
    say_loudly(console, warning)


def warn_of_precision(precision: str, device: torch.device, console: Console) -> None:
    """Say so if the processor has to imitate this precision."""
    if precision == "bfloat16" and lacks_bfloat16(device):
        say(
            console,
            "warning: this processor has no instructions for bfloat16: --precision float32 is several times "
            "as fast here",
        )


def open_everywhere(config: TrainConfig, console: Console, group: SingleProcess) -> Dataset:
    """Open a run's data in every process. The first one of each machine resizes the photos for the others.
    Raises DataError if another machine has other files."""
    first = open_for_run(config, console) if group.local_rank == 0 else None
    group.barrier()
    dataset = first or open_for_run(config, console)
    group.check_same(dataset.fingerprint)
    return dataset


def open_for_run(config: TrainConfig, console: Console) -> Dataset:
    """Open a run's data, and show progress while photos are resized."""
    with console.status("opening the data") as status:
        return open_data(
            config, progress=lambda done, files: status.update(f"bringing photos to size: {done} of {files}")
        )
