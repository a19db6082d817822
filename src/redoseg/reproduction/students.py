"""Beside the game in Table 1: the masks that `redoseg segment` writes of it, and a student of them."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from redoseg.config import DistillConfig, TrainConfig
from redoseg.distillation.distill import distill
from redoseg.errors import ConfigError, DivergenceError, ModelError
from redoseg.evaluation.evaluate import evaluate
from redoseg.files import read_json, write_json
from redoseg.models.run_folder import RunFolder
from redoseg.models.source import find_model
from redoseg.reproduction.runs import failure_reason

ROWS = {
    "refined": "its masks, refined (as written)",
    "student": "its student",
    "student_refined": "the student's masks, refined (as written)",
}
"""By key the text of each row. All are of the last checkpoint, which no mask chose."""


def student_config(run: TrainConfig, options: Mapping[str, Any]) -> DistillConfig:
    """The student of a run, in a folder of the run; `options` are the scale's."""
    folder = run.out / "student"
    given: dict[str, Any] = {"seed": run.seed, "device": run.device, "threads": run.threads, **options}
    return DistillConfig(run=run.out, out=folder, data=run.data, cache=run.cache, **given)


def distill_all(runs: Sequence[TrainConfig], options: Mapping[str, Any], console: Console) -> None:
    """Train the student of every run that lived, where it isn't trained yet. One that can't be is left with
    the reason in student-failed.json."""
    for run in runs:
        config = student_config(run, options)
        failed = (run.out / "student-failed.json").is_file()
        if failed or failure_reason(run.out) is not None or _is_finished(config, options):
            continue
        console.print(f"{config.out}: {config.steps} steps", markup=False, highlight=False, soft_wrap=True)
        try:
            distill(config, console=console)
        except (ModelError, DivergenceError) as error:
            write_json(run.out / "student-failed.json", {"reason": str(error)})
            console.print(f"{config.out}: {error}", markup=False, highlight=False, soft_wrap=True)


def _is_finished(config: DistillConfig, options: Mapping[str, Any]) -> bool:
    """Whether the student is trained to its end. ConfigError if it was with other options."""
    folder = RunFolder(config.out)
    if not folder.verdict.is_file():  # written last
        return False
    original = folder.original_config()
    for name, value in options.items():
        if getattr(original, name) != value:
            raise ConfigError(
                f"{config.out} was trained with {name} {getattr(original, name)}, not {value}: "
                "use another --out"
            )
    return True


def score_students(
    run: TrainConfig, options: Mapping[str, Any], splits: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """By row and split the scores by matching, as `redoseg evaluate` says them; without the rows of a student
    that there isn't. Kept in the run's student-scores.json."""
    file, config = run.out / "student-scores.json", student_config(run, options)
    taught = RunFolder(config.out).verdict.is_file() and not (run.out / "student-failed.json").is_file()
    weights = find_model(config.out).digest if taught else None
    if file.is_file() and (kept := read_json(file))["student"] == weights:
        scores: dict[str, dict[str, Any]] = kept["rows"]
        return scores
    rows: dict[str, dict[str, Any]] = {name: {} for name in ROWS}
    for split in splits:
        scored = {"game": evaluate(run.out, list(run.data), split=split, device=run.device, cache=run.cache)}
        if taught:
            scored["student"] = evaluate(
                config.out, list(run.data), split=split, device=run.device, cache=run.cache
            )
        for name, found in scored.items():
            assert found.as_written is not None
            refined = {"as_labelled": found.as_written.as_dict()}
            rows["refined" if name == "game" else "student_refined"][split] = refined
            if name == "student":
                rows[name][split] = {
                    "per_image": found.per_image.as_dict(), "per_dataset": found.per_dataset.as_dict(),
                }  # fmt: skip
    write_json(file, {"student": weights, "rows": rows})
    return rows
