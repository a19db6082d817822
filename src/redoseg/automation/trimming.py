"""With --trim: copies of the photos without their frames, in RUN/trimmed, for the students to learn from."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from redoseg.config.auto import AutoConfig
from redoseg.data.frames import Trimmed, trim_photos
from redoseg.files import expanded
from redoseg.training.log import say


def without_frames(config: AutoConfig, out: Path, console: Console) -> AutoConfig:
    """The options with photos without their frames as `data`: a folder in `out` for each source, by its name,
    written unless it is there. Without --trim the options as they are. DataError as `trim_photos`."""
    if not config.trim:
        return config
    stems = [Path(expanded(source)).absolute().name.partition(".")[0] or "photos" for source in config.data]
    several = Counter(stems)
    folders = []
    for number, (source, stem) in enumerate(zip(config.data, stems, strict=True), 1):
        folder = out / (f"{stem}-{number}" if several[stem] > 1 else stem)
        if not folder.exists():
            with console.status("cutting frames off") as status:
                done = trim_photos(
                    source,
                    folder,
                    progress=lambda done, photos: status.update(f"cutting frames off: {done} of {photos}"),
                )
            say(console, _said(done, folder))
        folders.append(str(folder))
    return replace(config, data=tuple(folders))


def _said(done: Trimmed, folder: Path) -> str:
    photos = done.trimmed + done.copied
    without = f"{folder} has them without it, and copies of the others"
    return f"{done.trimmed} of {photos} photos have a frame: {without}"
