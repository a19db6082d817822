"""The server as an ASGI application: which address does what."""

import asyncio
import errno
import mimetypes
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from redoseg.errors import reason_of
from redoseg.segmentation.segmenter import Segmenter
from redoseg.serving.album_handlers import AlbumHandlers
from redoseg.serving.albums import Albums
from redoseg.serving.answers import Answers
from redoseg.serving.guard import Guard, refused
from redoseg.serving.limits import Desk, Limits, Rates, Refusal
from redoseg.serving.photo_handlers import PhotoHandlers
from redoseg.serving.redraws import Redraws
from redoseg.serving.samples import find_samples
from redoseg.serving.state import State

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG}
_EVERY = 60  # seconds between two looks for photos that are forgotten
_ASSETS = ("page.css", "page.js", "photos.js", "brush.js", "api.js")


def make_app(
    model: str | Path,
    photos: Sequence[str | Path] = (),
    *,
    token: str | None = None,
    hosts: tuple[str, ...] | None = None,
    corrections: str | Path = "corrections",
    limits: Limits | None = None,
    ending: threading.Event | None = None,
    checkpoint: str = "last",
    weights: str | None = None,
    device: str = "auto",
) -> Guard:
    """An ASGI application around one loaded model, for any server of such: the page at /, the API at /api.

    `photos`: of these the page offers some as samples. `token`: what a client must know; None: nothing.
    `hosts`: the names by which the server may be asked for, such as localhost; None: any. `corrections`: the
    folder for masks that are corrected on the page. Once `ending` is set, long work is broken off.
    `checkpoint`, `weights` and `device` are those of `Segmenter.from_pretrained`, whose errors are raised;
    DataError for `photos` without any.
    """
    limits = limits or Limits()
    chosen: dict[str, Any] = {"checkpoint": checkpoint, "weights": weights, "device": device}
    segmenter = Segmenter.from_pretrained(model, **chosen)
    redraws = Redraws(str(model), most_pixels=limits.pixels, **chosen)
    state = State(
        str(model), segmenter.size, Answers(segmenter, limits.pixels), redraws, find_samples(model, photos),
        Path(corrections), limits, ending or threading.Event(),
    )  # fmt: skip
    app = Starlette(
        routes=_routes(state), lifespan=_lifespan(state),
        exception_handlers={Refusal: _refuse, HTTPException: _refuse_unknown, OSError: _refuse_system},
    )  # fmt: skip
    return Guard(app, token=token, hosts=hosts, rates=Rates(limits.rate))


def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return refused(error)


def _refuse_unknown(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        return refused(Refusal(404, f"there is nothing at {request.url.path}: /api/docs says what there is"))
    return refused(Refusal(error.status_code, f"{request.method} can't be asked of {request.url.path}"))


def _refuse_system(request: Request, error: Exception) -> Response:
    """A full disk; or a file that somebody has removed."""
    assert isinstance(error, OSError)
    if error.errno in _FULL:
        return refused(Refusal(507, f"the server can't write: {reason_of(error)}"))
    return refused(Refusal(500, f"the server can't read or write a file: {reason_of(error)}"))


def _routes(state: State) -> list[Route]:
    """Every address. `openapi.py` describes those of the API."""
    photo, albums, album = PhotoHandlers(state), AlbumHandlers(state), "/api/albums/{album}"
    return [
        Route("/", partial(_asset, "page.html")),
        Route("/api/docs", partial(_asset, "api.html")),
        *(Route(f"/assets/{name}", partial(_asset, name)) for name in _ASSETS),
        Route("/api/openapi.json", photo.describe_api),
        Route("/api/model", photo.describe_model),
        Route("/api/segment", photo.segment, methods=["POST"]),
        Route("/api/redraw", photo.redraw, methods=["POST"]),
        Route("/api/samples", photo.list_samples),
        Route("/api/samples/{name:path}", photo.send_sample),
        Route("/api/albums", albums.open_album, methods=["POST"]),
        Route(album, albums.describe_album),
        Route(album, albums.remove_album, methods=["DELETE"]),
        Route(album + "/photos/{name:path}", albums.add_photo, methods=["PUT"]),
        Route(album + "/photos/{name:path}", albums.show_photo),
        Route(album + "/files/{name:path}", albums.send_photo),
        Route(album + "/corrections/{name:path}", albums.correct, methods=["PUT"]),
        Route(album + "/corrections/{name:path}", albums.forget_correction, methods=["DELETE"]),
        Route(album + "/masks.zip", albums.pack),
    ]


def _lifespan(state: State) -> Callable[[Starlette], AbstractAsyncContextManager[None]]:
    """Begun when the server is; at its end what was begun is finished, and all photos are removed."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        with tempfile.TemporaryDirectory(prefix="redoseg-serve-") as folder:
            state.desk, state.albums = Desk(state.limits.queue), Albums(Path(folder), state.limits)
            forgetting = asyncio.create_task(_forget(state.albums))
            try:
                yield
            finally:
                forgetting.cancel()
                await run_in_threadpool(state.desk.close)

    return lifespan


async def _forget(albums: Albums) -> None:
    while True:
        await asyncio.sleep(_EVERY)
        await run_in_threadpool(albums.forget)


async def _asset(name: str, request: Request) -> Response:
    kind = mimetypes.guess_type(name)[0] or "text/plain"
    content = files("redoseg.serving").joinpath("assets", name).read_bytes()
    return Response(content, media_type=kind)
