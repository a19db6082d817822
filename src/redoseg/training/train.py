"""Training: a run that is begun, gone on with, or only checked."""

import dataclasses
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from rich.console import Console

from redoseg.config import TrainConfig
from redoseg.data.dataset import Dataset, open_data
from redoseg.data.sampler import InfiniteSampler
from redoseg.errors import ConfigError, DataError
from redoseg.models.run_folder import RunFolder
from redoseg.training.distributed import Group, joined
from redoseg.training.labelled import Labelled, open_labelled
from redoseg.training.run import Run


def train(config: TrainConfig, *, console: Console | None = None) -> Path:
    """Train, or go on with the run in `config.out` if it holds one. Returns the run's folder.

    Raises ConfigError (options that can't be, or differ from the run's), DataError, CollapseError after too
    many restarts, DivergenceError, KeyboardInterrupt once a checkpoint is written; of several processes,
    ProcessError where another was lost, ElsewhereError where another says what is wrong.
    """
    with joined() as group:
        return _train(group.broadcast(config.resolved), console, group)


def resume(path: Path, *, console: Console | None = None, **changed: Any) -> Path:
    """Go on with the run in a folder, some options `changed`. As `train`; ConfigError if it holds no run."""
    with joined() as group:
        config = group.broadcast(lambda: _described(path, changed))
        return _train(config, console, group)


def check(config: TrainConfig, console: Console) -> tuple[TrainConfig, dict[str, object]]:
    """What `train` would do, without doing it: the resolved options, and what was found in the data; with
    --labelled under `supervision` the images whose masks would be read."""
    config = config.resolved()
    with joined() as group:
        dataset = _prepare(config, console, group)
    InfiniteSampler(len(dataset.split("train")), config.batch, config.seed)
    labelled = open_labelled(config, dataset)
    masks = {} if labelled is None else {"supervision": labelled.supervision}
    return config, dataset.describe() | masks


def _train(config: TrainConfig, console: Console | None, group: Group) -> Path:
    quiet = Console(quiet=True, force_terminal=False)
    console = (console or Console(stderr=True)) if group.first else quiet
    dataset = _prepare(config, console, group)
    with RunFolder(config.out).locked() if group.first else nullcontext():
        Run(config, dataset, console, group).go()
    return config.out


def _described(path: Path, changed: dict[str, Any]) -> TrainConfig:
    folder = RunFolder(path)
    if not folder.exists:
        folder.refuse_tries()
        raise ConfigError(f"{path} holds no run: `redoseg train DATA --out {path}` begins one")
    return dataclasses.replace(folder.config(), out=path, **changed).resolved()


def _prepare(config: TrainConfig, console: Console, group: Group) -> Dataset:
    """The data, opened, once the options are known to fit the folder, the device and the processes."""
    group.check(config)
    if group.first:
        RunFolder(config.out).reconcile(config)
    group.device(config.device)
    opened = _opened(config, console) if group.local_rank == 0 else None
    group.wait()  # the others find the photos brought to size
    dataset, labelled = opened or _opened(config, console)
    prints = dataset.fingerprint, labelled and labelled.supervision["fingerprint"]
    if prints != group.broadcast(lambda: prints):
        raise DataError("the data of this machine are not those of the first one: copy the same files to all")
    if labelled is not None and group.first:
        console.print(_loud(labelled), style="bold", markup=False, highlight=False, soft_wrap=True)
    return dataset


def _opened(config: TrainConfig, console: Console) -> tuple[Dataset, Labelled | None]:
    dataset = opened(config, console)
    return dataset, open_labelled(config, dataset)


def _loud(labelled: Labelled) -> str:
    """That masks are read, before they are."""
    count = "1 image is" if len(labelled) == 1 else f"{len(labelled)} images are"
    return f"SEMI-SUPERVISED (--labelled): {count} learned with their masks ({labelled.source})"


def opened(config: TrainConfig, console: Console) -> Dataset:
    """The data set that a run names, with progress while photos are brought to size."""
    with console.status("opening the data") as status:
        return open_data(
            config,
            progress=lambda done, files: status.update(f"bringing photos to size: {done} of {files}"),
        )
