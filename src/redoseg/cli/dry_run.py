"""What `redoseg train --dry-run` prints: what would be trained, on what."""

import dataclasses
import json
from typing import Any

from redoseg.config import TrainConfig
from redoseg.config.checks import option_words, options
from redoseg.config.markers import Group


def as_json(config: TrainConfig, data: dict[str, Any], tries: dict[str, Any] | None = None) -> str:
    """The resolved options, what was found in the data, with --labelled the masks that would be learned from
    and, if there are several, the tries, as JSON."""
    masks = {"supervision": data["supervision"]} if "supervision" in data else {}
    found = {name: value for name, value in data.items() if name not in masks}
    several = {} if tries is None else {"tries": tries}
    return json.dumps({"config": config.as_json(), "data": found} | masks | several, indent=2)


def as_lines(config: TrainConfig, data: dict[str, Any], tries: dict[str, Any] | None = None) -> str:
    """The same in a few lines: data, networks, the options that people use, and others that were given."""
    splits = (
        f"{found['images']} {name} ({found['labelled'] or 'none'} with masks)"
        for name, found in data["splits"].items()
    )
    left_out = f"; {len(data['skipped'])} files left out" if data["skipped"] else ""
    lines = [
        ("data", f"{data['name']}: {', '.join(splits)}{left_out}"),
        ("networks", f"{config.size} x {config.size} pixels, {config.n} regions; {_widths(config)}"),
        ("options", _words(config, _used(config))),
    ]
    others = _others(config)
    if others:
        lines.append(("and", _words(config, others)))
    if "supervision" in data:
        lines.append(("masks", f"SEMI-SUPERVISED: those of {len(data['supervision']['names'])} images"))
    if tries is not None:
        lines.append(("tries", f"seeds {', '.join(map(str, tries['seeds']))}, {tries['steps']} steps each"))
    if config.minutes is not None:
        lines.append(("time", f"it ends after {config.minutes:g} minutes, if not at its last step"))
    lines.append(("all", "every option, as JSON: --dry-run --json"))
    return "\n".join(f"{title:9} {text}" for title, text in lines)


def _widths(config: TrainConfig) -> str:
    return f"width {config.f_width} of f, {config.g_width} of G, {config.width} of D"


def _used(config: TrainConfig) -> list[str]:
    """The options that --help has first, but for the data: those that people use."""
    known = options(type(config))
    return [name for name, option in known.items() if option.group is Group.FIRST and name != "data"]


def _others(config: TrainConfig) -> list[str]:
    """Further options whose values aren't those of the recipe and the settings."""
    usual = TrainConfig.of(
        data=config.data, out=config.out, recipe=config.recipe, settings=config.settings, size=config.size
    ).resolved()
    names = [field.name for field in dataclasses.fields(config)]
    changed = [name for name in names if getattr(config, name) != getattr(usual, name)]
    return [name for name in changed if name not in {*_used(config), "data"}]


def _words(config: TrainConfig, names: list[str]) -> str:
    """Options as they are typed; what is None is left out."""
    given = {name: value for name in names if (value := getattr(config, name)) is not None}
    return " ".join(word for name, value in given.items() for word in option_words(name, value))
