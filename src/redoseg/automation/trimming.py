"""With --trim: copies of the photos without their frames, in RUN/trimmed, for the students to learn from.

A note beside the copies says of which photos they are. What is stopped before its end, or was changed since,
is made anew.
"""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from redoseg.automation.folder import AutoFolder
from redoseg.automation.looking import open_photos
from redoseg.config.auto import AutoConfig
from redoseg.data.dataset import Dataset
from redoseg.data.frames import trim_photos
from redoseg.data.naming import join_names
from redoseg.errors import DataError, ModelError
from redoseg.files import expanded, read_json, write_json
from redoseg.training.log import say


def without_frames(config: AutoConfig, folder: AutoFolder, photos: Dataset, console: Console) -> AutoConfig:
    """The options with copies of the `photos`, without their frames, as `data`: a folder in RUN/trimmed for
    each source. Without --trim the options as they are. DataError as `trim_photos`, and if RUN/trimmed holds
    something else."""
    if not config.trim:
        return config
    copies = [folder.trimmed / name for name in _names(config.data)]
    learned = replace(config, data=tuple(map(str, copies)))
    if not _are_there(learned, folder, photos, console):
        if not folder.trimmed_is_ours:
            raise DataError(f"{folder.trimmed} wasn't made by `redoseg auto --trim`: move it away")
        shutil.rmtree(folder.trimmed, ignore_errors=True)
        folder.trimmed.mkdir(parents=True)
        write_json(folder.trimmed_note, {"photos": photos.fingerprint})
        try:
            for source, out in zip(config.data, copies, strict=True):
                _trim(source, out, console)
            made = open_photos(learned, console).fingerprint
        except DataError:
            shutil.rmtree(folder.trimmed, ignore_errors=True)  # nothing is learned from it
            raise
        write_json(folder.trimmed_note, {"photos": photos.fingerprint, "copies": made})
    return learned


def _names(sources: Sequence[str]) -> list[str]:
    """What the folders of the copies are called, no two the same: of several sources each has its number."""
    stems = [Path(expanded(source)).absolute().name.partition(".")[0] or "photos" for source in sources]
    return stems if len(stems) == 1 else [f"{number}-{stem}" for number, stem in enumerate(stems, 1)]


def _are_there(learned: AutoConfig, folder: AutoFolder, photos: Dataset, console: Console) -> bool:
    """Whether the copies are of these photos, all there, and as they were made."""
    try:
        note = read_json(folder.trimmed_note)
        if not photos.is_the_one(note.get("photos")) or "copies" not in note:
            return False
        return open_photos(learned, console).is_the_one(note["copies"])
    except (ModelError, DataError, OSError):
        return False


def _trim(source: str, out: Path, console: Console) -> None:
    """Write the copies of a source, and say how many had a frame and which are missing."""
    with console.status("cutting frames off") as status:
        made = trim_photos(
            source,
            out,
            progress=lambda done, photos: status.update(f"cutting frames off: {done} of {photos}"),
        )
    framed = f"{made.trimmed} of {made.trimmed + made.copied} photos have a frame"
    say(console, f"{framed}: {out} has them without it, and copies of the others")
    if made.failed:
        lost = join_names([f"{name} ({reason})" for name, reason in made.failed])
        say(console, f"warning: {len(made.failed)} photos could not be copied and are not learned: {lost}")
