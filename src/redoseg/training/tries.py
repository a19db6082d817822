"""Tries several seeds for some steps, and goes on with the one whose label-free score is the highest."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from rich.console import Console

from redoseg.config import TrainConfig
from redoseg.config.checks import free_to_change
from redoseg.errors import CollapseError, ConfigError, DataError, DivergenceError, ModelError
from redoseg.files import read_json, write_json
from redoseg.models.run_folder import RunFolder
from redoseg.training.distributed import is_distributed, process_group
from redoseg.training.log import say
from redoseg.training.train import check, train

TRY_STEPS = 1_500  # of each try, by default


@dataclass(frozen=True)
class Tries:
    """RUN/tries.json: `seeds`, each of which is trained for `steps` steps with the other options of `config`.
    data: its fingerprint; scores: label-free scores of the seeds tried so far, None for one that could not be
    trained; chosen: the seed that RUN goes on with, None until it is chosen."""

    config: TrainConfig
    seeds: tuple[int, ...]
    steps: int
    data: str | None = None
    scores: tuple[float | None, ...] = ()
    chosen: int | None = None

    @classmethod
    def read(cls, folder: RunFolder) -> Self:
        """Read tries.json. ModelError if it can't be read."""
        fields = read_json(folder.tries)
        try:
            lists = {name: tuple(fields[name]) for name in ("seeds", "scores")}
            return cls(**fields | lists | {"config": TrainConfig.from_json(fields["config"])})
        except (KeyError, TypeError, AttributeError) as error:
            raise ModelError(f"{folder.tries} doesn't describe tries of this version ({error})") from error

    def as_json(self) -> dict[str, Any]:
        return vars(self) | {"config": self.config.as_json()}

    def config_of_try(self, seed: int) -> TrainConfig:
        """The options of a try. --minutes don't bound it, for all tries must have the same length."""
        out = RunFolder(self.config.out).try_folder(seed)
        return dataclasses.replace(self.config, out=out, seed=seed, steps=self.steps, minutes=None)

    @property
    def chosen_config(self) -> TrainConfig:
        """The options of the run in RUN, with the first seed until one is chosen."""
        seed = self.config.seed if self.chosen is None else self.chosen
        return dataclasses.replace(self.config, seed=seed)

    @property
    def best(self) -> int:
        """The seed with the highest score, the first of equals."""
        # A seed that could not be trained comes after one with a score of 0: a run can't go on with it.
        scores = [-1.0 if score is None else score for score in self.scores]
        return self.seeds[scores.index(max(scores))]


def train_tries(
    config: TrainConfig, *, tries: int, try_steps: int | None = None, console: Console | None = None
) -> Path:
    """`train`, with the best of several seeds, of which `config.seed` is the first. Returns the run's folder.

    `tries` seeds are trained for `try_steps` steps each (None: 1,500) in folders under `config.out`. The run
    with the highest label-free score then goes on in `config.out`, as if it had been trained alone. No mask
    is read for the choice; with --labelled all tries learn from the same images. `config.minutes` bounds the
    run that goes on, its own try included. Called again, it goes on where it stopped. Raises what `train`
    does; CollapseError or DivergenceError only if every try fails.
    """
    config, console = config.resolved(), console or Console(stderr=True)
    _check_options(config, tries, try_steps)
    if tries == 1:
        return train(config, console=console)
    folder = RunFolder(config.out)
    if not folder.exists:
        _, data, _ = check_tries(config, console, tries=tries, try_steps=try_steps)
        with folder.locked():
            planned = _plan(config, tries, try_steps)  # again, now that no other process can change it
            _train_and_choose(dataclasses.replace(planned, data=_fingerprint(data)), folder, console)
    planned = _plan(config, tries, try_steps)
    for seed in planned.seeds:  # their logs, pictures, models and the f of every checkpoint stay
        tried = RunFolder(folder.try_folder(seed))
        for file in (tried.last, tried.best, tried.label_free):
            file.unlink(missing_ok=True)
    return train(planned.chosen_config, console=console)


def resume_tries(path: Path, *, console: Console | None = None, **changed: Any) -> Path:
    """Go on with the tries in a folder, with some options `changed`, then with the run. As `train_tries`."""
    original = Tries.read(RunFolder(path))
    config = dataclasses.replace(original.config, out=path, **changed)
    return train_tries(config, tries=len(original.seeds), try_steps=original.steps, console=console)


def check_tries(
    config: TrainConfig, console: Console, *, tries: int, try_steps: int | None = None
) -> tuple[TrainConfig, dict[str, object], dict[str, object] | None]:
    """As `train.check`, with a third result: the state of the tries, None for a single one."""
    config = config.resolved()
    _check_options(config, tries, try_steps)
    if tries == 1:
        return *check(config, console), None
    planned = _plan(config, tries, try_steps)
    there = RunFolder(config.out).exists
    _, data = check(planned.chosen_config if there else planned.config_of_try(config.seed), console)
    if planned.data not in (None, _fingerprint(data)):
        raise DataError(
            f"the data of {config.out} has changed since its tries were begun: bring back the same files, or "
            "train anew with another --out"
        )
    state = {name: value for name, value in vars(planned).items() if name not in ("config", "data")}
    return planned.chosen_config, data, state


def _check_options(config: TrainConfig, tries: int, try_steps: int | None) -> None:
    """Raise ConfigError for options with which seeds can't be tried."""
    if tries < 1:
        raise ConfigError(f"--tries is {tries}: it must be at least 1")
    if tries == 1:
        if try_steps is not None:
            raise ConfigError("--try-steps needs --tries, of at least 2")
        return
    if config.labelled is not None and config.labelled.isdecimal():
        raise ConfigError(
            f"--labelled {config.labelled} with --tries would draw other images for each seed: name a folder "
            "of images with masks"
        )
    steps = TRY_STEPS if try_steps is None else try_steps
    if not 1 <= steps <= config.steps:
        raise ConfigError(f"--try-steps is {steps}: it must be from 1 to --steps, {config.steps}")
    if steps % config.eval_every:
        raise ConfigError(
            f"--try-steps is {steps}: masks are looked at every {config.eval_every} steps (--eval-every), so "
            "it must be a multiple of that"
        )
    if is_distributed():
        with process_group():  # so that only one process prints the error
            raise ConfigError(
                f"--tries is for one process: choose a seed with --steps {steps} --tries {tries} in one, "
                f"then `redoseg resume {config.out} --steps {config.steps}` goes on in all of them"
            )


def _plan(config: TrainConfig, tries: int, try_steps: int | None) -> Tries:
    """The tries that the folder holds, or new ones. ConfigError if the folder's have other options."""
    folder = RunFolder(config.out)
    seeds = tuple(range(config.seed, config.seed + tries))
    planned = Tries(config, seeds, TRY_STEPS if try_steps is None else try_steps)
    if not folder.tries.is_file():
        folder.check_compatible(config)
        if folder.exists:
            raise ConfigError(f"{folder.path} was begun without --tries: leave it out, or use another --out")
        return planned
    original = Tries.read(folder)
    if not original.scores and not RunFolder(folder.try_folder(original.seeds[0])).last.is_file():
        return planned  # nothing is trained yet, so options may still change
    folder.refuse_changes(_options(original), _options(planned), free_to_change(TrainConfig))
    return dataclasses.replace(original, config=config)


def _fingerprint(data: dict[str, Any]) -> str:
    """The fingerprint of the data and, with --labelled, of the labelled images."""
    prints = [part["fingerprint"] for part in (data, data.get("supervision")) if part]
    return "+".join(map(str, prints))


def _options(tries: Tries) -> dict[str, Any]:
    return tries.config.as_json() | {"tries": len(tries.seeds), "try_steps": tries.steps}


def _train_and_choose(tries: Tries, folder: RunFolder, console: Console) -> None:
    """Train the remaining tries, and copy the best one to RUN. If it is killed, it can be called again."""
    write_json(folder.tries, tries.as_json())
    for seed in tries.seeds[len(tries.scores) :]:
        score = _train_try(tries, seed, console)
        tries = dataclasses.replace(tries, scores=(*tries.scores, score))
        write_json(folder.tries, tries.as_json())
    if tries.chosen is None:
        tries = dataclasses.replace(tries, chosen=tries.best)
        _print_choice(tries, console)
        write_json(folder.tries, tries.as_json())
    if not folder.exists:
        chosen = RunFolder(folder.try_folder(tries.chosen_config.seed))
        # The run has its own --steps, not the try's.
        chosen.copy_to(folder, lambda fields: fields | {"config": tries.chosen_config.as_json()})


def _train_try(tries: Tries, seed: int, console: Console) -> float | None:
    """Train one seed and return its score, None if it fails. If all seeds fail, the last error is raised."""
    number, config = tries.seeds.index(seed) + 1, tries.config_of_try(seed)
    say(console, f"try {number} of {len(tries.seeds)}: seed {seed}, {tries.steps} steps, in {config.out}")
    try:
        run = RunFolder(train(config, console=console))
    except (CollapseError, DivergenceError) as error:
        if number == len(tries.seeds) and not any(score is not None for score in tries.scores):
            raise
        say(console, f"try {number} failed: {error}")
        return None
    return run.logged_score(tries.steps)


def _print_choice(tries: Tries, console: Console) -> None:
    scores = ", ".join(
        f"seed {seed} {'failed' if score is None else f'{score:.3f}'}"
        for seed, score in zip(tries.seeds, tries.scores, strict=True)
    )
    say(console, f"label-free scores: {scores}. Going on with seed {tries.chosen}")
    if not any(tries.scores):
        say(console, "warning: no try has masks that look like an object: look at the tries' samples/")
