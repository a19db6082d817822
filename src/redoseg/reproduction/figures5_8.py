"""Figures 5 to 8: masks beside their ground truth, the best, the worst, and some drawn at random."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from redoseg.evaluation.evaluate import predict
from redoseg.figures.pages import reduce_colours, stack_blocks, strip
from redoseg.figures.tiles import blur_box, label_colours
from redoseg.files import write_aside
from redoseg.reproduction.panels import SEED, Scored, Shown, scored_pool, shown_sets, shuffled
from redoseg.reproduction.protocol import Experiment
from redoseg.reproduction.tables import DASH, figure, leave, markdown

COLUMNS = 10
_RANDOM, _MORE = 2, 6  # blocks of images drawn at random: of figures 5 and 6, of 7 and 8


@dataclass(frozen=True)
class Block:
    """Some images of a pool by their places in it, and why these."""

    title: str
    places: NDArray[np.int64]


def figure5(experiment: Experiment) -> Path:
    """Train what isn't yet, rank and write. Returns the folder of result.json, table.md and figure.png."""
    return _masks(experiment, "figure5", "flowers", more=False)


def figure6(experiment: Experiment) -> Path:
    """As `figure5`, on CUB."""
    return _masks(experiment, "figure6", "cub", more=False)


def figure7(experiment: Experiment) -> Path:
    """More images of Flowers, drawn at random: those that `figure5` leaves."""
    return _masks(experiment, "figure7", "flowers", more=True)


def figure8(experiment: Experiment) -> Path:
    """As `figure7`, on CUB."""
    return _masks(experiment, "figure8", "cub", more=True)


def _masks(experiment: Experiment, name: str, usual: str, *, more: bool) -> Path:
    lived, failed = shown_sets(experiment, experiment.sets or (usual,))
    sets, pictures = {}, []
    for shown in lived:
        scored = scored_pool(shown.model, shown.pool) if shown.pool.labelled else None
        blocks = more_blocks(len(shown.pool.rows)) if more else ranked_blocks(len(shown.pool.rows), scored)
        sets[shown.of.name] = _result(experiment, shown, scored, blocks)
        pictures += [
            (f"{number}. {_heading(shown, block, scored)}", _picture(shown, scored, block.places))
            for number, block in enumerate(blocks, 1)
        ]
    folder = experiment.folder(name)
    result = experiment.described(name) | {"seeds": 1, "sets": sets, "failed": failed}
    leave(folder, result=result, table=_table(sets, failed))
    if pictures:
        page = reduce_colours(stack_blocks(pictures))
        write_aside(folder / "figure.png", lambda aside: page.save(aside, "PNG", optimize=True))
    return folder


def ranked_blocks(count: int, scored: Scored | None) -> list[Block]:
    """Those of figures 5 and 6, of a pool of `count` images; without scores only what is drawn at random."""
    order = shuffled(np.arange(count))
    random = [
        Block("drawn at random", order[k * COLUMNS : (k + 1) * COLUMNS])
        for k in range(_RANDOM)
        if k == 0 or k * COLUMNS < count
    ]
    if scored is None:
        return random
    best, worst = (
        [(f"{how} by {name}", np.argsort(sign * values, kind="stable")[:COLUMNS])
         for name, values in (("accuracy", scored.accuracy), ("IoU", scored.iou))]
        for how, sign in (("best", -1), ("worst", 1))
    )  # fmt: skip
    return [*(Block(*of) for of in best), *random, *(Block(*of) for of in worst)]


def more_blocks(count: int) -> list[Block]:
    """Those of figures 7 and 8: the images next in the order of figures 5 and 6; where they have shown all,
    the same ones again."""
    order = shuffled(np.arange(count))
    left = order[_RANDOM * COLUMNS :] if count > _RANDOM * COLUMNS else order
    starts = range(0, min(len(left), _MORE * COLUMNS), COLUMNS)
    return [Block("drawn at random", left[start : start + COLUMNS]) for start in starts]


def _picture(shown: Shown, scored: Scored | None, places: NDArray[np.int64]) -> Image:
    """Rows: input, ground truth, output; or input and output. Accuracy and IoU beneath each column."""
    split, rows, n = shown.pool.split, shown.pool.rows[places], shown.model.f.n
    boxes = shown.boxes(rows)
    images = [
        image if box is None else blur_box(image, box)
        for image, box in zip(split.images(rows), boxes, strict=True)
    ]
    if scored is None:
        output = predict(shown.model.f, split, rows)[0]
        return strip([images, [label_colours(one, n) for one in output]], ["input", "output"], [])
    truth = [label_colours(one, n) for one in split.labels(rows)]
    output = scored.labels[places]
    captions = [f"{figure(scored.accuracy[place])} / {figure(scored.iou[place])}" for place in places]
    shown_rows = [images, truth, [label_colours(one, n) for one in output]]
    return strip(shown_rows, ["input", "truth", "output"], captions)


def _heading(shown: Shown, block: Block, scored: Scored | None) -> str:
    beneath = "no masks to compare with" if scored is None else "accuracy / IoU beneath"
    return f"{shown.of.title}, {shown.pool.name}: {block.title} ({beneath})"


def _result(
    experiment: Experiment, shown: Shown, scored: Scored | None, blocks: Sequence[Block]
) -> dict[str, Any]:
    told = []
    for block in blocks:
        names = shown.pool.names(shown.pool.rows[block.places])
        scores = [None if scored is None else scored.both(place)["per_dataset"] for place in block.places]
        images = [{"name": name, "scores": one} for name, one in zip(names, scores, strict=True)]
        told.append({"title": block.title, "images": images})
    return shown.describe(experiment) | {
        "label_of_region": scored.label_of_region.tolist() if scored else None,
        "scores": scored.means() if scored else None,
        "blocks": told,
    }


def _table(sets: Mapping[str, dict[str, Any]], failed: Mapping[str, str]) -> str:
    head = ["set", "split", "checkpoint", "block", "images", "acc", "IoU"]
    lines: list[list[str]] = []
    for result in sets.values():
        chosen = result["checkpoint"]
        begin = [result["title"], result["split"], f"{chosen['rule']}, step {chosen['step']:,}"]
        for number, block in enumerate(result["blocks"], 1):
            title, scores = f"{number}. {block['title']}", [image["scores"] for image in block["images"]]
            ranges = [_range([one[metric] for one in scores if one]) for metric in ("accuracy", "iou")]
            lines.append([*begin, title, str(len(scores)), *ranges])
        if result["masks"]:
            means = [figure(result["scores"]["per_dataset"][metric]) for metric in ("accuracy", "iou")]
            lines.append([*begin, "mean of all", f"{result['drawn_from']:,}", *means])
    lines += [[name, DASH, DASH, f"none: {reason}", *[DASH] * 3] for name, reason in failed.items()]
    without = [result["title"] for result in sets.values() if not result["masks"]]
    return markdown(head, lines) + "\n" + _NOTES + (_no_masks(without) if without else "")


def _range(values: Sequence[float]) -> str:
    return f"{figure(min(values))} to {figure(max(values))}" if values else DASH


_NOTES = (
    "The picture has a block of rows for each line: input, ground truth (grey: unlabelled), output (the "
    "region of each pixel, as it is scored); beneath, each image's accuracy and IoU. One matching of regions "
    "to labels holds for the whole data set. What is drawn at random is drawn with seed "
    f"{SEED}, whatever its scores; the best and the worst are found with masks. The run is Table 1's with "
    "seed 0, its checkpoint the last one, which no mask chose.\n"
)


def _no_masks(titles: Sequence[str]) -> str:
    return (
        f"\nThere are no masks of {', '.join(titles)} here, so nothing is ranked: what is shown is drawn at "
        "random, input and output alone, and white is what the model takes for the object.\n"
    )
