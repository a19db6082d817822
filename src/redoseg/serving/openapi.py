"""The API described as OpenAPI 3.1, as /api/openapi.json gives it and /api/docs shows it."""

from typing import Any

from redoseg.version import __version__

Json = dict[str, Any]

_PNG = {"image/png": {"schema": {"type": "string", "format": "binary"}}}
_ERRORS = {
    400: "A parameter that can't be.", 401: "The token is missing or wrong.",
    403: "Asked by a page of another server, or by another name.",
    404: "What was asked for isn't there.", 408: "The photo came too slowly.",
    409: "It is in the way of something else.", 413: "Too many bytes, pixels or photos.",
    415: "Not an image.", 429: "Too often: Retry-After says when to ask again.",
    503: "Too many are waiting: Retry-After says when to ask again.",
    507: "The server can't write, as on a full disk.",
}  # fmt: skip


def _parameter(name: str, text: str, schema: Json, place: str = "query") -> Json:
    return {"name": name, "in": place, "required": place == "path", "description": text, "schema": schema}


_OBJECT = [
    _parameter("refine", "Along the photo's own outline, or the network's mask enlarged.",
               {"type": "string", "enum": ["auto", "off"], "default": "auto"}),
    _parameter("threshold", "How sure the object must be; higher gives smaller masks.",
               {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}),
    _parameter("region", "This region alone is the object; 0 is the background.",
               {"type": "integer", "minimum": 0}),
    _parameter("largest", "The largest connected piece alone.", {"type": "boolean"}),
    _parameter("fill_holes", "What the object encloses is the object.", {"type": "boolean"}),
    _parameter("instances", "Number the connected pieces of at least this share of the photo.",
               {"type": "number", "minimum": 0.004, "maximum": 1}),
]  # fmt: skip
_CORRECTED = [one for one in _OBJECT if one["name"] not in ("region", "instances")]
_TYPES = ["mask", "soft", "rgba", "cutout", "overlay"]
_SEGMENT = [
    _parameter("type", "A picture (PNG), or what there is to say of it (JSON).",
               {"type": "string", "enum": ["json", *_TYPES], "default": "json"}),
    _parameter("side", "JSON with the photo (JPEG) and soft masks (PNG) of this long side, in base64.",
               {"type": "integer", "minimum": 32, "maximum": 2048}),
    *_OBJECT,
]  # fmt: skip
_PHOTO = "application/octet-stream"
_ALBUM = _parameter("album", "The number that POST /api/albums gave.", {"type": "string"}, "path")
_NAME = _parameter("name", "The photo's name, which may have folders.", {"type": "string"}, "path")

_FOUND = {
    "type": "object",
    "properties": {
        "width": {"type": "integer"}, "height": {"type": "integer"}, "regions": {"type": "integer"},
        "doubt": {"type": "number", "description": "0 sure, 1 not"},
        "area": {"type": "number", "description": "the object's share of the photo"},
        "box": {"type": ["array", "null"], "items": {"type": "integer"},
                "description": "left, top, right, bottom, the last two just outside"},
        "corrected": {"type": "boolean", "description": "whether the mask is one that was saved"},
        "shown": {"type": "array", "items": {"type": "integer"}},
        "photo": {"type": "string"}, "soft": {"type": "array", "items": {"type": "string"}},
    },
}  # fmt: skip


def _operation(
    name: str, summary: str, parameters: list[Json], answer: Json, *refusals: int, body: str = "",
    status: int = 200,
) -> Json:  # fmt: skip
    answers: Json = {str(status): {"description": "Done."} | ({"content": answer} if answer else {})}
    for code in sorted({401, 403, 429, *refusals}):
        schema = {"type": "object", "properties": {"error": {"type": "string"}}}
        answers[str(code)] = {
            "description": _ERRORS[code], "content": {"application/json": {"schema": schema}},
        }  # fmt: skip
    made = {"operationId": name, "summary": summary, "parameters": parameters, "responses": answers}
    if body:
        content = {body: {"schema": {"type": "string", "format": "binary"}}}
        made["requestBody"] = {"required": True, "content": content}
    return made


def _json(schema: Json | None = None) -> Json:
    return {"application/json": {"schema": schema or {"type": "object"}}}


def specification() -> Json:
    """The description, as JSON can hold it."""
    found, photo = _json(_FOUND) | _PNG, _PHOTO
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "redoseg", "version": __version__,
            "description": "Masks of photos from one loaded model. A photo is the body of its request.",
        },
        "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
        "security": [{}, {"token": []}],
        "paths": {
            "/api/model": {"get": _operation("model", "What the model is, and the limits.", [], _json())},
            "/api/segment": {"post": _operation(
                "segment", "Segment a photo, of which nothing is kept.", _SEGMENT, found,
                400, 408, 413, 415, 503, body=photo)},
            "/api/redraw": {"post": _operation(
                "redraw", "Redraw a region with new codes, or on a walk from one code to another.",
                [_parameter("region", "0 is the background.", {"type": "integer", "default": 1}),
                 _parameter("seeds", "Each is a code: whole numbers, with commas between them.",
                            {"type": "string", "default": "0,1,2,3"}),
                 _parameter("walk", "So many steps between two seeds; 0: none.", {"type": "integer"})],
                _json(), 400, 404, 408, 413, 415, 503, body=photo)},
            "/api/samples": {"get": _operation("samples", "Names of photos to try it with.", [], _json())},
            "/api/samples/{name}": {"get": _operation(
                "sample", "One of them.", [_NAME],
                {photo: {"schema": {"type": "string", "format": "binary"}}}, 404)},
            **_album_paths(found),
        },
    }  # fmt: skip


def _album_paths(found: Json) -> Json:
    """The addresses of albums. `found`: what is said of a photo."""
    return {
        "/api/albums": {"post": _operation(
            "open", "Begin an album: photos that stay until they are removed, or for an hour unused.",
            [], _json(), 503, status=201)},
        "/api/albums/{album}": {
            "get": _operation("album", "Its photos, and how far its archive is.", [_ALBUM], _json(), 404),
            "delete": _operation("remove", "Remove its photos.", [_ALBUM], {}, 404, status=204),
        },
        "/api/albums/{album}/photos/{name}": {
            "put": _operation("add", "Keep a photo and segment it.", [_ALBUM, _NAME, *_SEGMENT], found,
                              400, 404, 408, 409, 413, 415, 503, 507, body=_PHOTO),
            "get": _operation("show", "Segment a photo of the album.", [_ALBUM, _NAME, *_SEGMENT], found,
                              400, 404, 503),
        },
        "/api/albums/{album}/files/{name}": {"get": _operation(
            "file", "A photo of the album, as it was sent.", [_ALBUM, _NAME],
            {_PHOTO: {"schema": {"type": "string", "format": "binary"}}}, 404)},
        "/api/albums/{album}/corrections/{name}": {"put": _operation(
            "correct", "Save a photo's mask with what was painted: a grey PNG, 255 where nothing was, "
            "else the number of a region.", [_ALBUM, _NAME, *_CORRECTED], _json(),
            400, 404, 408, 409, 413, 415, 503, 507, body="image/png"),
            "delete": _operation("forget", "Remove a photo's corrected mask.", [_ALBUM, _NAME], {},
                                 404, status=204)},
        "/api/albums/{album}/masks.zip": {"get": _operation(
            "pack", "All photos' masks, in an archive, with photos.csv and the corrected ones.",
            [_ALBUM,
             _parameter("type", "One or several, with commas.", {"type": "string", "default": "mask"}),
             _parameter("annotations", "coco, coco-rle, labelme, yolo, colmap; with commas.",
                        {"type": "string"}),
             _parameter("category", "What annotations call the object.", {"type": "string"}),
             _parameter("measurements", "A table of the objects, too.", {"type": "boolean"}), *_OBJECT],
            {"application/zip": {"schema": {"type": "string", "format": "binary"}}},
            400, 404, 409, 503, 507)},
    }  # fmt: skip
