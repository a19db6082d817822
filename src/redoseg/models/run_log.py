"""A run's log, read back: its lines, and the curves in them."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Points = list[tuple[float, float]]
"""(step, value), by rising step."""


def read_log(file: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl that can be read; none if there is no log."""
    lines = []
    if file.is_file():
        for text in file.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                line = json.loads(text)
            except ValueError:  # such as one that is being written
                continue
            if isinstance(line, dict) and isinstance(line.get("step"), int | float):
                lines.append(line)
    return lines


def curves_of(lines: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Points]]:
    """Charts by title; in each, lines of (step, value) by name. What the log doesn't have is left out."""
    found: dict[str, dict[str, Points]] = {}
    for line in lines:
        for chart, name, value in _values(line):
            if isinstance(value, int | float) and math.isfinite(value):
                found.setdefault(chart, {}).setdefault(name, []).append((float(line["step"]), float(value)))
    return found


def _values(line: Mapping[str, Any]) -> list[tuple[str, str, Any]]:
    """Chart, name and value of whatever the line has."""
    sizes = line.get("region_sizes")
    sizes = sizes if isinstance(sizes, list) else []
    several = len(sizes) > 2
    names = ["background", *(f"object {k}" if several else "object" for k in range(1, len(sizes)))]
    scores = _in(_in(line, "val"), "per_dataset")
    return [
        *(("losses", name, value) for name, value in _in(line, "losses").items()),
        *(("share of the image", name, size) for name, size in zip(names, sizes, strict=False)),
        ("label-free score", "label-free score", line.get("label_free")),
        *(("scores by masks", name, scores.get(key)) for key, name in _SCORES.items()),
    ]


def _in(line: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = line.get(key)
    return value if isinstance(value, dict) else {}


_SCORES = {"iou": "IoU", "accuracy": "accuracy"}
