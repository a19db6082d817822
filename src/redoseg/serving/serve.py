"""The verb serve: listen until told to stop."""

import os
import secrets
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.parse import quote

from redoseg.errors import ConfigError, ModelError, missing_extra
from redoseg.files import expanded
from redoseg.serving.limits import Limits

LOOPBACK = ("127.0.0.1", "::1", "localhost")
_LAST, _SPARE = 30, 5  # seconds in which requests have to be finished when the server stops; the last of them


def serve(
    model: str | Path,
    photos: str | Path | Sequence[str | Path] = (),
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    token: str | None = None,
    corrections: str | Path = "corrections",
    limits: Limits | None = None,
    checkpoint: str = "last",
    weights: str | None = None,
    device: str = "auto",
    ready: Callable[[str], object] = print,
) -> None:
    """Serve the page and the API of a model until Ctrl-C or SIGTERM; requests that are being worked on are
    finished then.

    `model` is what `Segmenter.from_pretrained` takes; `photos` are offered as samples. `host`: the address to
    listen at; at any but this machine's own a `token` is needed, which is made up if there is none. `port` 0
    takes a free one. Masks that are corrected on the page are written to `corrections`. `ready` is called
    with the page's address as soon as it can be opened. Raises ConfigError for an address that can't be
    listened at, MissingExtraError without Starlette and uvicorn, and what `make_app` raises.
    """
    try:
        import uvicorn  # noqa: PLC0415

        from redoseg.serving.app import make_app  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise missing_extra("redoseg serve", error) or error from error
    local = host in LOOPBACK
    if token is not None and (
        len(token) < 8 or not token.isascii() or not token.isprintable() or " " in token
    ):
        raise ConfigError("--token can't be that: at least eight letters, digits or signs, and no spaces")
    token = token or (None if local else secrets.token_urlsafe(16))
    listening = _listen(host, port)
    with listening:
        ending = threading.Event()
        app = make_app(
            model, [photos] if isinstance(photos, str | Path) else photos, token=token,
            hosts=LOOPBACK if local else None, corrections=expanded(corrections), limits=limits,
            checkpoint=checkpoint, weights=weights, device=device, ending=ending,
        )  # fmt: skip
        config = uvicorn.Config(
            app, log_level="warning", access_log=False, lifespan="on", server_header=False,
            timeout_graceful_shutdown=_LAST, limit_concurrency=1_000, timeout_keep_alive=15,
        )  # fmt: skip
        server = uvicorn.Server(config)
        server.capture_signals = _stopping(server, ending)  # type: ignore[method-assign]
        ready(_address(host, listening.getsockname()[1], token))
        server.run(sockets=[listening])
        if not server.started:
            raise ModelError("the server could not begin, for the reason above")


def _listen(host: str, port: int) -> socket.socket:
    """A socket that listens, before a model is loaded: who comes second learns it at once. ConfigError."""
    if not 0 <= port <= 65535:
        raise ConfigError(f"--port is {port}: it must be from 0, a free one, to 65535")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, place = found[0]
        return socket.create_server(place[:2], family=family, backlog=512)
    except socket.gaierror as error:
        raise ConfigError(f"--host {host} is no address of this machine") from error
    except (OSError, OverflowError, UnicodeError) as error:
        # Python adds where it tried to the text of the error.
        why = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        cure = ": --port 0 takes a free one" if port else ""
        raise ConfigError(f"{host}:{port} can't be listened at: {why}{cure}") from error


def _address(host: str, port: int, token: str | None) -> str:
    shown = {"0.0.0.0": socket.gethostname(), "::": socket.gethostname()}.get(host, host)
    shown = f"[{shown}]" if ":" in shown else shown
    return f"http://{shown}:{port}/" + (f"?token={quote(token, safe='')}" if token else "")


def _stopping(server: Any, ending: threading.Event) -> Callable[[], Any]:
    """In place of uvicorn's own way, which ends the process by the signal once more. What takes longer than
    `_LAST` seconds, or is still at work at the second signal, is broken off."""

    @contextmanager
    def capture() -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield  # signals come to the main thread alone
            return

        def stop(number: int, frame: FrameType | None) -> None:
            if server.should_exit:
                ending.set()
            server.should_exit = True
            last = threading.Timer(_LAST - _SPARE, ending.set)
            last.daemon = True
            last.start()

        names = ("SIGINT", "SIGTERM", "SIGHUP")  # Windows has no SIGHUP
        numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
        # What is ignored stays so: nohup has SIGHUP ignored.
        heard = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
        before = {number: signal.signal(number, stop) for number in heard}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    return capture
