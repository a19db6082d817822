"""Silence where Pillow would speak. Pillow itself is not imported for it."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def pillow_silenced() -> Iterator[None]:
    """Pillow warns of odd files, with lines of its source: those that don't decode are named by us."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield
