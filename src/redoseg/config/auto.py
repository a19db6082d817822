"""Every option of `redoseg auto`, declared once: command line, `auto.json` and Python all read it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from redoseg.config.checks import Config
from redoseg.config.markers import MAY_CHANGE, POSITIVE, Bound, Group, at_least
from redoseg.errors import ConfigError

DRAWN = ("digits", "digit")


@dataclass(frozen=True)
class AutoConfig(Config):
    """One folder of photos, and where all that is made of it goes."""

    data: Annotated[tuple[str, ...], tyro.conf.Positional, MAY_CHANGE]
    """Folders or archives (.tar, .zip) of photos of one kind of thing."""
    out: Annotated[Path, MAY_CHANGE]
    """Folder for the model, masks, cut-outs, table and page. What was begun in it goes on."""

    minutes: Annotated[float | None, POSITIVE] = None
    """Plan for about so many minutes. None: as long as it takes, which is said first."""
    size: Annotated[int, Bound("use 64 or 128", (64, 128).__contains__)] = 64
    """Side of the squares that the networks learn from: 64 or 128 pixels."""
    starts: tuple[str, ...] = ()
    """What teaches the first students: first labels (disc, boxes, clusters, saliency, iem), game (one that is
    trained for it), shipped models, folders of models, or of runs of `redoseg train` on the same photos. Not
    given: boxes, clusters, saliency, and the shipped models that know such photos."""
    trim: bool = False
    """Learn what lies within frames of one colour around the photos (scans, catalogues, films), from copies
    without them in OUT/trimmed. Masks are of the whole photos, a frame is background."""
    seed: Annotated[int, at_least(0)] = 0
    """Decides everything that is random."""
    device: Annotated[str, Group.MACHINE, MAY_CHANGE] = "auto"
    """auto, cpu, cuda, cuda:1, mps ..."""
    threads: Annotated[int | None, at_least(1), Group.MACHINE, MAY_CHANGE] = None
    """Number of CPU threads. None: PyTorch's choice."""
    cache: Annotated[Path | None, Group.DATA, MAY_CHANGE] = None
    """Folder in which the resized images are kept. None: the user's cache folder."""

    def __post_init__(self) -> None:
        """One source may be given by itself, and any as a path."""
        sources = [self.data] if isinstance(self.data, str | Path) else self.data
        object.__setattr__(self, "data", tuple(map(str, sources)))
        starts = [self.starts] if isinstance(self.starts, str | Path) else self.starts or ()
        object.__setattr__(self, "starts", tuple(map(_as_typed, starts)))
        super().__post_init__()

    def _check_together(self) -> None:
        if not self.data:
            raise ConfigError("no photos: name folders or archives of photos")
        drawn = [source for source in self.data if source in DRAWN]
        if drawn:
            raise ConfigError(f"{drawn[0]}: drawn scenes are no photos, `redoseg train` learns them")


def _as_typed(start: str | Path) -> str:
    """A Path as a string that is a path, too, and no name."""
    text = str(start)
    return f"./{text}" if isinstance(start, Path) and "/" not in text else text
