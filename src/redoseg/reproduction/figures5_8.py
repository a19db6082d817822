"""Figures 5 to 8: masks beside their ground truth, the best, the worst, and some taken at random."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from redoseg.evaluation.evaluate import predict
from redoseg.figures.pages import strip
from redoseg.figures.tiles import blur_box, label_colours
from redoseg.reproduction import panels
from redoseg.reproduction.panels import SEED, FigureRun, PoolScores
from redoseg.reproduction.protocol import Experiment
from redoseg.reproduction.tables import DASH, METRICS, format_score, score_cells, to_markdown

IMAGES = 10
"""Images in a block, one a column."""

_RANDOM, _MORE = 2, 6  # blocks of images taken at random: in figures 5 and 6, in figures 7 and 8

_COLUMNS = ("set", "split", "checkpoint", "block", "images", "acc", "IoU")


@dataclass(frozen=True)
class Block:
    """Some images of a pool by their places in it; the title says how they were chosen."""

    title: str
    places: NDArray[np.int64]


def mask_figure(experiment: Experiment, *, name: str, usual_set: str, more: bool) -> Path:
    """Train what isn't yet, score and write all; `more`: random images only, others. Returns the folder."""
    runs, failed = panels.load_figure_runs(experiment, experiment.sets or (usual_set,))
    sets, pictures = {}, []
    for run in runs:
        scores = panels.score_pool(run.model, run.pool) if run.pool.labelled else None
        count = len(run.pool.rows)
        blocks = more_blocks(count) if more else ranked_blocks(count, scores)
        sets[run.paper_set.name] = _describe(experiment, run, scores, blocks)
        pictures += [
            (f"{number}. {_heading(run, block, scores)}", _make_picture(run, scores, block.places))
            for number, block in enumerate(blocks, 1)
        ]
    table = make_table(sets, failed)
    return panels.write_figure(experiment, name, sets=sets, failed=failed, table=table, pictures=pictures)


def ranked_blocks(count: int, scores: PoolScores | None) -> list[Block]:
    """The blocks of figures 5 and 6 for a pool of `count` images; without scores only random ones."""
    order = panels.shuffle(np.arange(count))
    starts = range(0, max(1, min(count, _RANDOM * IMAGES)), IMAGES)
    random = [Block("drawn at random", order[start : start + IMAGES]) for start in starts]
    if scores is None:
        return random
    ranked = {
        how: [
            Block(f"{how} by {metric}", np.argsort(sign * values, kind="stable")[:IMAGES])
            for metric, values in (("accuracy", scores.accuracy), ("IoU", scores.iou))
        ]
        for how, sign in (("best", -1), ("worst", 1))
    }
    return [*ranked["best"], *random, *ranked["worst"]]


def more_blocks(count: int) -> list[Block]:
    """The blocks of figures 7 and 8: what comes next in that random order; the same again if nothing does."""
    order = panels.shuffle(np.arange(count))
    rest = order[_RANDOM * IMAGES :] if count > _RANDOM * IMAGES else order
    starts = range(0, min(len(rest), _MORE * IMAGES), IMAGES)
    return [Block("drawn at random", rest[start : start + IMAGES]) for start in starts]


def _make_picture(run: FigureRun, scores: PoolScores | None, places: NDArray[np.int64]) -> Image:
    """Rows: input, ground truth, output; or input and output. Accuracy and IoU beneath each column."""
    split, rows, n = run.pool.split, run.pool.rows[places], run.model.f.n
    images = [
        image if box is None else blur_box(image, box)
        for image, box in zip(split.images(rows), run.blur_boxes(rows), strict=True)
    ]
    if scores is None:
        output = predict(run.model.f, split, rows)[0]
        return strip([images, [label_colours(one, n) for one in output]], ["input", "output"], [])
    truth = [label_colours(one, n) for one in split.labels(rows)]
    masks = [label_colours(one, n) for one in scores.labels[places]]
    captions = [f"{format_score(scores.accuracy[k])} / {format_score(scores.iou[k])}" for k in places]
    return strip([images, truth, masks], ["input", "truth", "output"], captions)


def _heading(run: FigureRun, block: Block, scores: PoolScores | None) -> str:
    beneath = "no masks to compare with" if scores is None else "accuracy / IoU beneath"
    return f"{run.paper_set.title}, {run.pool.name}: {block.title} ({beneath})"


def _describe(
    experiment: Experiment, run: FigureRun, scores: PoolScores | None, blocks: Sequence[Block]
) -> dict[str, Any]:
    """What is shown of a run, with its scores, as result.json has it."""
    names = run.pool.names(run.pool.rows)

    def describe_image(place: int) -> dict[str, Any]:
        return {"name": names[place], "scores": scores.of_image(place)["per_dataset"] if scores else None}

    return run.describe(experiment) | {
        "label_of_region": scores.label_of_region.tolist() if scores else None,
        "scores": scores.means() if scores else None,
        "blocks": [
            {"title": block.title, "images": [describe_image(place) for place in block.places]}
            for block in blocks
        ],
    }


def make_table(sets: Mapping[str, dict[str, Any]], failed: Mapping[str, str]) -> str:
    """Markdown: the range of scores in each block, and the mean of all images where the set has masks."""
    records: list[dict[str, Any]] = []
    for result in sets.values():
        common = panels.set_cells(result)
        for number, block in enumerate(result["blocks"], 1):
            scores = [image["scores"] for image in block["images"] if image["scores"]]
            ranges = {metric: _format_range([score[metric] for score in scores]) for metric in METRICS}
            cells = {"block": f"{number}. {block['title']}", "images": len(block["images"])}
            records.append(common | cells | score_cells(ranges))
        if result["masks"]:
            means = score_cells(result["scores"]["per_dataset"])
            records.append(common | {"block": "mean of all", "images": result["drawn_from"]} | means)
    records += [{"set": name, "block": f"none: {reason}"} for name, reason in failed.items()]
    unmasked = ", ".join(result["title"] for result in sets.values() if not result["masks"])
    return to_markdown(records, _COLUMNS) + "\n" + _NOTES + (_NO_MASKS.format(unmasked) if unmasked else "")


def _format_range(values: Sequence[float]) -> str:
    return f"{format_score(min(values))} to {format_score(max(values))}" if values else DASH


_NOTES = (
    "The picture has a block of rows for each line: input, ground truth (grey: unlabelled), output (the "
    "region of each pixel, as it is scored); beneath, each image's accuracy and IoU. One matching of regions "
    "to labels holds for the whole data set. What is drawn at random is drawn with seed "
    f"{SEED}, whatever its scores; the best and the worst are found with masks. The run is Table 1's with "
    "seed 0, its checkpoint the last one, which no mask chose.\n"
)

_NO_MASKS = (
    "\nThere are no masks of {} here, so nothing is ranked: what is shown is drawn at random, input and "
    "output alone, and white is what the model takes for the object.\n"
)
