"""The verb segment on many machines, by Ray Data: needs the extra `ray` and storage that they share."""

import logging
import pickle
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import ray
import ray.data
from numpy.typing import NDArray
from ray.exceptions import RayError

from redoseg.config.segment import PLAIN, SegmentConfig
from redoseg.data.native.sources import absolute_source
from redoseg.errors import ConfigError, ProcessError, RedosegError, first_line
from redoseg.models.source import absolute
from redoseg.segmentation.plan import MaskJob
from redoseg.segmentation.segment import Progress, run_jobs, segment_jobs
from redoseg.segmentation.segmenter import Segmenter
from redoseg.segmentation.written import Result, SegmentReport, WrittenMask

_PHOTOS = 64  # in a worker's batch: if the worker dies, the whole batch is done again

Column = NDArray[np.object_]


def segment_on_ray(
    model: str | Path,
    inputs: Sequence[str | Path],
    out: str | Path,
    *,
    address: str = "local",
    workers: int | None = None,
    progress: Progress | None = None,
    each: Callable[[WrittenMask], object] | None = None,
    overwrite: bool = False,
    config: SegmentConfig = PLAIN,
    **options: Any,
) -> SegmentReport:
    """As `segment_files`, with the same masks, but done by the workers of a Ray cluster.

    `address` is the cluster's; "auto" is the one that this machine belongs to, "local" a new one of this
    machine alone. `workers` is how many there are at most; None: one for each CPU. `options` are those of
    `Segmenter.from_pretrained`. All machines must know `model`, `inputs` and `out` by the same paths.

    A worker that dies is replaced and its photos are done again; no mask is ever written in part. An archive
    that is compressed as a whole (.tar.gz) is read from its start for every 64 photos: unpack it before.
    Raises ConfigError for a cluster that can't be reached, ProcessError for one that gives up.
    """
    if options.get("device", "auto") == "auto":
        options["device"] = "cpu"  # there is a worker for each CPU: too many to share one GPU
    opened = Segmenter.from_pretrained(model, **options)  # raises here, once, and not in every worker
    model = absolute(model)
    try:
        ray.init(address=address, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ConfigError(
            f"--ray {address}: no Ray cluster can be had there ({first_line(error)})"
        ) from error

    def run(jobs: Sequence[MaskJob]) -> Iterator[Result]:
        return _run_on_ray(jobs, workers, {"model": model} | options)

    try:
        sources = [absolute_source(source) for source in inputs]
        return segment_jobs(
            run, sources, out, n=opened.n, progress=progress, each=each, overwrite=overwrite, config=config
        )
    except RayError as error:
        raise _find_cause(error) from error
    finally:
        ray.shutdown()


class _Worker:
    """A process of the cluster with a model of its own."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.segmenter = Segmenter.from_pretrained(**options)

    def __call__(self, batch: dict[str, Column]) -> dict[str, Column]:
        done = run_jobs(self.segmenter, [pickle.loads(job) for job in batch["job"]])
        return {"result": np.array([pickle.dumps(one) for one in done], object)}


def _run_on_ray(jobs: Sequence[MaskJob], workers: int | None, options: dict[str, Any]) -> Iterator[Result]:
    if not jobs:
        return
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    most = workers or max(1, int(ray.cluster_resources().get("CPU", 1)))  # type: ignore[no-untyped-call]
    rows = ray.data.from_items(
        [{"job": pickle.dumps(job)} for job in jobs], override_num_blocks=-(-len(jobs) // _PHOTOS)
    )
    done = rows.map_batches(
        _Worker, fn_constructor_args=(options,), batch_size=_PHOTOS, num_cpus=1, concurrency=(1, most)
    )
    for row in done.iter_rows():
        result: Result = pickle.loads(row["result"])
        yield result


def _find_cause(error: BaseException) -> RedosegError:
    """The RedosegError that a worker raised, else a ProcessError which says that the cluster gave up."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, RedosegError):
            return cause
        cause = getattr(cause, "cause", None) or cause.__cause__
    return ProcessError(f"the Ray cluster gave up ({first_line(error)}): run it again")
