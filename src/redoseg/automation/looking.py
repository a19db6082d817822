"""A first look at the photos: too few, few, or with frames."""

from collections.abc import Sequence

from rich.console import Console

from redoseg.automation.plan import SQUARES
from redoseg.config import TrainConfig
from redoseg.config.auto import AutoConfig
from redoseg.data.dataset import Dataset
from redoseg.data.frames import share_framed
from redoseg.data.image_ref import ImageRef
from redoseg.data.sampler import evenly_spaced
from redoseg.errors import DataError
from redoseg.label_free.verdict import FRAMED
from redoseg.training.log import say
from redoseg.training.train import open_for_run

FEWEST = 20
"""Photos below which nothing is begun."""
LOOKED_AT = 100
"""Photos, at most, that are looked at for frames."""
FEW = 200
"""Photos below which a warning says that more are better."""
WHAT_WORKS = (
    "what can be found: one thing of one kind in each photo, or several, large enough together (a tenth "
    "of the photo or more), not touching all four borders"
)


def open_photos(config: AutoConfig, console: Console) -> Dataset:
    """The photos as students learn them. DataError for what can't be read."""
    described = TrainConfig.of(
        data=config.data, out=config.out, size=config.size, cache=config.cache, squares=SQUARES
    )
    return open_for_run(described, console)


def check_enough(photos: int) -> None:
    """DataError for too few photos to learn from."""
    if photos < FEWEST:
        raise DataError(
            f"photos to learn from: {photos}, too few. {FEWEST} at least, some hundreds are better"
        )


def look_at(photos: int, refs: Sequence[ImageRef], console: Console, *, trimmed: bool = False) -> float:
    """Say which photos work, and what is wrong with these: so many `photos` to learn from, and all files,
    whose frames may have been `trimmed`. Returns the share of those with a frame. DataError for too few."""
    check_enough(photos)
    say(console, WHAT_WORKS)
    if photos < FEW:
        say(console, f"warning: {photos} photos are few to learn from: some hundreds are better")
    with console.status("looking for frames"):
        framed = look_for_frames(refs)
    if framed >= FRAMED:
        cure = (
            "Frames were cut off, and these are left: crop those photos by hand"
            if trimmed
            else "Better stop here (Ctrl-C), and begin anew with --trim and another --out: what lies within "
            "the frames is learned then, and masks are still of the whole photos"
        )
        frames = f"{framed:.0%} of the photos have a frame of one colour, and masks will follow that"
        say(console, f"warning: {frames}. {cure}")
    return framed


def look_for_frames(refs: Sequence[ImageRef]) -> float:
    """The share of the photos that have a frame of one colour, on up to LOOKED_AT of them."""
    return share_framed([refs[row] for row in evenly_spaced(len(refs), LOOKED_AT)])
