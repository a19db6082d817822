"""Scores of a model on the labelled images of a split, beside those of trivial answers.

Only this package reads masks in order to score. Those to learn from, if any, are read by `training`.
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from redoseg.data.dataset import Dataset, Split, choose_scored_split, open_dataset
from redoseg.data.held_out import hold_out
from redoseg.data.labels import UNLABELLED, region_map
from redoseg.errors import DataError
from redoseg.evaluation.metrics import (
    Counts,
    Scores,
    as_labelled,
    confusion,
    count_scored,
    objects_matched,
    per_dataset,
    per_image,
)
from redoseg.evaluation.trivial import disc, fixed_mask
from redoseg.models.backends.torch import TorchBackend
from redoseg.models.card import AS_WRITTEN, ROWS, WHOLE
from redoseg.models.model import Model
from redoseg.models.source import ModelSource, find_model
from redoseg.networks.mask import MaskNetwork
from redoseg.segmentation.refining import Refining
from redoseg.segmentation.segmenter import Segmenter
from redoseg.tensors import pick_device, to_tensor

_WRITTEN = 128  # least side of the squares on which masks are scored as they are written
_AT_ONCE = 64


@dataclass(frozen=True)
class Evaluation:
    """The scores of a model on a split, as `evaluate` returns them.

    `images` is how many were scored. `per_dataset` and `per_image` score the model, with its regions matched
    to labels once for the split or anew for each image. `fixed_mask` and `disc` score trivial answers chosen
    with labels; None with fewer than two images, and `disc` for more than two regions. `region_sizes` is each
    region's mean share of an image, background first. `checkpoint` holds rule, step and ema, and supervision
    if masks were read in training. `as_written` scores the masks as `redoseg segment` writes them: refined,
    on squares of at least 128 pixels, the background named without the truth; None where only f was
    scored. `whole` scores them so for whole photos at their own size; None unless asked for.
    """

    images: int
    per_dataset: Scores
    per_image: Scores
    fixed_mask: Scores | None
    disc: Scores | None
    region_sizes: tuple[float, ...]
    checkpoint: dict[str, Any]
    as_written: Scores | None = None
    whole: Scores | None = None

    def as_dict(self) -> dict[str, Any]:
        """The same as `--json` prints it and evaluation.json holds it."""
        rows = {name: getattr(self, name) for name in (AS_WRITTEN, WHOLE, *ROWS)}
        scores = {name: None if row is None else row.as_dict() for name, row in rows.items()}
        others = {"region_sizes": list(self.region_sizes), "checkpoint": self.checkpoint}
        return {"images": self.images} | scores | others

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Self:
        """An evaluation from what `as_dict` returned."""
        rows = {name: fields.get(name) for name in (AS_WRITTEN, WHOLE, *ROWS)}  # older files lack some
        scores = {name: None if row is None else Scores.from_dict(row) for name, row in rows.items()}
        return cls(**fields | scores | {"region_sizes": tuple(fields["region_sizes"])})


@torch.no_grad()
def predict(
    f: MaskNetwork, split: Split, indices: NDArray[np.int64], batch: int = 64
) -> tuple[NDArray[np.uint8], tuple[float, ...]]:
    """Regions (B, S, S), background 0, of some images of a split, and the mean sizes (n,) of soft masks."""
    regions, sizes = [], torch.zeros(f.n, dtype=torch.float64)
    for part in np.array_split(indices, -(-len(indices) // batch)):
        masks = f.ordered_masks(to_tensor(split.images(part), f.order.device))  # (b, n, S, S)
        regions.append(region_map(masks.cpu().numpy()))
        sizes += masks.mean((2, 3)).sum(0).cpu().double()
    return np.concatenate(regions), tuple((sizes / len(indices)).tolist())


def count_pixels(f: MaskNetwork, split: Split, most: int) -> Counts:
    """Pixels of each region and label, (B, n, n), in at most `most` labelled images, evenly spaced."""
    labelled = _labelled_images(split)
    if len(labelled) > most:
        labelled = labelled[np.linspace(0, len(labelled) - 1, most).round().astype(np.int64)]
    return confusion(predict(f, split, labelled)[0], split.labels(labelled), f.n)


def score(model: Model, split: Split) -> Evaluation:
    """The scores of a model on the labelled images of a split, which are of the model's size.
    DataError if the split has no masks, or none that labels a pixel."""
    labelled = _labelled_images(split)
    truth = split.labels(labelled)
    regions, sizes = predict(model.f, split, labelled)
    counts = confusion(regions, truth, model.f.n)
    if not count_scored(counts):
        raise DataError("the masks of this split hold no labelled pixel: there is nothing to score")
    return Evaluation(
        images=count_scored(counts),
        per_dataset=per_dataset(counts),
        per_image=per_image(counts),
        fixed_mask=fixed_mask(truth, model.f.n),
        disc=disc(truth, model.f.n),
        region_sizes=sizes,
        checkpoint=model.checkpoint,
    )


def evaluate(
    model: str | Path | ModelSource,
    data: str | Path | Sequence[str | Path],
    *,
    split: str | None = None,
    checkpoint: str = "last",
    weights: str | None = None,
    device: str = "auto",
    cache: Path | None = None,
    mnist: Path | None = None,
    whole: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Score a model on the labelled images of one split of a data set.

    `model`, `checkpoint` and `weights` are those of `Segmenter.from_pretrained`, but not an ONNX file. `data`
    is what `redoseg train` takes: folders, archives, data sets. Images are resized to the model's S x S and
    kept in the folder `cache` (None: the user's). `mnist` is the folder of MNIST's files, for `digits`.
    `split`: its name; None: 'val', or 'train' where that is all there is. `whole`: score whole photos at
    their own size, too, as they lie in the folder.
    `progress` is called with (photos resized, photos in all).

    Images that the model was trained on with their masks are left out: scoring them would inflate the scores.
    Raises DataError if that leaves none, or if the split is missing or has no masks; ModelError for a model
    that can't be read, ConfigError for a device that can't be used.
    """
    source = find_model(model, checkpoint=checkpoint, weights=weights)
    loaded = source.load(pick_device(device))
    config = loaded.config
    sources = [str(one) for one in ([data] if isinstance(data, str | Path) else data)]

    def images_at(size: int) -> Split:
        """The images to score, at this size."""
        dataset = open_dataset(
            sources,
            size=size,
            n=loaded.f.n,
            cache=cache,
            mnist=mnist or (config.mnist if config else None),
            resize=config.resize if config else "antialias",
            progress=progress,
        )
        name, images = dataset.split_to_score(split)
        held_out = hold_out((name, images), loaded.supervision)
        if held_out is None:
            raise DataError(
                f"{model} was trained with the masks of every labelled image of the split {name}, or it has "
                "none"
            )
        return held_out[1]

    found = score(loaded, images_at(loaded.f.size))
    drawn = sources in (["digits"], ["digit"])  # scenes of another size would be others
    written = images_at(loaded.f.size if drawn else max(_WRITTEN, loaded.f.size))
    starts = source.starts()
    return dataclasses.replace(
        found,
        as_written=score_as_written(loaded, starts, written),
        whole=score_whole(loaded, starts, written) if whole else None,
    )


def score_as_written(model: Model, starts: tuple[float, ...] | None, split: Split) -> Scores:
    """The scores of the masks that `redoseg segment` would write for the labelled images of a split.
    `starts`: from where they are refined; None: the usual ones. The background is named without the truth;
    which of several objects is which is matched once for the split. DataError as `score`."""
    f, labelled, segmenter = model.f, _labelled_images(split), _segmenter(model, starts)
    counts = []
    for part in np.array_split(labelled, -(-len(labelled) // _AT_ONCE)):
        masks = np.stack([found.masks for found in segmenter.segment(list(split.images(part)))])
        counts.append(confusion(region_map(masks), split.labels(part), f.n))
    return as_labelled(objects_matched(np.concatenate(counts)))


def score_whole(model: Model, starts: tuple[float, ...] | None, split: Split) -> Scores:
    """As `score_as_written`, for whole photos, each at its own size."""
    n, segmenter = model.f.n, _segmenter(model, starts)
    counts = []
    for index in _labelled_images(split).tolist():
        photo, labels = split.whole(index)
        regions = region_map(segmenter(photo))
        counts.append(confusion(regions[None], labels[None], n))
    return as_labelled(objects_matched(np.concatenate(counts)))


def _segmenter(model: Model, starts: tuple[float, ...] | None) -> Segmenter:
    refining = Refining() if starts is None else Refining(starts)
    return Segmenter(TorchBackend(model.f), n=model.f.n, size=model.f.size, refine=refining, squares=True)


def scoring_split(dataset: Dataset) -> tuple[str, Split] | None:
    """Name and split on which a run is scored: 'val' if its masks label a pixel, else 'train' if its do, else
    None. DataError for masks with labels beyond n - 1: better now than at the first score."""
    name = choose_scored_split(lambda name: name in dataset.splits and _has_labels(dataset.splits[name]))
    return None if name is None else (name, dataset.splits[name])


def _has_labels(split: Split, batch: int = 64) -> bool:
    labelled = split.labelled
    parts = (labelled[start : start + batch] for start in range(0, len(labelled), batch))
    return any((split.labels(part) != UNLABELLED).any() for part in parts)


def _labelled_images(split: Split) -> NDArray[np.int64]:
    labelled = split.labelled
    if not len(labelled):
        raise DataError("no image of this split has a mask: put masks/ beside images/ (docs/data.md)")
    return labelled
