"""RUN: what `auto` leaves there. Imports no PyTorch: what is refused is refused at once."""

import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from redoseg.automation.named import named_starts
from redoseg.config.auto import AutoConfig
from redoseg.config.checks import free_to_change
from redoseg.errors import ConfigError, ModelError
from redoseg.files import asides, read_json
from redoseg.label_free.verdict import Verdict
from redoseg.models.run_folder import RunFolder


class AutoFolder:
    """RUN, with the paths of what `auto` leaves there, beside a run's own."""

    def __init__(self, path: Path) -> None:
        self.path, self.run = path, RunFolder(path)
        self.report = self.run.automatic
        self.students, self.game = path / "students", path / "game"
        self.masks, self.cutouts = path / "masks", path / "cutouts"
        self.table, self.page = path / "photos.csv", path / "page.png"
        self.trimmed, self.trimmed_note = self.run.trimmed, self.run.trimmed / "of.json"

    def student(self, name: str) -> Path:
        """The folder of a student: of first labels, by their name, or of a round, by its number."""
        return self.students / name

    @property
    def trimmed_is_ours(self) -> bool:
        """Whether nothing is in RUN/trimmed that `auto --trim` has not made."""
        if self.trimmed_note.is_file() or not self.trimmed.exists():
            return True
        return self.trimmed.is_dir() and not any(self.trimmed.iterdir())

    def read(self) -> dict[str, Any] | None:
        """What auto.json says; None if nothing was begun. ModelError if it is damaged, or lost."""
        if not self.report.is_file():
            if any(self.students.glob("*/run.json")) or (self.game / "run.json").exists():
                raise self._unreadable("is lost")
            return None
        try:
            report: dict[str, Any] = read_json(self.report)
            AutoConfig.from_json(report["config"])
            Plan.from_json(report["plan"])
            str(report["data"]["fingerprint"]), dict(report["students"])
            if "verdict" in report:
                Found.from_json(report)
        except (ModelError, ConfigError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise self._unreadable("is damaged") from error
        return report

    def _unreadable(self, trouble: str) -> ModelError:
        kept = f"what was trained stays in {self.students if self.students.exists() else self.game}"
        if self.run.exists:
            kept = f"`redoseg segment {self.path} PHOTOS --out MASKS` works without it"
        return ModelError(
            f"{self.report} {trouble}, and without it nothing goes on: put it back, or begin anew with "
            f"another --out; {kept}"
        )

    def check(self, config: AutoConfig) -> None:
        """ConfigError for a folder that holds something else, or was begun with other options; ModelError as
        `read`."""
        report = self.read()
        if report is not None:
            begun, free = AutoConfig.from_json(report["config"]), free_to_change(AutoConfig)
            now, same = config.as_json(), [*named_starts(config.starts)]
            for name, value in begun.as_json().items():
                if name == "starts" and value and [*report["plan"]["starts"]] == same:
                    continue  # the same ones, typed in another way or moved with the rest
                if name not in free and value != now[name]:
                    said = f"{self.path} was begun {_otherwise(name, value, now[name])}"
                    raise ConfigError(f"{said}: go back to that, or choose another --out")
            if same and same != [*report["plan"]["starts"]]:
                then = " ".join(report["plan"]["starts"])
                raise ConfigError(
                    f"{self.path} was begun with {then}, and --starts means {' '.join(same)} now "
                    "(./game names a folder): name the same ones, or another --out"
                )
            return
        ignored = {*asides(self.path), self.path / ".lock"}
        if self.trimmed_is_ours:  # it was stopped while it made copies
            ignored.add(self.trimmed)
        if self.path.exists() and (not self.path.is_dir() or {*self.path.iterdir()} - ignored):
            raise ConfigError(f"{self.path} is there and wasn't made by `redoseg auto`: choose another --out")


@dataclass(frozen=True)
class Found:
    """What `auto` did, as auto.json has it: `Verdict.worth` of its `students`, by name, in order; which
    one was `kept` as the model; how many `masks` it wrote, (name, reason) of each photo that `failed`; the
    `verdict`."""

    students: dict[str, float]
    kept: str
    masks: int
    failed: list[tuple[str, str]]
    verdict: Verdict

    def as_json(self) -> dict[str, Any]:
        failed = [list(pair) for pair in self.failed]
        return vars(self) | {"failed": failed, "verdict": self.verdict.as_json()}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Self:
        """From what `as_json` gave, among other entries."""
        failed = [(name, reason) for name, reason in fields["failed"]]
        verdict = Verdict.from_json(fields["verdict"])
        return cls(fields["students"], fields["kept"], fields["masks"], failed, verdict)


@dataclass(frozen=True)
class Plan:
    """`starts`: what teaches the first students, by name. `first_images` and `first_steps`: how many photos
    they learn from, and for how long. `steps`: of the further students; `rounds`: with the first one, at most
    so many, each taught by the one before it; `batch`: images in a batch of all of them. `minutes`: what all
    of it should take. `squares` of each photo that isn't square are learned from after the first students.
    `game_steps`: of the game, where it is one of the starts; `diffaugment`: what is changed in all that its D
    sees, as `TrainConfig` has it. `parts`: minutes of each student, by name; empty in a plan that an earlier
    version made."""

    starts: dict[str, str]
    first_images: int
    first_steps: int
    steps: int
    rounds: int
    batch: int
    minutes: float
    squares: int = 1
    game_steps: int = 0
    parts: dict[str, float] = field(default_factory=dict)
    diffaugment: str = "off"

    def as_json(self) -> dict[str, Any]:
        return dict(vars(self))

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "Plan":
        return cls(**fields)


def _otherwise(name: str, then: Any, now: Any) -> str:
    """How an option was given then and is given now, on the command line."""
    if isinstance(then, bool):
        return f"with --{name}, not without it" if then else f"without --{name}, not with it"
    then, now = (shlex.join(value) if isinstance(value, list) else value for value in (then, now))
    if then in (None, ""):
        return f"without --{name}, not with {now}"
    return f"with --{name} {then}, not {'without it' if now in (None, '') else now}"
