"""What a request asks for: its parameters, and the photo in its body."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, fields
from io import BytesIO
from typing import Any, Literal, get_args

from PIL import Image
from starlette.requests import ClientDisconnect, Request

from redoseg.config.segment import SegmentConfig, Type
from redoseg.data.formats import UNREADABLE, pillow_formats
from redoseg.errors import ConfigError
from redoseg.serving.limits import Refusal

_SECONDS, _SILENT = 60, 10  # in which a photo must have come; for which nothing of it may come
_STARTED_AT_ONCE = frozenset({"ICO", "CUR", "ICNS"})
"""Formats of which Pillow decodes a picture before it tells its size."""
_SIDES = (32, 2048)

Answer = Literal["json"] | Type
Refine = Literal["auto", "off"]


@dataclass(frozen=True)
class Asked:
    """How a photo is to be segmented and answered. `side`: long side, in pixels, of the pictures in JSON;
    None: it has none."""

    type: Answer
    refine: Refine
    side: int | None
    config: SegmentConfig


_OBJECT = {"threshold": float, "region": int, "largest": bool, "fill_holes": bool, "instances": float}
PARAMETERS = ("type", "refine", "side", *_OBJECT)
CORRECTED = ("refine", "threshold", "largest", "fill_holes")
"""Of the mask that is painted over: what is saved is all regions', and no pieces are numbered."""
_WORDS = {"1": True, "true": True, "0": False, "false": False}


def asked_of(query: Mapping[str, str], n: int) -> Asked:
    """The parameters of a request for a photo, for a model of `n` regions. Refusal (400) for one that can't
    be."""
    known_only(query, PARAMETERS)
    answer: Any = query.get("type", "json")
    if answer not in ("json", *get_args(Type)):
        raise Refusal(400, f"type is {answer!r}: choose from json, {', '.join(get_args(Type))}")
    refine: Any = query.get("refine", "auto")
    if refine not in get_args(Refine):
        raise Refusal(400, f"refine is {refine!r}: choose from {', '.join(get_args(Refine))}")
    side = None if "side" not in query else number("side", query["side"], int)
    if side is not None and not _SIDES[0] <= side <= _SIDES[1]:
        raise Refusal(400, f"side is {side}: it must be from {_SIDES[0]} to {_SIDES[1]}")
    return Asked(answer, refine, side, config_of(query, n, type=("mask" if answer == "json" else answer,)))


def once_each(request: Request) -> Mapping[str, str]:
    """A request's parameters. Refusal (400) for one that is given twice: who means which?"""
    query = request.query_params
    names = [name for name, _ in query.multi_items()]
    for name in query:
        if names.count(name) > 1:
            raise Refusal(400, f"{name} is given {names.count(name)} times: give it once")
    return query


def known_only(query: Mapping[str, str], names: tuple[str, ...]) -> None:
    """Refusal (400) for a parameter of another name."""
    for name in query:
        if name not in names:
            raise Refusal(400, f"there is no parameter {name!r}: there are {', '.join(names)}")


def config_of(query: Mapping[str, str], n: int, **chosen: Any) -> SegmentConfig:
    """What counts as the object, and what is written, which is `chosen`. Refusal (400)."""
    found = {name: number(name, query[name], kind) for name, kind in _OBJECT.items() if name in query}
    try:
        config = SegmentConfig(**found, **chosen)
        config.check_regions(n)
    except ConfigError as error:
        text = str(error)
        for field in fields(SegmentConfig):
            text = text.replace(f"--{field.name.replace('_', '-')}", field.name)
        raise Refusal(400, text) from error
    return config


def number(name: str, text: str, kind: type) -> Any:
    """A parameter's value. Refusal (400) for what is no number, or no yes or no."""
    try:
        return _WORDS[text.lower()] if kind is bool else kind(text)
    except (KeyError, ValueError) as error:
        what = {int: "a whole number", float: "a number", bool: "1 or 0"}[kind]
        raise Refusal(400, f"{name} is {text!r}: it must be {what}") from error


async def body_of(request: Request, most: int) -> bytes:
    """A request's body. Refusal (413) beyond `most` bytes, of which no more are read; (408) if it comes too
    slowly; (400) if it is empty."""
    too_much = Refusal(413, f"more than {most >> 20} MB: make it smaller first")
    try:
        if int(request.headers.get("content-length", 0)) > most:
            raise too_much
    except ValueError as error:
        raise Refusal(400, "Content-Length is no number") from error
    parts: list[bytes] = []
    length = 0
    stream = aiter(request.stream())
    try:
        async with asyncio.timeout(_SECONDS):
            while True:
                async with asyncio.timeout(_SILENT):
                    part = await anext(stream, None)
                if part is None:
                    break
                length += len(part)
                if length > most:
                    raise too_much
                parts.append(part)
    except TimeoutError as error:
        why = f"it took longer than {_SECONDS} seconds to come, or stood still for {_SILENT}"
        raise Refusal(408, why) from error
    except ClientDisconnect as error:
        raise Refusal(400, "the connection was lost") from error
    if not length:
        raise Refusal(400, "the request has no body: send the file itself")
    return b"".join(parts)


def check_pixels(content: bytes, most: int) -> int:
    """The number of a photo's pixels. Refusal for a file that is no image (415) or has more than `most`
    (413). Nothing is decoded."""
    formats = [one for one in pillow_formats() if one not in _STARTED_AT_ONCE]
    try:
        with Image.open(BytesIO(content), formats=formats) as image:
            width, height = image.size
    except Image.DecompressionBombError as error:
        raise Refusal(413, f"more than {most // 1_000_000} million pixels: make it smaller first") from error
    except UNREADABLE as error:
        raise Refusal(
            415, "not an image that can be read here: send the file's own bytes, no form"
        ) from error
    if width * height > most:
        text = f"{width} x {height} are more than {most // 1_000_000} million pixels: make it smaller first"
        raise Refusal(413, text)
    return width * height


def name_of(path: str) -> str:
    """A photo's name in an album, which may have folders. Refusal (400) for one that leads elsewhere."""
    parts = path.split("/")
    controls = any(ord(letter) < 32 or 0xD800 <= ord(letter) < 0xE000 for letter in path)
    if controls or len(parts) > 8 or "\\" in path or any(map(_is_bad, parts)):
        raise Refusal(
            400,
            f"{path[:80]!r} can't be a photo's name: rename it (no dot at its start, at most 200 letters)",
        )
    return path


def _is_bad(part: str) -> bool:
    """Whether a folder or file can't have this name, or is hidden and would be left out of what is listed."""
    return not part or part.startswith(".") or len(part.encode()) > 200
