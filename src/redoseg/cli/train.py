"""Actions that train: train, resume, demo."""

import argparse
import json
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import tyro

from redoseg.cli.early import check_begun, check_data
from redoseg.cli.options import by_group
from redoseg.cli.terminal import Device, errors, print_scores
from redoseg.config import Recipe, Settings, TrainConfig
from redoseg.config.recipes import DEMO
from redoseg.errors import ConfigError, RedosegError

if TYPE_CHECKING:
    from redoseg.evaluation.evaluate import Evaluation
    from redoseg.models.run_folder import RunFolder

REPORTED = 100  # photos on the page that a training leaves
DryRunJson = Annotated[
    bool, tyro.conf.arg(name="json", help="With --dry-run: print every option and all of the data as JSON.")
]


def train_command(arguments: Sequence[str]) -> Callable[..., int]:
    """`train` with the defaults of the recipe and settings asked for: explicit options win over them."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--recipe", nargs="?", default="default")
    parser.add_argument("--settings", nargs="?", default="none")
    asked: Any = parser.parse_known_args(arguments)[0]
    # A name that doesn't exist is left to the parser proper, which lists those that do.
    recipe: Recipe = asked.recipe if asked.recipe in get_args(Recipe) else "default"
    settings: Settings = asked.settings if asked.settings in get_args(Settings) else "none"
    defaults = vars(TrainConfig.of(recipe=recipe, settings=settings, data=tyro.MISSING, out=tyro.MISSING))

    def train(
        config: Annotated[TrainConfig, by_group(TrainConfig, defaults)],
        dry_run: bool = False,
        tries: int = 1,
        try_steps: int | None = None,
        json_: DryRunJson = False,
    ) -> int:
        """Learn masks from images alone; with --labelled, from a few masks, too (SEMI-SUPERVISED).

        Args:
            dry_run: Print what was found in the data and the options that matter, then stop.
            tries: Train so many seeds, from --seed on, for --try-steps each; go on with the one whose masks
                score highest without labels.
            try_steps: Steps of each try, a multiple of --eval-every. None: 1500.
        """
        check_data(config.data)
        if dry_run:
            return _describe(config, tries, try_steps, json_)
        if json_:
            raise ConfigError("--json is for --dry-run: a run writes run.json and metrics.jsonl")
        return _train(config, tries, try_steps)

    return train


def _describe(config: TrainConfig, tries: int, try_steps: int | None, whole: bool) -> int:
    """What would be trained; the `whole` of it as JSON."""
    from redoseg.cli import dry_run
    from redoseg.training.distributed import is_main_process
    from redoseg.training.tries import check_tries

    found = check_tries(config, errors, tries=tries, try_steps=try_steps)
    if is_main_process():
        print(dry_run.as_json(*found) if whole else dry_run.as_lines(*found))
    return 0


def resume(
    run: tyro.conf.Positional[Path],
    /,
    steps: int | None = None,
    minutes: float | None = None,
    device: str | None = None,
    threads: int | None = None,
) -> int:
    """Go on with a run that was stopped.

    Args:
        run: The run's folder.
        steps: Train up to this step instead.
        minutes: Train for so many minutes in all instead.
        device: Go on on this device instead.
        threads: Go on with so many CPU threads instead.
    """
    check_begun(run)
    from redoseg.distillation.resume import resume as go_on

    given: dict[str, Any] = {"steps": steps, "minutes": minutes, "device": device, "threads": threads}
    changed = {name: value for name, value in given.items() if value is not None}
    return trained(lambda: go_on(run, console=errors, **changed), run)


def demo(
    out: Path = Path("runs/demo"),
    steps: int | None = None,
    minutes: float | None = None,
    seed: int = 0,
    device: Device = "auto",
    threads: int = 1,
) -> int:
    """Learn to find a drawn digit, from pictures alone, in ten minutes on one CPU core.

    Args:
        out: Folder of the run; run again, it goes on.
        steps: Updates. None: enough.
        minutes: Stop training after so many minutes. None: 9, for the scores take a while, too.
        seed: Decides everything that is random.
        threads: CPU threads; networks this small gain little from a second one.
    """
    from redoseg.tensors import lacks_bfloat16, pick_device

    precision = "float32" if lacks_bfloat16(pick_device(device)) else "bfloat16"
    options: dict[str, Any] = DEMO | {"out": out, "seed": seed, "device": device, "threads": threads}
    options |= {"precision": precision}
    options |= {} if steps is None else {"steps": steps}
    options |= {} if minutes is None else {"minutes": minutes}
    return _train(TrainConfig.of(**options), score=_refined_too)


def _refined_too(run: "RunFolder") -> "Evaluation":
    """The run's scores, with those of its masks as `segment` writes them."""
    from redoseg.evaluation.evaluate import evaluate

    with errors.status("scoring the masks as `redoseg segment` writes them"):
        return evaluate(run.path, run.config().data, device=run.config().device)


def _own_scores(run: "RunFolder") -> "Evaluation | None":
    """What the run has scored itself, if its data have masks."""
    from redoseg.evaluation.evaluate import Evaluation

    if not run.evaluation.is_file():
        return None
    return Evaluation.from_dict(json.loads(run.evaluation.read_text()))


def _train(
    config: TrainConfig,
    tries: int = 1,
    try_steps: int | None = None,
    *,
    score: "Callable[[RunFolder], Evaluation | None]" = _own_scores,
) -> int:
    from redoseg.training.tries import train_tries

    return trained(
        lambda: train_tries(config, tries=tries, try_steps=try_steps, console=errors), config.out, score
    )


def trained(
    train: Callable[[], Path],
    out: Path,
    score: "Callable[[RunFolder], Evaluation | None]" = _own_scores,
) -> int:
    """Train, and say what there is now; of several processes the first does."""
    from redoseg.models.run_folder import RunFolder
    from redoseg.training.distributed import is_main_process

    try:
        run = RunFolder(train())
    except KeyboardInterrupt:
        folder = RunFolder(out)
        begun = folder.exists or folder.trying or folder.in_rounds
        cure = f"; to go on: redoseg resume {shlex.quote(str(out))}" if begun else " before it began"
        if is_main_process():
            print(f"\nstopped{cure}", file=sys.stderr)
        raise
    if not is_main_process():
        return 0
    scores = score(run)
    if scores is not None:
        print_scores(scores)
    if run.verdict.is_file():
        from redoseg.label_free.verdict import Verdict

        print(Verdict.from_json(json.loads(run.verdict.read_text())).text)
    pictures = sorted(run.samples.glob("*.png"))
    drawn = "input and mask:         " if run.distilled else "input, mask and redraws:"
    print(f"{drawn} {pictures[-1]}")
    leave_report(run)
    print(f"masks for your photos:   redoseg segment {shlex.quote(str(run.path))} PHOTOS --out MASKS")
    return 0


def leave_report(run: "RunFolder") -> None:
    """Leave a page of some of the run's photos with their masks, and say where; or why there is none."""
    from redoseg.reporting.report import report

    try:
        found = report(run.path, (), run.report, most=REPORTED, device=run.config().device)
    except (RedosegError, OSError) as error:
        print(f"there is no report of it: {error}", file=sys.stderr)
        return
    print(f"to look at:              {found.page}")
