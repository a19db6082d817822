"""Photos to what the page shows of them: doubt, area, and one picture of photo, soft mask and votes."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from itertools import islice
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from redoseg.cores import usable_cores
from redoseg.data.image_ref import ImageRef, read_contents
from redoseg.errors import DataError, reason_of
from redoseg.segmentation.refining import Refined, objects
from redoseg.segmentation.segmenter import NetworkInput, Segmenter

LONGEST = 320
"""Long side, in pixels, of what is shown of a photo."""
_QUALITY = 80  # of JPEG
_AT_ONCE = 16  # photos that the network is given

Progress = Callable[[int, int], object]
Named = tuple[str, Callable[[], BinaryIO]]
"""A photo's name, and what opens its file: OSError or DataError if it can't be read."""


@dataclass(frozen=True)
class Shown:
    """A photo on the page: its `name`, the `doubt` of its mask, the object's `area` as a share, the photo's
    own `size` (width, height). Its picture has three panels side by side, each of the size `panel`."""

    name: str
    doubt: float
    area: float
    size: tuple[int, int]
    panel: tuple[int, int]

    def as_json(self) -> dict[str, Any]:
        """As the page's script reads it."""
        doubt, area = round(self.doubt, 4), round(self.area, 4)
        return {"name": self.name, "doubt": doubt, "area": area, "size": self.size, "panel": self.panel}


def show_photos(
    segmenter: Segmenter, photos: Iterable[Named], count: int, progress: Progress
) -> Iterator[tuple[Shown, bytes] | tuple[str, str]]:
    """Each of `count` photos as it is shown, with a JPEG of photo, soft mask and votes; or its name and why
    it can't be read. `progress` is called with (photos done, photos in all)."""
    done, contents = 0, iter(photos)
    with ThreadPoolExecutor(usable_cores()) as pool:
        while chunk := list(islice(contents, _AT_ONCE)):
            read = list(pool.map(partial(_read, segmenter), chunk))
            inputs = [item for item in read if isinstance(item, NetworkInput)]
            masks = segmenter.predict(inputs)
            refined = iter(zip(inputs, pool.map(segmenter.refine, masks, inputs), strict=True))
            for (name, _), item in zip(chunk, read, strict=True):
                yield _show(name, *next(refined)) if isinstance(item, NetworkInput) else (name, item)
            done += len(chunk)
            progress(done, count)


def named(photos: Sequence[ImageRef], names: Sequence[str]) -> Iterator[Named]:
    """Every photo, by the name given for it. A compressed tar is read in one pass."""
    missing = dict.fromkeys(range(len(photos)))
    try:
        for index, content in read_contents(photos):
            del missing[index]
            opened = photos[index].open if content is None else partial(BytesIO, content)
            yield names[index], opened
    except (DataError, OSError) as error:  # the photos behind the damage can't be reached
        yield from ((names[index], partial(_fail, reason_of(error))) for index in missing)


def drawn(images: NDArray[np.uint8], names: Sequence[str]) -> Iterator[Named]:
    """Images (N, S, S, 3), by name, that lie in no file."""
    for name, image in zip(names, images, strict=True):
        file = BytesIO()
        Image.fromarray(image).save(file, "PNG")
        yield name, partial(BytesIO, file.getvalue())


def _fail(reason: str) -> BinaryIO:
    raise DataError(reason)


def _read(segmenter: Segmenter, photo: Named) -> NetworkInput | str:
    try:
        with photo[1]() as file:
            return segmenter.read(file)
    except (DataError, OSError) as error:
        return reason_of(error)


def _show(name: str, prepared: NetworkInput, refined: Refined) -> tuple[Shown, bytes]:
    detail = prepared.pixels if prepared.detail is None else prepared.detail
    photo = Image.fromarray(detail)
    scale = min(1.0, LONGEST / max(photo.size))
    panel = (max(1, round(photo.width * scale)), max(1, round(photo.height * scale)))
    votes = refined.masks if refined.votes is None else refined.votes
    panels = [photo.resize(panel, Image.Resampling.LANCZOS), _grey(refined.masks, panel), _grey(votes, panel)]
    both = Image.new("RGB", (3 * panel[0], panel[1]))
    for number, picture in enumerate(panels):
        both.paste(picture, (number * panel[0], 0))
    file = BytesIO()
    both.save(file, "JPEG", quality=_QUALITY)
    area = float(objects(refined.masks).mean())
    return Shown(name, refined.doubt, area, prepared.size, panel), file.getvalue()


def _grey(masks: NDArray[np.float32], size: tuple[int, int]) -> Image.Image:
    """What is not background, of masks (n, h, w), as a grey picture."""
    soft = Image.fromarray((255 * (1 - masks[0]).clip(0, 1)).round().astype(np.uint8))
    return soft.resize(size, Image.Resampling.BILINEAR)
