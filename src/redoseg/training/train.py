"""Training: a run that is begun, gone on with, or only checked."""

import dataclasses
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from rich.console import Console

from redoseg.config import TrainConfig
from redoseg.data.dataset import Dataset, open_data
from redoseg.data.sampler import InfiniteSampler
from redoseg.errors import ConfigError
from redoseg.models.run_folder import RunFolder
from redoseg.training.distributed import SingleProcess, process_group
from redoseg.training.labelled import Labelled, open_labelled
from redoseg.training.redo import ReDOLearner, check_shares
from redoseg.training.trainer import Trainer


def train(config: TrainConfig, *, console: Console | None = None) -> Path:
    """Train, or go on with the run in `config.out` if it holds one. Returns the run's folder.

    Raises ConfigError (options that can't be, or differ from the run's), DataError, CollapseError after too
    many restarts, DivergenceError, KeyboardInterrupt once a checkpoint is written; of several processes,
    ProcessError where another was lost, ElsewhereError where another says what is wrong.
    """
    with process_group() as group:
        return _train(group.broadcast(config.resolved), console, group)


def resume(path: Path, *, console: Console | None = None, **changed: Any) -> Path:
    """Go on with the run in a folder, some options `changed`. As `train`; ConfigError if it holds no run."""
    with process_group() as group:
        config = group.broadcast(lambda: _resumed_config(path, changed))
        return _train(config, console, group)


def check(config: TrainConfig, console: Console) -> tuple[TrainConfig, dict[str, object]]:
    """What `train` would do, without doing it: the resolved options, and what was found in the data; with
    --labelled under `supervision` the images whose masks would be read."""
    config = config.resolved()
    with process_group() as group:
        dataset = _prepare(config, console, group)
    InfiniteSampler(len(dataset.split("train")), config.batch, config.seed)
    labelled = open_labelled(config, dataset)
    masks = {} if labelled is None else {"supervision": labelled.supervision}
    return config, dataset.describe() | masks


def _train(config: TrainConfig, console: Console | None, group: SingleProcess) -> Path:
    console = console_of(group, console)
    dataset = _prepare(config, console, group)
    with lock_of(group, config.out):
        Trainer(config, dataset, ReDOLearner(config, dataset, group), console, group).run()
    return config.out


def console_of(group: SingleProcess, console: Console | None) -> Console:
    """Where this process prints: of several only the main one is heard."""
    if group.is_main_process:
        return console or Console(stderr=True)
    return Console(quiet=True, force_terminal=False)


def lock_of(group: SingleProcess, out: Path) -> Any:
    """Within, no other command trains the run in `out`: the main process holds its lock."""
    return RunFolder(out).locked() if group.is_main_process else nullcontext()


def _resumed_config(path: Path, changed: dict[str, Any]) -> TrainConfig:
    folder = RunFolder(path)
    if not folder.exists:
        folder.refuse_tries()
        raise ConfigError(f"{path} holds no run: `redoseg train DATA --out {path}` begins one")
    return dataclasses.replace(folder.config(), out=path, **changed).resolved()


def _prepare(config: TrainConfig, console: Console, group: SingleProcess) -> Dataset:
    """The data, opened, once the options are known to fit the folder, the device and the processes."""
    check_shares(config, group)
    if group.is_main_process:
        RunFolder(config.out).check_compatible(config)
    group.device(config.device)
    dataset = open_everywhere(config, console, group)
    labelled = open_labelled(config, dataset)
    group.check_same(labelled and labelled.supervision["fingerprint"])
    if labelled is not None and group.is_main_process:
        console.print(_loud(labelled), style="bold", markup=False, highlight=False, soft_wrap=True)
    return dataset


def _loud(labelled: Labelled) -> str:
    """That masks are read, before they are."""
    count = "1 image is" if len(labelled) == 1 else f"{len(labelled)} images are"
    return f"SEMI-SUPERVISED (--labelled): {count} learned with their masks ({labelled.source})"


def open_everywhere(config: TrainConfig, console: Console, group: SingleProcess) -> Dataset:
    """The data set that a run names, the same in every process: the first of each machine brings its photos
    to size, the others find them done. DataError if another machine has other files."""
    first = open_for_run(config, console) if group.local_rank == 0 else None
    group.barrier()
    dataset = first or open_for_run(config, console)
    group.check_same(dataset.fingerprint)
    return dataset


def open_for_run(config: TrainConfig, console: Console) -> Dataset:
    """The data set that a run names, with progress while photos are brought to size."""
    with console.status("opening the data") as status:
        return open_data(
            config,
            progress=lambda done, files: status.update(f"bringing photos to size: {done} of {files}"),
        )
