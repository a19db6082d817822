"""The action evaluate: a model's masks against those of a data set."""

import json
from pathlib import Path

import tyro

from redoseg.cli.early import check_data, find_source
from redoseg.cli.terminal import Cache, Device, Json, Weights, errors, print_scores
from redoseg.errors import ConfigError


def evaluate(
    model: tyro.conf.Positional[str],
    data: tyro.conf.Positional[tuple[str, ...]],
    /,
    split: str | None = None,
    json_: Json = False,
    checkpoint: str = "last",
    weights: Weights | None = None,
    device: Device = "auto",
    cache: Cache = None,
    mnist: Path | None = None,
    whole: bool = False,
) -> int:
    """Score a model's masks against the masks of a data set, beside the trivial answers.

    Args:
        model: A run's folder, a model's folder, a hub id, or a name from `redoseg models`.
        data: Folders or archives with masks/, flowers:DIR, lfw:DIR, cub:DIR, or 'digits' or 'digit'.
        split: Which images. None: val, or train where that is all there is.
        checkpoint: In a run: last, label-free (chosen without masks), best (chosen with masks) or a step.
        weights: In a run: the moving average or the raw weights. None: the average if one is kept.
        mnist: Folder with MNIST's IDX files, from which to draw 'digits' and 'digit'.
        whole: Score whole photos at their own size, too; the other rows are of centred squares.
    """
    if not data:
        raise ConfigError("no data to score on: name a folder, an archive, 'digits' or 'digit'")
    source = find_source(model, checkpoint, weights)
    check_data(data)
    from redoseg.evaluation.evaluate import evaluate as run

    with errors.status("scoring") as status:
        evaluation = run(
            source, data, split=split, device=device, cache=cache, mnist=mnist, whole=whole,
            progress=lambda done, files: status.update(f"bringing photos to size: {done} of {files}"),
        )  # fmt: skip
    if json_:
        print(json.dumps(evaluation.as_dict(), indent=2))
    else:
        print_scores(evaluation)
    return 0
