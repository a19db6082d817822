"""What the page says of the run that made a model: its verdict, curves, redraws, options, time."""

import base64
import json
from collections.abc import Mapping
from html import escape
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from redoseg.errors import ConfigError, ModelError
from redoseg.files import read_json
from redoseg.label_free.verdict import Verdict
from redoseg.models.run_folder import RunFolder
from redoseg.models.run_log import curves_of, read_log
from redoseg.reporting.charts import draw_chart

_WIDEST = 1_000  # pixels of the picture of samples
_HIDDEN = {"blur", "threads", "cache", "mnist", "log_every"}  # options that say little of a run


def verdict_of(run: RunFolder) -> Verdict | None:
    """The run's own verdict, without labels; None if it has none."""
    for file, key in ((run.automatic, "verdict"), (run.verdict, None)):
        if file.is_file():
            try:
                content = read_json(file)
                return Verdict.from_json(content if key is None else content[key])
            except (ModelError, KeyError, TypeError):
                continue
    return None


def describe_run(run: RunFolder) -> str:
    """The part of the page below the photos; empty for what is no run."""
    if not run.exists:
        return ""
    description = read_json(run.description)
    lines = read_log(run.metrics)
    charts = "".join(draw_chart(title, curve) for title, curve in curves_of(lines).items())
    parts = [f'<div class="charts">{charts}</div>' if charts else "", _samples(run), _time(lines)]
    return "".join([*parts, _options(description)])


def _samples(run: RunFolder) -> str:
    """The last picture of samples, with the regions redrawn if the run has generators."""
    steps = run.sampled_steps()
    if not steps:
        return ""
    file = run.sample(steps[-1])
    what = "Input and mask" if run.distilled else "Input, mask and redraws"
    try:
        with Image.open(file) as picture:
            shown = picture.convert("RGB")
    except OSError:
        return ""
    shown.thumbnail((_WIDEST, 4 * _WIDEST))
    content = BytesIO()
    shown.save(content, "JPEG", quality=85)
    data = base64.b64encode(content.getvalue()).decode()
    caption = f"{what} on images of the run, step {steps[-1]}"
    image = f'<img class="samples" alt="{caption}" src="data:image/jpeg;base64,{data}">'
    return f"<details><summary>{caption}</summary>{image}</details>"


def _time(lines: list[dict[str, Any]]) -> str:
    if not lines:
        return ""
    step = lines[-1]["step"]
    seconds, images = (float(lines[-1].get(name) or 0) for name in ("seconds", "images"))
    pace = f", {images / seconds:.0f} images a second" if seconds else ""
    return f"<p>{step} steps in {seconds / 60:.1f} minutes of training{pace}.</p>"


def _options(description: Mapping[str, Any]) -> str:
    """The run's options; those of a student are its own."""
    shown: Mapping[str, Any] = description.get("distill") or description.get("config") or {}
    rows = "".join(
        f"<tr><th scope='row'>--{escape(name.replace('_', '-'))}</th><td>{escape(_text(value))}</td></tr>"
        for name, value in shown.items()
        if value is not None and name not in _HIDDEN
    )
    table = f"<table class='options'>{rows}</table>" if rows else ""
    return f"<details><summary>All options of the run</summary>{table}</details>" if table else ""


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def run_of(model: str | Path) -> RunFolder | None:
    """The run that MODEL names; None if it names a model's folder, a file or a name."""
    try:
        run = RunFolder(Path(model))
        return run if run.exists else None
    except (OSError, ConfigError, ValueError):
        return None
