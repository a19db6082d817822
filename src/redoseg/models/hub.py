"""A model's repository on a hub: asked once, then pinned to the commit that was found. Without torch."""

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
    """`revision` is the commit that the hub named, `files` what is in it: with both, a file that was
    downloaded before is taken without asking again. `offline`: there is only what was downloaded before."""

    name: str
    revision: str | None = None
    files: frozenset[str] = frozenset()
    offline: bool = False

    def file(self, name: str) -> Path | None:
        """A file, downloaded if need be; None if there is no such file. ModelError if it can't be had."""
        if not self.offline and name not in self.files:
            return None
        try:
            with quiet():
                return Path(
                    huggingface_hub.hf_hub_download(
                        self.name, name, revision=self.revision, local_files_only=self.offline
                    )
                )
        except hub_errors.EntryNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise no_model(self.name, error) from error


def find_repository(name: str) -> Repository:
    """Asks the hub, once and for five seconds: the library's downloads would try for half a minute.

    What was downloaded before does where the hub can't be reached. ModelError where neither helps.
    """
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
    """What to say of a hub id that gives no model."""
    return ModelError(f"'{name}' is no folder here, and the hub gave no model ({first_line(error)})")


@contextmanager
def quiet() -> Iterator[None]:
    """Within, the hub's library doesn't log its retries: what becomes of them all is in the error."""
    library = logging.getLogger("huggingface_hub")
    level = library.level
    library.setLevel(logging.ERROR)
    try:
        yield
    finally:
        library.setLevel(level)
