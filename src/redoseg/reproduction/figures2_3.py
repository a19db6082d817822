"""Figures 2 and 3: images drawn at random, each region redrawn with the same few codes in every row."""

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL.Image import Image

from redoseg.figures.pages import reduce_colours, stack_blocks
from redoseg.figures.tiles import blur_rows, sample_grid
from redoseg.files import write_aside
from redoseg.redrawing.redraw import redraw_grid, sample_codes
from redoseg.reproduction.panels import SEED, Scored, Shown, scored_pool, shown_sets, shuffled
from redoseg.reproduction.protocol import Experiment
from redoseg.reproduction.tables import DASH, figure, leave, markdown
from redoseg.tensors import to_tensor

CODES = 4
"""For each region."""

CODES_SEED = 0


def figure2(experiment: Experiment) -> Path:
    """Train what isn't yet, redraw and write. Returns the folder of result.json, table.md and figure.png."""
    return _redraws(experiment, "figure2", ("lfw", "cub", "flowers"), rows=6)


def figure3(experiment: Experiment) -> Path:
    """As `figure2`, on the union of Flowers and LFW, as many rows of each."""
    return _redraws(experiment, "figure3", ("flowers+lfw",), rows=10)


def _redraws(experiment: Experiment, name: str, usual: Sequence[str], *, rows: int) -> Path:
    lived, failed = shown_sets(experiment, experiment.sets or usual)
    drawn = {shown.of.name: drawn_rows(shown, rows) for shown in lived}
    sets = {shown.of.name: _result(experiment, shown, drawn[shown.of.name]) for shown in lived}
    result = experiment.described(name) | {"seeds": 1, "sets": sets, "failed": failed}
    folder = experiment.folder(name)
    leave(folder, result=result, table=_table(sets, failed))
    if lived:
        blocks = [(_heading(shown), _picture(shown, drawn[shown.of.name])) for shown in lived]
        page = reduce_colours(stack_blocks(blocks))
        write_aside(folder / "figure.png", lambda aside: page.save(aside, "PNG", optimize=True))
    return folder


def drawn_rows(shown: Shown, count: int) -> NDArray[np.int64]:
    """`count` images of the split at random, as many of each set of a union, in mixed order. Of a set with
    masks those that have one. The model has no say in it."""
    everything = np.arange(len(shown.pool.split))
    sources = shown.sources(everything)
    masked = shown.pool.rows if shown.pool.labelled else everything[:0]
    candidates = []
    for name in dict.fromkeys(source.name for source in sources):
        of_it = everything[np.array([source.name == name for source in sources])]
        with_mask = np.intersect1d(of_it, masked)
        candidates.append(shuffled(with_mask if len(with_mask) else of_it).tolist())
    in_turn = [row for rank in zip_longest(*candidates) for row in rank if row is not None]
    return shuffled(np.array(in_turn[:count], np.int64))


def _picture(shown: Shown, rows: NDArray[np.int64]) -> Image:
    """Input, truth where there is one, mask, objects redrawn, background redrawn; faces blurred."""
    model, split = shown.model, shown.pool.split
    codes = sample_codes(model.f.n, CODES, shown.config.code_size, seed=CODES_SEED)
    truth = torch.from_numpy(split.labels(rows)) if shown.pool.labelled else None
    images = to_tensor(split.images(rows), model.f.order.device)
    content = redraw_grid(model.f, model.generators, images, codes, truth)
    return sample_grid(blur_rows(content, shown.boxes(rows)))


def _heading(shown: Shown) -> str:
    masks = "" if shown.pool.labelled else ", no masks to compare with"
    return f"{shown.of.title}: images of {shown.pool.name} drawn at random{masks}"


def _result(experiment: Experiment, shown: Shown, rows: NDArray[np.int64]) -> dict[str, Any]:
    scored = scored_pool(shown.model, shown.pool) if shown.pool.labelled else None
    places = {row: place for place, row in enumerate(shown.pool.rows.tolist())}
    blurred = [box is not None for box in shown.boxes(rows)]
    names = shown.pool.names(rows)
    return shown.describe(experiment) | {
        "codes": {"seed": CODES_SEED, "per_region": CODES},
        "label_of_region": scored.label_of_region.tolist() if scored else None,
        "scores": scored.means() if scored else None,
        "rows": [
            {"name": name, "face_blurred": blur} | _scores(scored, places.get(row))
            for row, name, blur in zip(rows.tolist(), names, blurred, strict=True)
        ],
    }


def _scores(scored: Scored | None, place: int | None) -> dict[str, Any]:
    return {"scores": None if scored is None or place is None else scored.both(place)}


def _table(sets: Mapping[str, dict[str, Any]], failed: Mapping[str, str]) -> str:
    head = ["set", "image", "split", "checkpoint", "acc", "IoU", "acc per image", "IoU per image"]
    lines: list[list[str]] = []
    for result in sets.values():
        chosen = result["checkpoint"]
        begin = [result["split"], f"{chosen['rule']}, step {chosen['step']:,}"]
        rows = [(row["name"], row["scores"]) for row in result["rows"]]
        rows += [(f"all {result['drawn_from']:,} of the split", result["scores"])] if result["masks"] else []
        lines += [[result["title"], name, *begin, *_cells(scores)] for name, scores in rows]
    lines += [[name, f"none: {reason}", *[DASH] * 6] for name, reason in failed.items()]
    return markdown(head, lines) + "\n" + _NOTES + _swapped(sets)


def _cells(scores: Mapping[str, Mapping[str, float]] | None) -> list[str]:
    if scores is None:
        return [DASH] * 4
    return [figure(scores[of][name]) for of in ("per_dataset", "per_image") for name in ("accuracy", "iou")]


_NOTES = (
    "The picture has a block for each set. A row is an image: input, ground truth (where the set has masks; "
    f"grey: unlabelled), mask, the object redrawn with {CODES} codes, the background with {CODES}. A column "
    "is one code in all rows of a block. Not cherry-picked: the rows are drawn from the split with seed "
    f"{SEED}, of a union as many from each set, the codes with seed {CODES_SEED}; scores have no say in it. "
    "The run is Table 1's with seed 0, its checkpoint the last one, which no mask chose. Scores: one "
    "matching for the data set, then each image's own. The faces of LFW are blurred in the picture alone.\n"
)


def _swapped(sets: Mapping[str, dict[str, Any]]) -> str:
    """What to know of a set whose background, as the matching has it, f takes for an object."""
    titles = [
        result["title"]
        for result in sets.values()
        if result["label_of_region"] and result["label_of_region"][0] != 0
    ]
    if not titles:
        return ""
    return (
        f"\nOn {', '.join(titles)} what the model calls the background counts as the object in the matching "
        "with the data set's masks. The picture shows regions as the model calls them.\n"
    )
