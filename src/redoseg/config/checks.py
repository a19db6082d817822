"""What is derived from the fields of `TrainConfig` and `DistillConfig`: their checks and their JSON."""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args, get_origin

from redoseg.config.markers import MAY_CHANGE, Bound, Group
from redoseg.errors import ConfigError
from redoseg.files import expanded


@dataclasses.dataclass(frozen=True)
class Option:
    """One field, taken apart."""

    kind: Any
    """Its annotated type, markers included."""
    parts: tuple[Any, ...]
    """Its type without markers; of a union or tuple its parts, too."""
    markers: tuple[Any, ...]

    @property
    def group(self) -> Group:
        return next((marker for marker in self.markers if isinstance(marker, Group)), Group.FIRST)

    def refusal(self, value: Any) -> str | None:
        """What has to be given instead of this value. None if it can be."""
        if value is None and type(None) in self.parts:
            return None
        choices = [choice for part in self.parts if get_origin(part) is Literal for choice in get_args(part)]
        if choices and not all(one in choices for one in (value if isinstance(value, tuple) else (value,))):
            return f"choose from {', '.join(choices)}"
        if isinstance(value, float) and not math.isfinite(value):
            return "it must be a finite number"
        bounds = (marker for marker in self.markers if isinstance(marker, Bound))
        try:
            return next((bound.wanted for bound in bounds if not bound.allows(value)), None)
        except TypeError:
            return f"it can't be of type {type(value).__name__}"

    def restored(self, value: Any) -> Any:
        """The value that JSON had as a string or a list; a path with `~` written out."""
        if isinstance(value, list) and any(get_origin(part) is tuple for part in self.parts):
            return tuple(value)
        return expanded(value) if isinstance(value, str | Path) and Path in self.parts else value


def options(config_class: type["Config"]) -> dict[str, Option]:
    """The options of a configuration by name, in the order of its fields."""
    found = {}
    for field in dataclasses.fields(config_class):
        plain, *markers = get_args(field.type) if get_origin(field.type) is Annotated else (field.type,)
        found[field.name] = Option(field.type, (plain, *get_args(plain)), tuple(markers))
    return found


def free_to_change(config_class: type["Config"]) -> frozenset[str]:
    """Options that a continued run may be given anew: but for rounding, none changes what a step learns. That
    data, labelled images and a teacher are the same, wherever they lie, is seen by their fingerprints."""
    return frozenset(name for name, option in options(config_class).items() if MAY_CHANGE in option.markers)


@dataclasses.dataclass(frozen=True)
class Config:
    """What both configurations share: every copy is checked, and each survives JSON."""

    def __post_init__(self) -> None:
        """A path may be a string. ConfigError for the first option that can't be, alone or beside others."""
        for name, option in options(type(self)).items():
            object.__setattr__(self, name, option.restored(getattr(self, name)))
            wanted = option.refusal(getattr(self, name))
            if wanted is not None:
                raise self._refused(name, wanted)
        self._check_together()

    def _check_together(self) -> None:
        """ConfigError for what depends on several options, or has an error of its own wording."""

    def _refused(self, name: str, wanted: str) -> ConfigError:
        value = getattr(self, name)
        shown = " ".join(map(str, value)) if isinstance(value, tuple) else value
        return ConfigError(f"--{name.replace('_', '-')} is {shown}: {wanted}")

    def as_json(self) -> dict[str, Any]:
        """Every option as JSON knows it; `from_json` reads it back."""
        return {name: _plain(value) for name, value in vars(self).items()}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """What `as_json` gave, else the default. TypeError for an unknown option, ConfigError for a value."""
        known = options(cls)
        return cls(**{name: known[name].restored(v) if name in known else v for name, v in content.items()})


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else list(value) if isinstance(value, tuple) else value


def option_words(name: str, value: object, word: Callable[[object], str] = str) -> list[str]:
    """An option as it is typed: `--no-flip`, `--blur 0.25 0.2 0.75 0.8`; each part of a value as `word` has
    it."""
    flag = name.replace("_", "-")
    if isinstance(value, bool):
        return [f"--{flag}" if value else f"--no-{flag}"]
    return [f"--{flag}", *map(word, value if isinstance(value, tuple) else (value,))]
