"""A page of a folder's masks: the surest and the most doubtful ones, each photo beside its cut-out."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from redoseg.data.folder import ImageRef
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
    blocks = []
    for title, shown in groups.items():
        pictures = [picture for mask in shown for picture in _pair(mask, photos.get(mask.photo))]
        blocks.append((title, tile(pictures, columns=_COLUMNS, side=_SIDE)))
    return stack_blocks(blocks)


def _pair(mask: WrittenMask, photo: ImageRef | None) -> tuple[Picture, ...]:
    """The photo and its cut-out on light grey, both small; nothing if either can't be read any more."""
    if photo is None:
        return ()
    try:
        with photo.open() as file, decoding(file, at_least=2 * _SIDE) as image:
            image.thumbnail((2 * _SIDE, 2 * _SIDE))
            small = image.convert("RGB")
        objects = np.asarray(Image.open(Path(mask.mask)).convert("L").resize(small.size)) > 127
    except (OSError, DataError):
        return ()
    ground = Image.new("RGB", small.size, (225, 225, 225))
    cut = cut_out(small, objects)
    ground.paste(cut, mask=cut.getchannel("A"))
    return np.asarray(small), np.asarray(ground)
