"""What the API does with one photo, of which nothing is kept; and what it says of the model."""

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from redoseg.errors import DataError, reason_of
from redoseg.serving.asked import asked_of, body_of, known_only, number, once_each
from redoseg.serving.limits import Refusal
from redoseg.serving.openapi import specification
from redoseg.serving.redraws import MOST
from redoseg.serving.state import State, answered
from redoseg.version import __version__


class PhotoHandlers:
    """Of the addresses /api/model, /api/segment, /api/redraw and /api/samples."""

    def __init__(self, state: State) -> None:
        self.state = state

    # What the model is, and photos to try it with.

    async def describe_api(self, request: Request) -> Response:
        return JSONResponse(specification())

    async def describe_model(self, request: Request) -> Response:
        state, limits = self.state, self.state.limits
        return JSONResponse({
            "version": __version__, "model": state.model, "regions": state.answers.n, "size": state.size,
            "redraws": state.redraws.missing is None, "no_redraws_because": state.redraws.missing,
            "corrections": str(state.corrections),
            "limits": {name: getattr(limits, name) for name in ("megabytes", "megapixels", "photos")},
        })  # fmt: skip

    async def list_samples(self, request: Request) -> Response:
        return JSONResponse({"samples": list(self.state.samples)})

    async def send_sample(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in self.state.samples:
            raise Refusal(404, f"there is no sample {name!r}")

        def read() -> bytes:
            with self.state.samples[name]() as file:
                return file.read()

        try:
            content = await run_in_threadpool(read)
        except (OSError, DataError) as error:
            raise Refusal(404, f"the sample can't be read: {reason_of(error)}") from error
        return Response(content, media_type="application/octet-stream")

    # One photo, of which nothing is kept.

    async def segment(self, request: Request) -> Response:
        asked = asked_of(once_each(request), self.state.answers.n)
        async with self.state.desk.place():
            content = await body_of(request, self.state.limits.bytes)
            return answered(await self.state.desk.run(lambda: self.state.answers.answer(content, asked)))

    async def redraw(self, request: Request) -> Response:
        query = once_each(request)
        known_only(query, ("region", "seeds", "walk"))
        region = number("region", query.get("region", "1"), int)
        seeds = [number("seeds", seed, int) for seed in query.get("seeds", "0,1,2,3").split(",")]
        walk = number("walk", query.get("walk", "0"), int)
        if not 1 <= len(seeds) <= MOST or not all(0 <= seed < 2**63 for seed in seeds):
            raise Refusal(400, f"seeds are 1 to {MOST} whole numbers from 0, with commas between them")
        if walk and (not 2 <= walk <= MOST or len(seeds) != 2):
            raise Refusal(400, f"a walk has 2 to {MOST} steps and two seeds")
        async with self.state.desk.place():
            content = await body_of(request, self.state.limits.bytes)
            found = await self.state.desk.run(lambda: self.state.redraws.redraw(content, region, seeds, walk))
            return JSONResponse(found)
