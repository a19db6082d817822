"""Content in every kind of package, and a server to fetch from."""

import io
import threading
from collections.abc import Callable, Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from data_made import WRITERS, Content
from download_made import Handler, Server

if TYPE_CHECKING:
    from redoseg.data.download.fetch import Fetcher


@pytest.fixture(params=WRITERS)
def written(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Content], Path]:
    """Puts content into a folder and into each kind of archive."""
    name: str = request.param
    return lambda content: WRITERS[name](tmp_path / name, content)


@pytest.fixture
def server() -> Iterator[Server]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        state = Handler.state = Server(f"http://127.0.0.1:{http.server_port}")
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield state
        http.shutdown()
        thread.join()


@pytest.fixture
def said() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def fetcher(said: io.StringIO) -> "Fetcher":
    from redoseg.data.download.fetch import Fetcher  # noqa: PLC0415 - an extra

    return Fetcher(Console(file=said), tries=3, wait=0)
