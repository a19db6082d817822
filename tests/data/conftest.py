"""Content in every kind of package."""

from collections.abc import Callable
from pathlib import Path

import pytest

from data_made import WRITERS, Content


@pytest.fixture(params=WRITERS)
def written(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Content], Path]:
    """Puts content into a folder and into each kind of archive."""
    name: str = request.param
    return lambda content: WRITERS[name](tmp_path / name, content)
