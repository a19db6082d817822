"""What all requests share: one loaded model, threads that work, the photos of each page."""

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starlette.responses import JSONResponse, Response

from redoseg.serving.albums import Albums
from redoseg.serving.answers import Answers
from redoseg.serving.limits import Desk, Limits
from redoseg.serving.redraws import Redraws
from redoseg.serving.samples import Samples


@dataclass
class State:
    """`desk` and `albums` are there while the server runs. `size`: pixels a side that the model was trained
    at; `ending`: set when long work is to be broken off."""

    model: str
    size: int
    answers: Answers
    redraws: Redraws
    samples: Samples
    corrections: Path
    limits: Limits
    ending: threading.Event
    desk: Desk = field(init=False)
    albums: Albums = field(init=False)


def answered(found: dict[str, Any] | bytes) -> Response:
    """A PNG, or JSON."""
    return Response(found, media_type="image/png") if isinstance(found, bytes) else JSONResponse(found)
