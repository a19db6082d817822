"""What the API does with the photos of a page."""

from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from redoseg.config.segment import Annotation, Type
from redoseg.serving.albums import GONE, Album
from redoseg.serving.asked import (
    CORRECTED,
    PARAMETERS,
    asked_of,
    body_of,
    config_of,
    known_only,
    name_of,
    number,
    once_each,
)
from redoseg.serving.corrected import corrected_before, forget, mask_file, painted, save, take_over
from redoseg.serving.limits import Refusal
from redoseg.serving.packing import pack, pieces
from redoseg.serving.state import State, answered

_PACKED = ("annotations", "measurements", "category")


class AlbumHandlers:
    """Of the addresses /api/albums and below."""

    def __init__(self, state: State) -> None:
        self.state = state

    async def open_album(self, request: Request) -> Response:
        return JSONResponse({"album": await run_in_threadpool(self.state.albums.open)}, 201)

    def _album(self, request: Request) -> Album:
        return self.state.albums.get(request.path_params["album"])

    async def describe_album(self, request: Request) -> Response:
        album = self._album(request)
        return JSONResponse({"photos": sorted(album.sizes), "packed": album.done, "of": album.of})

    async def remove_album(self, request: Request) -> Response:
        await run_in_threadpool(lambda: self.state.albums.remove(request.path_params["album"]))
        return Response(status_code=204)

    async def add_photo(self, request: Request) -> Response:
        album, name = self._album(request), name_of(request.path_params["name"])
        asked = asked_of(once_each(request), self.state.answers.n)
        async with self.state.desk.place():
            content = await body_of(request, self.state.limits.bytes)

            def work() -> dict[str, Any] | bytes:
                with album.in_use():
                    before = corrected_before(self.state.corrections, name)
                    found = self.state.answers.answer(content, asked, before)  # a photo, or a Refusal
                    album.check_open()
                    self.state.albums.add(album, name, content)
                    if isinstance(found, dict) and found["corrected"]:  # so that the archive has it
                        take_over(name, self.state.corrections, album.corrections)
                return found

            return answered(await self.state.desk.run(work))

    async def show_photo(self, request: Request) -> Response:
        album, name = self._album(request), request.path_params["name"]
        file, asked = album.photo(name), asked_of(once_each(request), self.state.answers.n)
        async with self.state.desk.place():

            def work() -> dict[str, Any] | bytes:
                with album.in_use():
                    return self.state.answers.answer(file.read_bytes(), asked, self._corrected(album, name))

            return answered(await self.state.desk.run(work))

    async def send_photo(self, request: Request) -> Response:
        album = self._album(request)
        file = album.photo(request.path_params["name"])

        def read() -> bytes:
            with album.in_use():
                return file.read_bytes()

        return Response(await run_in_threadpool(read), media_type="application/octet-stream")

    async def correct(self, request: Request) -> Response:
        album, name = self._album(request), request.path_params["name"]
        file, n, query = album.photo(name), self.state.answers.n, once_each(request)
        known_only(query, CORRECTED)
        asked = asked_of(query, n)
        async with self.state.desk.place():
            strokes = await body_of(request, self.state.limits.bytes)

            def work() -> dict[str, Any]:
                with album.in_use():
                    labels = self.state.answers.labels(file.read_bytes(), asked)
                    before = self._corrected(album, name)
                    known = before is not None and before.shape == labels.shape
                    there = mask_file(self.state.corrections, name).exists() and not known
                    labels = painted(before if known and before is not None else labels, strokes, n)
                    folders = (album.corrections, self.state.corrections)
                    saved = str(save(labels, name, n, folders))
                return {"saved": saved, "replaced": there, "area": float((labels > 0).mean())}

            return JSONResponse(await self.state.desk.run(work))

    async def forget_correction(self, request: Request) -> Response:
        album, name = self._album(request), request.path_params["name"]
        album.photo(name)

        def work() -> None:
            with album.in_use():
                forget(name, (album.corrections, self.state.corrections))

        await run_in_threadpool(work)
        return Response(status_code=204)

    def _corrected(self, album: Album, name: str) -> NDArray[np.uint8] | None:
        """A photo's corrected mask: of this page, or of an earlier one."""
        own = corrected_before(album.corrections, name)
        return corrected_before(self.state.corrections, name) if own is None else own

    async def pack(self, request: Request) -> Response:
        if request.method == "HEAD":  # it would be made for nothing
            raise Refusal(405, f"HEAD can't be asked of {request.url.path}")
        album, query = self._album(request), once_each(request)
        known_only(query, (*PARAMETERS, *_PACKED))
        n, own = self.state.answers.n, {key: query[key] for key in query if key not in (*_PACKED, "type")}
        asked = asked_of(own, n)
        types = _chosen("type", query.get("type", "mask"), Type)
        annotations = _chosen("annotations", query.get("annotations", ""), Annotation)
        named = {"category": query["category"]} if "category" in query else {}
        objects = {key: own[key] for key in own if key not in ("refine", "side")}
        config = config_of(objects, n, type=types, annotations=annotations, **named)
        measured = number("measurements", query.get("measurements", "0"), bool)
        segmenter = self.state.answers.by_refine[asked.refine]

        def work() -> Path:
            with album.in_use():
                return pack(album, segmenter, config, measured, self.state.ending)

        async with self.state.desk.place():
            archive = await self.state.desk.run(work)
        try:
            size = archive.stat().st_size
        except FileNotFoundError as error:  # the album was removed just now
            raise Refusal(404, GONE) from error
        headers = {"Content-Length": str(size), "Content-Disposition": 'attachment; filename="masks.zip"'}
        return StreamingResponse(pieces(archive), headers=headers, media_type="application/zip")


def _chosen(name: str, text: str, kind: Any) -> tuple[str, ...]:
    """Words with commas between them, each one of a kind. Refusal (400)."""
    chosen = tuple(word for word in text.split(",") if word)
    if not set(chosen) <= set(get_args(kind)):
        raise Refusal(400, f"{name} is {text!r}: choose from {', '.join(get_args(kind))}")
    return chosen
