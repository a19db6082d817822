"""A page of a folder's masks: the surest, some in between and the most doubtful, each photo beside its
cut-out, above its doubt and the name of its file."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from redoseg.data.archive import Entry, read_in_order
from redoseg.data.image_ref import ImageRef
from redoseg.data.images import decoding
from redoseg.data.naming import join_names
from redoseg.data.sampler import evenly_spaced
from redoseg.errors import DataError
from redoseg.figures.pages import stack_blocks
from redoseg.figures.tiles import Picture, fit_square, in_rows
from redoseg.segmentation.crops import cut_out
from redoseg.segmentation.written import WrittenMask

SHOWN = 40  # photos of each kind
_SIDE = 128  # pixels of a tile
_COLUMNS = 5  # photos with their cut-outs
_GAP = 2  # pixels between a photo and its cut-out
_LETTERS = 11  # size of the font of names
_CHEQUER = (8, 170, 215)  # side in pixels, and two greys: on one grey light or dark things would be lost
_NUMBER = "below each its doubt: 0 sure, 1 not"


def masks_page(masks: Sequence[WrittenMask], photos: Mapping[str, ImageRef]) -> Image.Image:
    """The page of some masks; `photos` are their photos by the name that a mask has them under. ValueError
    without masks."""
    order = sorted(masks, key=lambda mask: mask.doubt)
    groups = _groups(order) if len(order) > 2 * SHOWN else {f"all, from sure to doubtful ({_NUMBER})": order}
    packed = _read_packed([photos[mask.photo] for shown in groups.values() for mask in shown])
    blocks = []
    for title, shown in groups.items():
        pairs = [_pair(mask, photos[mask.photo], packed) for mask in shown]
        if readable := [pair for pair in pairs if pair is not None]:
            blocks.append((title, in_rows(readable, _COLUMNS)))
    return stack_blocks(blocks or [("none of the photos can be read any more", Image.new("RGB", (1, 1)))])


def _groups(order: Sequence[WrittenMask]) -> dict[str, Sequence[WrittenMask]]:
    """Of more masks than two groups show, the surest first: three groups, by their titles."""
    between = order[SHOWN:-SHOWN]
    spread = [between[row] for row in evenly_spaced(len(between), SHOWN)]
    return {
        f"the {SHOWN} surest of {len(order)} ({_NUMBER})": order[:SHOWN],
        f"{len(spread)} of the {len(between)} in between, evenly spread": spread,
        f"the {SHOWN} most doubtful, the worst last": order[-SHOWN:],
    }


def _read_packed(photos: Sequence[ImageRef]) -> dict[Entry, bytes]:
    """The content of those that lie in a compressed tar, each archive read in one pass."""
    entries = [photo.entry for photo in photos if photo.entry.kind == "packed"]
    sources = dict.fromkeys(entry.source for entry in entries)
    parts = ([entry for entry in entries if entry.source == source] for source in sources)
    return {entry: content for part in parts for entry, content in read_in_order(part)}


def _pair(mask: WrittenMask, photo: ImageRef, packed: Mapping[Entry, bytes]) -> Picture | None:
    """The photo, its cut-out on chequered ground, both small, and beneath them doubt and name; None if either
    can't be read any more."""
    try:
        content = packed.get(photo.entry)
        opened = photo.open() if content is None else BytesIO(content)
        with opened as file, decoding(file, at_least=2 * _SIDE) as image:
            image.thumbnail((2 * _SIDE, 2 * _SIDE))
            small = image.convert("RGB")
        objects = np.asarray(Image.open(Path(mask.mask)).convert("L").resize(small.size)) > 127
    except (OSError, DataError):
        return None
    ground = _chequered(small.size)
    cut = cut_out(small, objects)
    ground.paste(cut, mask=cut.getchannel("A"))
    both = np.full((_SIDE + 2 * _LETTERS, 2 * _SIDE + _GAP, 3), 255, np.uint8)
    both[:_SIDE, :_SIDE], both[:_SIDE, -_SIDE:] = (
        fit_square(np.asarray(picture), _SIDE) for picture in (small, ground)
    )
    picture = Image.fromarray(both)
    _write_name(picture, f"{mask.doubt:.3f}  ", join_names([photo.entry.path.rpartition("/")[2]]))
    return np.asarray(picture)


def _chequered(size: tuple[int, int]) -> Image.Image:
    side, dark, light = _CHEQUER
    y, x = np.indices(size[::-1]) // side
    return Image.fromarray(np.where((x + y) % 2, dark, light).astype(np.uint8)).convert("RGB")


def _write_name(picture: Image.Image, before: str, name: str) -> None:
    """Write `before` and the name at the foot of the picture; of a name that is too long, its end."""
    font, shown = ImageFont.load_default(_LETTERS), before + name
    while font.getlength(shown) > picture.width:
        name = name[1:]
        shown = f"{before}...{name}"
    ImageDraw.Draw(picture).text((picture.width / 2, _SIDE + 1), shown, "black", font, anchor="ma")
