"""What an experiment leaves: result.json, table.md, and its picture."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from redoseg.files import write_aside, write_json
from redoseg.version import __version__

DASH = "-"


def leave(folder: Path, *, result: dict[str, Any], table: str) -> None:
    """Both files, whole or not at all."""
    write_json(folder / "result.json", {"redoseg": __version__} | result)
    write_aside(folder / "table.md", lambda aside: aside.write_text(table, encoding="utf-8"))


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def summary(values: Sequence[float]) -> dict[str, Any] | None:
    """Mean, sample deviation (None of one value) and the values; None of no value."""
    if not values:
        return None
    deviation = stdev(values) if len(values) > 1 else None
    return {"mean": mean(values), "deviation": deviation, "values": list(values)}


def figure(value: float | None, deviation: float | None = None) -> str:
    """`.781 ± .005`; a dash for None."""
    if value is None:
        return DASH
    spread = "" if deviation is None else f" ± {_short(deviation)}"
    return _short(value) + spread


def of_summary(found: dict[str, Any] | None) -> str:
    """A summary as `figure` writes it."""
    return DASH if found is None else figure(found["mean"], found["deviation"])


def _short(value: float) -> str:
    text = f"{value:.3f}"
    return text[1:] if text.startswith("0.") else text
