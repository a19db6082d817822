"""A page of a folder's masks: the surest and the most doubtful ones, each photo beside its cut-out."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from redoseg.data.archive import Entry, read_in_order
from redoseg.data.image_ref import ImageRef
from redoseg.data.images import decoding
from redoseg.errors import DataError
from redoseg.figures.pages import stack_blocks
from redoseg.figures.tiles import Picture, tile
from redoseg.segmentation.segment import WrittenMask, cut_out

SHOWN = 40  # photos of either kind
_SIDE = 128  # pixels of a tile
_COLUMNS = 10  # tiles: five photos and five cut-outs a row


def masks_page(masks: Sequence[WrittenMask], photos: Mapping[str, ImageRef]) -> Image.Image:
    """The page of some masks; `photos` are their photos by the name that a mask has them under. ValueError
    without masks."""
    order = sorted(masks, key=lambda mask: mask.doubt)
    few = len(order) <= 2 * SHOWN
    groups = {"all, from sure to doubtful": order} if few else {
        f"the {SHOWN} surest of {len(order)}": order[:SHOWN],
        f"the {SHOWN} most doubtful, the worst last": order[-SHOWN:],
    }  # fmt: skip
    packed = _read_packed([photos[mask.photo] for shown in groups.values() for mask in shown])
    blocks = []
    for title, shown in groups.items():
        pictures = [picture for mask in shown for picture in _pair(mask, photos[mask.photo], packed)]
        blocks.append((title, tile(pictures, columns=_COLUMNS, side=_SIDE)))
    return stack_blocks(blocks)


def _read_packed(photos: Sequence[ImageRef]) -> dict[Entry, bytes]:
    """The content of those that lie in a compressed tar, each archive read in one pass."""
    entries = [photo.entry for photo in photos if photo.entry.kind == "packed"]
    sources = dict.fromkeys(entry.source for entry in entries)
    parts = ([entry for entry in entries if entry.source == source] for source in sources)
    return {entry: content for part in parts for entry, content in read_in_order(part)}


def _pair(mask: WrittenMask, photo: ImageRef, packed: Mapping[Entry, bytes]) -> tuple[Picture, ...]:
    """The photo and its cut-out on light grey, both small; nothing if either can't be read any more."""
    try:
        content = packed.get(photo.entry)
        opened = photo.open() if content is None else BytesIO(content)
        with opened as file, decoding(file, at_least=2 * _SIDE) as image:
            image.thumbnail((2 * _SIDE, 2 * _SIDE))
            small = image.convert("RGB")
        objects = np.asarray(Image.open(Path(mask.mask)).convert("L").resize(small.size)) > 127
    except (OSError, DataError):
        return ()
    ground = Image.new("RGB", small.size, (225, 225, 225))
    cut = cut_out(small, objects)
    ground.paste(cut, mask=cut.getchannel("A"))
    return np.asarray(small), np.asarray(ground)
