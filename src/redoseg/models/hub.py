"""A model's repository on a hub: looked up once, then pinned to the commit found. Without torch."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import huggingface_hub
from huggingface_hub import errors as hub_errors

from redoseg.errors import ModelError, first_line

_SECONDS = 5.0  # for the hub to answer at all


@dataclass(frozen=True)
class Repository:
    """A repository at the commit `revision`, with the names of its `files`. Files that were downloaded before
    are not requested again; `offline` means that there are no others."""

    name: str
    revision: str | None = None
    files: frozenset[str] = frozenset()
    offline: bool = False

    def file(self, name: str) -> Path | None:
        """The path of a file, downloaded if needed; None without one. ModelError if that fails."""
        if not self.offline and name not in self.files:
            return None
        try:
            with silence_loggers("huggingface_hub"):  # it logs every retry
                file = huggingface_hub.hf_hub_download(
                    self.name, name, revision=self.revision, local_files_only=self.offline
                )
                return Path(file)
        except hub_errors.EntryNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise no_model(self.name, error) from error


def find_repository(name: str) -> Repository:
    """Look up a repository once, for at most five seconds; the library's downloads would try for thirty.
    If the hub can't be reached, earlier downloads are used. ModelError without either."""
    try:
        info = huggingface_hub.HfApi().model_info(name, timeout=_SECONDS)
    except (hub_errors.HfHubHTTPError, hub_errors.HFValidationError) as error:
        raise no_model(name, error) from error
    except Exception as error:  # no answer: an error of whatever client the library uses
        downloaded = Repository(name, offline=True)
        if downloaded.file("config.json") is None:
            raise no_model(name, error) from error
        return downloaded
    files = frozenset(sibling.rfilename for sibling in info.siblings or ())
    return Repository(name, info.sha, files)


def no_model(name: str, error: Exception) -> ModelError:
    """The error for a hub id without a model."""
    return ModelError(f"'{name}' is no folder here, and the hub gave no model ({first_line(error)})")


@contextmanager
def silence_loggers(*names: str) -> Iterator[None]:
    """A context in which these libraries log only errors."""
    levels = {library: library.level for library in map(logging.getLogger, names)}
    for library in levels:
        library.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for library, level in levels.items():
            library.setLevel(level)
