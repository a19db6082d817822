"""The game of the paper as a beginning of `auto` (`--starts game`): a run of `train` in RUN/game, small on a
CPU. Its student goes the way of all others."""

from typing import Any

from rich.console import Console

from redoseg.automation.folder import AutoFolder
from redoseg.automation.timing import seconds_each
from redoseg.config import TrainConfig
from redoseg.config.auto import AutoConfig
from redoseg.data.dataset import open_data
from redoseg.models.run_folder import RunFolder
from redoseg.tensors import pick_device
from redoseg.training.distributed import SingleProcess
from redoseg.training.redo import ReDOLearner
from redoseg.training.train import train

STEPS = 5_000
"""Of a game: by then, games of docs/results.md that find an object at 32 pixels have found it."""
FEW = 1_000
"""Photos below which D comes to know each one, and then loses the object: there it sees changed ones
(docs/results.md)."""
_BATCH = 25  # the paper's
_SMALL: dict[str, Any] = {"size": 32, "width": 16, "g_width": 16, "f_width": 8}
"""What a CPU can play in minutes."""
_RESTARTS = 2  # of a game that loses its object: it has taken up to three times as long then


def diffaugment_for(photos: int) -> str:
    """What is changed at random in all that the game's D sees, of so many photos."""
    return "all" if photos < FEW else "off"


def game_config(config: AutoConfig, steps: int, batch: int, diffaugment: str) -> TrainConfig:
    """The options of the game, those of the recipe `default`: 32 pixels on a CPU, else `config.size`. One
    that was begun on another device keeps its size. `batch`: images in a batch, at most; `diffaugment`: as
    `TrainConfig` has it."""
    run = RunFolder(AutoFolder(config.out).game)
    if run.exists:
        begun = run.config()
        sizes = {name: getattr(begun, name) for name in _SMALL}
    else:
        sizes = _SMALL if pick_device(config.device).type == "cpu" else {"size": config.size}
    return TrainConfig.of(
        data=config.data, out=run.path, steps=steps, batch=min(_BATCH, batch), max_restarts=_RESTARTS,
        seed=config.seed, device=config.device, threads=config.threads, cache=config.cache,
        diffaugment=diffaugment, **sizes,
    )  # fmt: skip


def play(described: TrainConfig, console: Console) -> str:
    """Train the game, or go on with it. The checkpoint that is to teach: the one that looks best without a
    label. Raises what `train` does, CollapseError and DivergenceError if the game fails."""
    run = RunFolder(train(described, console=console))
    return "label-free" if run.label_free.exists() else "last"


def seconds_of_a_step(described: TrainConfig) -> float:
    """How long a step of the game takes here, from a few that are thrown away."""
    described = described.resolved()
    learner = ReDOLearner(described, open_data(described), SingleProcess())
    return seconds_each(learner.step, learner.check_finite)
