"""Figures 2 and 3: images taken at random, each region redrawn with the same few codes in every row."""

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL.Image import Image

from redoseg.figures.tiles import blur_rows, sample_grid
from redoseg.redrawing.redraw import redraw_grid, sample_codes
from redoseg.reproduction import panels
from redoseg.reproduction.panels import SEED, FigureRun
from redoseg.reproduction.protocol import Experiment
from redoseg.reproduction.tables import score_cells, to_markdown
from redoseg.tensors import to_tensor

CODES, CODES_SEED = 4, 0
"""Codes with which each region is redrawn."""

_COLUMNS = ("set", "image", "split", "checkpoint", "acc", "IoU", "acc per image", "IoU per image")


def redraw_figure(experiment: Experiment, *, name: str, usual_sets: Sequence[str], count: int) -> Path:
    """Train what isn't yet, redraw `count` images of each set and write the results. Returns their folder."""
    runs, failed = panels.load_figure_runs(experiment, experiment.sets or usual_sets)
    rows = {run.paper_set.name: choose_rows(run, count) for run in runs}
    sets = {run.paper_set.name: _describe(experiment, run, rows[run.paper_set.name]) for run in runs}
    table = make_table(sets, failed)
    pictures = [(_heading(run), _make_picture(run, rows[run.paper_set.name])) for run in runs]
    return panels.write_figure(experiment, name, sets=sets, failed=failed, table=table, pictures=pictures)


def choose_rows(run: FigureRun, count: int) -> NDArray[np.int64]:
    """Take `count` images of the split at random, as many of each set of a union, in mixed order. Of a set
    with masks only images that have one are taken. The choice doesn't depend on the model."""
    everything = np.arange(len(run.pool.split))
    source_names = np.array([source.name for source in run.sources(everything)])
    masked = run.pool.rows if run.pool.labelled else everything[:0]
    candidates = []
    for name in dict.fromkeys(source_names.tolist()):
        of_source = everything[source_names == name]
        with_mask = np.intersect1d(of_source, masked)
        candidates.append(panels.shuffle(with_mask if len(with_mask) else of_source).tolist())
    in_turn = [row for rank in zip_longest(*candidates) for row in rank if row is not None]
    return panels.shuffle(np.array(in_turn[:count], np.int64))


def _make_picture(run: FigureRun, rows: NDArray[np.int64]) -> Image:
    """Input, truth where there is one, mask, objects redrawn, background redrawn; faces blurred."""
    model, split = run.model, run.pool.split
    codes = sample_codes(model.f.n, CODES, run.config.code_size, seed=CODES_SEED)
    truth = torch.from_numpy(split.labels(rows)) if run.pool.labelled else None
    images = to_tensor(split.images(rows), model.f.order.device)
    content = redraw_grid(model.f, model.generators, images, codes, truth)
    return sample_grid(blur_rows(content, run.blur_boxes(rows)))


def _heading(run: FigureRun) -> str:
    masks = "" if run.pool.labelled else ", no masks to compare with"
    return f"{run.paper_set.title}: images of {run.pool.name} drawn at random{masks}"


def _describe(experiment: Experiment, run: FigureRun, rows: NDArray[np.int64]) -> dict[str, Any]:
    """What is shown of a run, with its scores, as result.json has it."""
    scores = panels.score_pool(run.model, run.pool) if run.pool.labelled else None
    places = {row: place for place, row in enumerate(run.pool.rows.tolist())}
    shown = zip(rows.tolist(), run.pool.names(rows), run.blur_boxes(rows), strict=True)
    return run.describe(experiment) | {
        "codes": {"seed": CODES_SEED, "per_region": CODES},
        "label_of_region": scores.label_of_region.tolist() if scores else None,
        "scores": scores.means() if scores else None,
        "rows": [
            {
                "name": name,
                "face_blurred": box is not None,
                "scores": scores.of_image(places[row]) if scores and row in places else None,
            }
            for row, name, box in shown
        ],
    }


def make_table(sets: Mapping[str, dict[str, Any]], failed: Mapping[str, str]) -> str:
    """Markdown: a row for each image shown, and the mean of all where the set has masks."""
    records: list[dict[str, Any]] = []
    for result in sets.values():
        rows = [(row["name"], row["scores"]) for row in result["rows"]]
        if result["masks"]:
            rows.append((f"all {result['drawn_from']:,} of the split", result["scores"]))
        for name, scores in rows:
            records.append(panels.set_cells(result) | {"image": name})
            if scores:
                own = score_cells(scores["per_image"], "{} per image")
                records[-1] |= score_cells(scores["per_dataset"]) | own
    records += [{"set": name, "image": f"none: {reason}"} for name, reason in failed.items()]
    return to_markdown(records, _COLUMNS) + "\n" + _NOTES + _note_swapped(sets)


_NOTES = (
    "The picture has a block for each set. A row is an image: input, ground truth (where the set has masks; "
    f"grey: unlabelled), mask, the object redrawn with {CODES} codes, the background with {CODES}. A column "
    "is one code in all rows of a block. Not cherry-picked: the rows are drawn from the split with seed "
    f"{SEED}, of a union as many from each set, the codes with seed {CODES_SEED}; scores have no say in it. "
    "The run is Table 1's with seed 0, its checkpoint the last one, which no mask chose. Scores: one "
    "matching for the data set, then each image's own. The faces of LFW are blurred in the picture alone.\n"
)


def _note_swapped(sets: Mapping[str, dict[str, Any]]) -> str:
    """A note on the sets on which f's background region is matched with the object's label."""
    titles = [result["title"] for result in sets.values() if (result["label_of_region"] or [0])[0] != 0]
    if not titles:
        return ""
    return (
        f"\nOn {', '.join(titles)} what the model calls the background counts as the object in the matching "
        "with the data set's masks. The picture shows regions as the model calls them.\n"
    )
