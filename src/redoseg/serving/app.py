"""The server as an ASGI application: which address does what."""

import mimetypes
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from redoseg.config.segment import Annotation, Type
from redoseg.errors import DataError, reason_of
from redoseg.segmentation.segmenter import Segmenter
from redoseg.serving.albums import Album, Albums
from redoseg.serving.answers import Answers
from redoseg.serving.asked import PARAMETERS, asked_of, body_of, config_of, known_only, name_of, number
from redoseg.serving.corrected import painted, save
from redoseg.serving.guard import Guard, refused
from redoseg.serving.limits import Desk, Limits, Rates, Refusal
from redoseg.serving.openapi import specification
from redoseg.serving.redraws import MOST, Redraws
from redoseg.serving.samples import Samples, find_samples
from redoseg.version import __version__

_ASSETS = ("page.css", "page.js", "photos.js", "brush.js", "api.js")


def make_app(
    model: str | Path,
    photos: Sequence[str | Path] = (),
    *,
    token: str | None = None,
    hosts: tuple[str, ...] | None = None,
    corrections: str | Path = "corrections",
    limits: Limits | None = None,
    checkpoint: str = "last",
    weights: str | None = None,
    device: str = "auto",
) -> Guard:
    """An ASGI application around one loaded model, for any server of such: the page at /, the API at /api.

    `photos`: of these the page offers some as samples. `token`: what a client must know; None: nothing.
    `hosts`: the names by which the server may be asked for, such as localhost; None: any. `corrections`: the
    folder for masks that are corrected on the page. `checkpoint`, `weights` and `device` are those of
    `Segmenter.from_pretrained`, whose errors are raised; DataError for `photos` without any.
    """
    limits = limits or Limits()
    chosen: dict[str, Any] = {"checkpoint": checkpoint, "weights": weights, "device": device}
    segmenter = Segmenter.from_pretrained(model, **chosen)
    redraws = Redraws(str(model), most_pixels=limits.pixels, **chosen)
    samples = find_samples(model, photos)
    server = _Server(str(model), segmenter, redraws, samples, Path(corrections), limits)
    app = Starlette(
        routes=server.routes(), lifespan=server.lifespan,
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
    """Such as a full disk."""
    assert isinstance(error, OSError)
    return refused(Refusal(507, f"the server can't write: {reason_of(error)}"))


Handler = Callable[[Request], Awaitable[Response]]


class _Server:
    """What the requests share: a model, threads that work, the photos of each page."""

    def __init__(
        self,
        model: str,
        segmenter: Segmenter,
        redraws: Redraws,
        samples: Samples,
        corrections: Path,
        limits: Limits,
    ) -> None:
        self.model, self.segmenter, self.redraws, self.limits = model, segmenter, redraws, limits
        self.answers, self.corrections = Answers(segmenter, limits.pixels), corrections
        self.samples = samples
        self.desk: Desk
        self.albums: Albums

    @asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        """Begun when the server is; at its end what was begun is finished, and all photos are removed."""
        with tempfile.TemporaryDirectory(prefix="redoseg-serve-") as folder:
            self.desk, self.albums = Desk(self.limits.queue), Albums(Path(folder), self.limits)
            try:
                yield
            finally:
                await run_in_threadpool(self.desk.close)

    def routes(self) -> list[Route]:
        """Every address. `openapi.py` describes those of the API."""
        album = "/api/albums/{album}"
        return [
            Route("/", partial(_asset, "page.html")),
            Route("/api/docs", partial(_asset, "api.html")),
            *(Route(f"/assets/{name}", partial(_asset, name)) for name in _ASSETS),
            Route("/api/openapi.json", self.describe_api),
            Route("/api/model", self.describe_model),
            Route("/api/segment", self.segment, methods=["POST"]),
            Route("/api/redraw", self.redraw, methods=["POST"]),
            Route("/api/samples", self.list_samples),
            Route("/api/samples/{name:path}", self.send_sample),
            Route("/api/albums", self.open_album, methods=["POST"]),
            Route(album, self.describe_album),
            Route(album, self.remove_album, methods=["DELETE"]),
            Route(album + "/photos/{name:path}", self.add_photo, methods=["PUT"]),
            Route(album + "/photos/{name:path}", self.show_photo),
            Route(album + "/files/{name:path}", self.send_photo),
            Route(album + "/corrections/{name:path}", self.correct, methods=["PUT"]),
            Route(album + "/masks.zip", self.pack),
        ]

    # What the model is, and photos to try it with.

    async def describe_api(self, request: Request) -> Response:
        return JSONResponse(specification())

    async def describe_model(self, request: Request) -> Response:
        return JSONResponse({
            "version": __version__, "model": self.model, "regions": self.segmenter.n,
            "size": self.segmenter.size, "redraws": self.redraws.missing is None,
            "no_redraws_because": self.redraws.missing, "corrections": str(self.corrections),
            "limits": {name: getattr(self.limits, name) for name in ("megabytes", "megapixels", "photos")},
        })  # fmt: skip

    async def list_samples(self, request: Request) -> Response:
        return JSONResponse({"samples": list(self.samples)})

    async def send_sample(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in self.samples:
            raise Refusal(404, f"there is no sample {name!r}")

        def read() -> bytes:
            with self.samples[name]() as file:
                return file.read()

        try:
            content = await run_in_threadpool(read)
        except (OSError, DataError) as error:
            raise Refusal(404, f"the sample can't be read: {reason_of(error)}") from error
        return Response(content, media_type="application/octet-stream")

    # One photo, of which nothing is kept.

    async def segment(self, request: Request) -> Response:
        asked = asked_of(request.query_params, self.segmenter.n)
        async with self.desk.place():
            content = await body_of(request, self.limits.bytes)
            return _answer(await self.desk.run(lambda: self.answers.answer(content, asked)))

    async def redraw(self, request: Request) -> Response:
        query = request.query_params
        known_only(query, ("region", "seeds", "walk"))
        region = number("region", query.get("region", "1"), int)
        seeds = [number("seeds", seed, int) for seed in query.get("seeds", "0,1,2,3").split(",")]
        walk = number("walk", query.get("walk", "0"), int)
        if not 1 <= len(seeds) <= MOST or not all(0 <= seed < 2**63 for seed in seeds):
            raise Refusal(400, f"seeds are 1 to {MOST} whole numbers from 0, with commas between them")
        if walk and (not 2 <= walk <= MOST or len(seeds) != 2):
            raise Refusal(400, f"a walk has 2 to {MOST} steps and two seeds")
        async with self.desk.place():
            content = await body_of(request, self.limits.bytes)
            found = await self.desk.run(lambda: self.redraws.redraw(content, region, seeds, walk))
            return JSONResponse(found)

    # The photos of a page.

    async def open_album(self, request: Request) -> Response:
        return JSONResponse({"album": await run_in_threadpool(self.albums.open)}, 201)

    def _album(self, request: Request) -> Album:
        return self.albums.get(request.path_params["album"])

    async def describe_album(self, request: Request) -> Response:
        album = self._album(request)
        return JSONResponse({"photos": sorted(album.names), "packed": album.done, "of": album.of})

    async def remove_album(self, request: Request) -> Response:
        await run_in_threadpool(lambda: self.albums.remove(request.path_params["album"]))
        return Response(status_code=204)

    async def add_photo(self, request: Request) -> Response:
        album, name = self._album(request), name_of(request.path_params["name"])
        asked = asked_of(request.query_params, self.segmenter.n)
        async with self.desk.place():
            content = await body_of(request, self.limits.bytes)

            def work() -> dict[str, Any] | bytes:
                found = self.answers.answer(content, asked)  # first: what is no photo isn't kept
                album.add(name, content, self.limits.photos)
                return found

            return _answer(await self.desk.run(work))

    async def show_photo(self, request: Request) -> Response:
        album, name = self._album(request), request.path_params["name"]
        file, asked = album.photo(name), asked_of(request.query_params, self.segmenter.n)
        async with self.desk.place():

            def work() -> dict[str, Any] | bytes:
                return self.answers.answer(file.read_bytes(), asked, album.corrected(name))

            return _answer(await self.desk.run(work))

    async def send_photo(self, request: Request) -> Response:
        file = self._album(request).photo(request.path_params["name"])
        return FileResponse(file, media_type="application/octet-stream")

    async def correct(self, request: Request) -> Response:
        album, name = self._album(request), request.path_params["name"]
        file, n = album.photo(name), self.segmenter.n
        asked = asked_of(request.query_params, n)
        if asked.config.region is not None and n > 2:
            raise Refusal(400, "of several regions all are corrected together: leave out region")
        async with self.desk.place():
            strokes = await body_of(request, self.limits.bytes)

            def work() -> dict[str, Any]:
                labels = painted(self.answers.labels(file.read_bytes(), asked), strokes, n)
                folders = (album.folder / "corrections", self.corrections)
                return {"saved": str(save(labels, name, n, folders)), "area": float((labels > 0).mean())}

            return JSONResponse(await self.desk.run(work))

    async def pack(self, request: Request) -> Response:
        album, query = self._album(request), request.query_params
        own = ("annotations", "measurements", "category")
        known_only(query, (*PARAMETERS, *own))
        asked = asked_of({key: query[key] for key in query if key not in (*own, "type")}, self.segmenter.n)
        types = _chosen("type", query.get("type", "mask"), Type)
        annotations = _chosen("annotations", query.get("annotations", ""), Annotation)
        named = {"category": query["category"]} if "category" in query else {}
        objects = {key: query[key] for key in query if key not in (*own, "type", "refine", "side")}
        config = config_of(objects, self.segmenter.n, type=types, annotations=annotations, **named)
        measured = number("measurements", query.get("measurements", "0"), bool)
        async with self.desk.place():
            segmenter = self.answers.by_refine[asked.refine]
            archive = await self.desk.run(lambda: album.pack(segmenter, config, measured))
        remove = BackgroundTask(archive.unlink, missing_ok=True)
        return FileResponse(archive, filename="masks.zip", media_type="application/zip", background=remove)


def _chosen(name: str, text: str, kind: Any) -> tuple[str, ...]:
    """Words with commas between them, each one of a kind. Refusal (400)."""
    chosen = tuple(word for word in text.split(",") if word)
    if not set(chosen) <= set(get_args(kind)):
        raise Refusal(400, f"{name} is {text!r}: choose from {', '.join(get_args(kind))}")
    return chosen


def _answer(found: dict[str, Any] | bytes) -> Response:
    return Response(found, media_type="image/png") if isinstance(found, bytes) else JSONResponse(found)


async def _asset(name: str, request: Request) -> Response:
    kind = mimetypes.guess_type(name)[0] or "text/plain"
    content = files("redoseg.serving").joinpath("assets", name).read_bytes()
    return Response(content, media_type=kind)
