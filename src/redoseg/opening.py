"""The data set that a run's options name."""

from collections.abc import Callable, Sequence

from redoseg.config import TrainConfig
from redoseg.data.dataset import Dataset, open_dataset


def open_data(
    config: TrainConfig,
    data: Sequence[str] | None = None,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Dataset:
    """What `config` trains on, or other `data`, brought to size the same way; errors of `open_dataset`."""
    return open_dataset(
        config.data if data is None else data,
        size=config.size,
        n=config.n,
        cache=config.cache,
        mnist=config.mnist,
        resize=config.resize,
        progress=progress,
    )
