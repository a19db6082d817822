"""What there is to segment: photos, and for each the file of its mask, no two the same."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from redoseg.data.folder import FolderListing, ImageRef, join_names
from redoseg.data.native.sources import list_source, parse_native
from redoseg.errors import DataError


@dataclass(frozen=True, slots=True)
class Job:
    """A photo and the file of its mask."""

    ref: ImageRef
    target: Path

    @property
    def name(self) -> str:
        return join_names([os.path.normpath(os.path.join(self.ref.entry.source, self.ref.entry.path))])


def planned(inputs: Sequence[str | Path], out: Path) -> tuple[list[Job], list[tuple[str, str]]]:
    """A job for every photo in `inputs`, and the inputs that hold none, with reasons.

    DataError without any input, if `out` lies among the photos, or if masks can't have names of their own.
    """
    listings, failed = _listings(inputs)
    for listing in listings:
        _check_apart(listing, out)
    return _jobs(listings, out), failed


def _listings(inputs: Sequence[str | Path]) -> tuple[list[FolderListing], list[tuple[str, str]]]:
    """What each input holds, and the inputs that hold nothing, with reasons; one named twice counts once."""
    if not inputs:
        raise DataError("no photos: name images, folders or archives")
    sources = {_place(source): source for source in inputs}
    listings, failed = [], []
    for source in sources.values():
        try:
            if parse_native(source) is None and not (path := Path(source).absolute()).exists():
                raise DataError(f"there is no {path}: give an image, a folder, a .tar or a .zip of images")
            listings.append(list_source(source, sidecars=False))
        except DataError as error:
            failed.append((str(source), str(error)))
    return listings, failed


def _place(source: str | Path) -> tuple[str, str]:
    """The same for an input that is named in another way: the set's name or "", and the path."""
    name, path = parse_native(source) or ("", source)
    return name, os.path.realpath(path)


def _check_apart(listing: FolderListing, out: Path) -> None:
    """DataError if masks in `out` would be taken for photos the next time that `listing` is made.

    A set in its owner's form has masks of its own there, and keeps its folder to itself.
    """
    folder = Path(os.path.realpath(listing.path))
    if not folder.is_dir() or not out.is_relative_to(folder):
        return
    if listing.native:
        raise DataError(f"--out {out} lies in the folder of a data set, {listing.path}: choose another --out")
    parts = out.relative_to(folder).parts
    place, inside = "".join(f"{part}/" for part in parts), _left_out(listing.images[0])
    root = inside.removesuffix("images/") if f"/{inside}".endswith("/images/") else inside
    masks_folder = place.startswith((f"{root}masks/", "masks/"))
    beside_images = root != inside and place.startswith(root) and not place.startswith(inside)
    hidden = any(part.startswith(".") for part in parts)
    if not parts or not (masks_folder or beside_images or hidden):
        raise DataError(f"--out {out} is among the photos of {listing.path}: masks would be taken for photos")


def _left_out(ref: ImageRef) -> str:
    """The part of a photo's path that its name leaves out: "", "top/", "images/" or "top/images/"."""
    return ref.entry.path.removesuffix(_whole(ref))


def _whole(ref: ImageRef) -> str:
    """The name with its suffix; a listing leaves the suffix in the name where two stems are the same."""
    whole = f"{ref.name}{ref.suffix}"
    return whole if ref.entry.path.endswith(whole) else ref.name


def _jobs(listings: Sequence[FolderListing], out: Path) -> list[Job]:
    """A file in `out` for every photo, no two the same. DataError if one would replace a photo."""
    photos = _photos(listings)
    where = list(photos.values())
    names = [ref.name for _, _, ref in where]
    for attempt in range(1, 5):
        counts = Counter(names)
        if len(counts) == len(names):
            break
        names = [_name(attempt, *where[i]) if counts[name] > 1 else name for i, name in enumerate(names)]
    jobs = [Job(ref, _target(out, name)) for (_, _, ref), name in zip(where, names, strict=True)]
    if len({job.target for job in jobs}) < len(jobs):
        raise DataError("masks of several photos would have the same name: segment the inputs one by one")
    for job in jobs:
        if str(job.target) in photos:
            raise DataError(
                f"the mask of {job.name} would replace a photo, {job.target}: choose another --out"
            )
    return jobs


def _photos(listings: Sequence[FolderListing]) -> dict[str, tuple[int, FolderListing, ImageRef]]:
    """Each photo by its file (in an archive: as if that were a folder), with its input and that one's number.

    A photo that several inputs hold counts for the first one.
    """
    photos: dict[str, tuple[int, FolderListing, ImageRef]] = {}
    for number, listing in enumerate(listings, 1):
        source = os.path.realpath(listing.images[0].entry.source)  # one for all images of a listing
        for ref in listing.images:
            photos.setdefault(os.path.join(source, ref.entry.path), (number, listing, ref))
    return photos


def _name(attempt: int, number: int, listing: FolderListing, ref: ImageRef) -> str:
    """Names to try for a mask one after the other; `number` is that of the input."""
    single = ref.entry.kind == "file" and listing.path.is_file()
    stem = Path(os.path.realpath(listing.path)).parent.name if single else listing.stem
    whole = _whole(ref)
    return (ref.name, whole, f"{stem}/{ref.name}", f"{stem}/{whole}", f"{stem}-{number}/{whole}")[attempt]


def _target(out: Path, name: str) -> Path:
    """DataError for a name that leads out of `out`: listings have none, but archives come from anywhere."""
    target = Path(os.path.abspath(out / f"{name}.png"))
    if not target.is_relative_to(out):
        raise DataError(f"the name {join_names([name])} leads out of {out}: its archive is not to be trusted")
    return target
