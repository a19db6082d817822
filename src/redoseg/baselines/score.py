"""Score ways to find an object without a network, as a model is scored: extra `baselines`.

`fixed-mask` and `disc` are CHOSEN WITH LABELS and look at no image; the others see one image at a time, and
no label. All find two regions, and 0 is the background by construction.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.table import Table
from threadpoolctl import threadpool_limits

from redoseg.baselines import grabcut, iem, kmeans, saliency
from redoseg.data.cache import Report
from redoseg.data.dataset import Split
from redoseg.data.labels import UNLABELLED
from redoseg.data.sampler import evenly_spaced
from redoseg.errors import DataError
from redoseg.evaluation.metrics import Scores, confusion, count_scored, per_dataset, per_image
from redoseg.evaluation.tables import row_label, rows_table
from redoseg.evaluation.trivial import disc, fixed_mask
from redoseg.models.card import ROWS, TRIVIAL

Method = Callable[[NDArray[np.uint8], int], NDArray[np.uint8]]

METHODS: dict[str, Method] = {
    "grabcut": grabcut.segment, "kmeans": kmeans.segment, "saliency": saliency.segment, "iem": iem.segment
}  # fmt: skip
CHOSEN_WITH_LABELS = ("fixed-mask", "disc")
NAMES = (*CHOSEN_WITH_LABELS, *METHODS)
_READ_AT_ONCE = 64


@dataclass(frozen=True)
class BaselineReport:
    """What `redoseg baseline` reports. Scores are means over images, in [0, 1].

    `images` were scored, of `labelled` in the split. `region_sizes` (background, object) and `seconds`, an
    image's processor time in one thread, are None for a baseline that is chosen with labels. Such a one needs
    no matching: its scores are the same under both. `fixed_mask` and `disc` are None with fewer than two
    images.
    """

    name: str
    labelled: int
    seed: int
    fixed_mask: Scores | None
    disc: Scores | None
    images: int
    chosen_with_labels: bool
    per_dataset: Scores
    per_image: Scores
    region_sizes: tuple[float, float] | None = None
    seconds: dict[str, float] | None = None

    def as_dict(self) -> dict[str, Any]:
        """As `--json` prints it."""
        scores = {name: row.as_dict() for name, row in vars(self).items() if isinstance(row, Scores)}
        sizes = None if self.region_sizes is None else list(self.region_sizes)
        return vars(self) | scores | {"region_sizes": sizes}


def score_baseline(
    name: str, split: Split, *, most: int | None = None, seed: int = 0, progress: Report | None = None
) -> BaselineReport:
    """Score the baseline `name`, one of NAMES, on the labelled images of a split, or on `most` of them.

    DataError if their masks label no pixel, or if a baseline that is chosen with labels has fewer than two.
    """
    chosen = split.labelled[evenly_spaced(len(split.labelled), most)]
    truth = split.labels(chosen)
    if not (truth != UNLABELLED).any():
        raise DataError("no mask of this split labels a pixel: there is nothing to score")
    rows = fixed_mask(truth, 2), disc(truth, 2)
    report = partial(BaselineReport, name, len(split.labelled), seed, *rows)
    if name in CHOSEN_WITH_LABELS:
        row = rows[CHOSEN_WITH_LABELS.index(name)]
        if row is None:
            raise DataError(
                f"{name} is chosen on one half of the images and scored on the other: give two or more"
            )
        images = int(np.count_nonzero((truth != UNLABELLED).any((1, 2))))
        return report(images=images, chosen_with_labels=True, per_dataset=row, per_image=row)
    regions, seconds = segment_images(name, split, chosen, seed=seed, progress=progress)
    counts = confusion(regions, truth, 2)
    size = float(regions.mean())
    return report(
        images=count_scored(counts),
        chosen_with_labels=False,
        per_dataset=per_dataset(counts),
        per_image=per_image(counts),
        region_sizes=(1 - size, size),
        seconds={"median": float(np.median(seconds)), "mean": float(np.mean(seconds))},
    )


def segment_images(
    name: str, split: Split, indices: NDArray[np.int64], *, seed: int = 0, progress: Report | None = None
) -> tuple[NDArray[np.uint8], list[float]]:
    """Regions (B, S, S) of some images of a split by one of METHODS, and the seconds that each image took.

    One image at a time in one thread. Seconds are of processor time, so that other work of the machine
    doesn't count. `progress` is called with (images done, images in all).
    """
    regions, seconds = [], []
    with _limit_to_one_thread():
        for part in np.array_split(indices, -(-len(indices) // _READ_AT_ONCE)):
            for image in split.images(part):
                begun = time.process_time()
                regions.append(METHODS[name](image, seed))
                seconds.append(time.process_time() - begun)
                if progress is not None:
                    progress(len(regions), len(indices))
    return np.stack(regions), seconds


@contextmanager
def _limit_to_one_thread() -> Iterator[None]:
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        cv2.setNumThreads(threads)


def baseline_table(report: BaselineReport) -> Table:
    """A baseline's rows and the trivial ones; the title says what was scored and how long an image took."""
    total = "" if report.images == report.labelled else f" of {report.labelled}"
    how = f"{report.name}: CHOSEN WITH LABELS"
    if report.seconds is not None:
        median, mean = report.seconds["median"], report.seconds["mean"]
        how = f"an image takes {median:.3f} s (median; mean {mean:.3f}) in one thread"
    title = f"{report.images}{total} images scored; {how}"
    rows = TRIVIAL if report.chosen_with_labels else ROWS
    return rows_table(title, {row_label(row, report.name): getattr(report, row) for row in rows})
