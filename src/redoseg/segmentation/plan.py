"""Which photos there are to segment, and for each the file of its mask, no two the same."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from glob import glob, has_magic
from pathlib import Path

from redoseg.config.segment import PLAIN, Annotation, Picture, SegmentConfig
from redoseg.data.folder import FolderListing
from redoseg.data.image_ref import ImageRef
from redoseg.data.naming import find_path, folded, join_names
from redoseg.data.native.sources import list_source, parse_native
from redoseg.errors import DataError
from redoseg.files import expanded
from redoseg.segmentation.annotations.places import colmap_file, text_files


@dataclass(frozen=True, slots=True)
class MaskJob:
    """A photo and the files that it gets: `pictures` by their types, the first of which is `target`, its mask
    if one is wanted, and `texts`, its annotations. `photo_name` is the photo's name in its input, with its
    suffix; no two are the same."""

    ref: ImageRef
    target: Path
    photo_name: str = ""
    pictures: tuple[tuple[Picture, Path], ...] = ()
    texts: tuple[tuple[Annotation, Path], ...] = ()
    config: SegmentConfig = PLAIN

    @property
    def name(self) -> str:
        return name_of(self.ref)


def name_of(photo: ImageRef) -> str:
    """What a photo is called in tables and messages: its source and its path there, fit to print."""
    return join_names([os.path.normpath(os.path.join(photo.entry.source, photo.entry.path))])


def short_names(photos: Sequence[ImageRef]) -> list[str]:
    """What a table calls photos that may be moved: their paths within their folder or archive. Of several
    sources, the name of its own comes first, or the whole path if two share one."""
    sources = dict.fromkeys(photo.entry.source for photo in photos)
    if len(sources) < 2:
        return [photo.entry.path for photo in photos]
    counts = Counter(Path(source).name for source in sources)
    heads = {source: source if counts[Path(source).name] > 1 else Path(source).name for source in sources}
    return [f"{heads[photo.entry.source]}/{photo.entry.path}" for photo in photos]


def list_photos(inputs: Sequence[str | Path]) -> tuple[list[ImageRef], list[tuple[str, str]], int]:
    """Every photo in `inputs` once, (input, reason) of each input without a photo, and how many files in the
    inputs are left out. DataError without any input."""
    listings, failed = _list_inputs(inputs)
    return [ref for _, _, ref in _index_photos(listings).values()], failed, _count_left_out(listings)


def plan_jobs(
    inputs: Sequence[str | Path],
    out: Path,
    cutouts: Path | None = None,
    config: SegmentConfig = PLAIN,
) -> tuple[list[MaskJob], list[tuple[str, str]], int]:
    """A job for every photo in `inputs`, (input, reason) of each input without a photo, and how many files in
    the inputs are left out. Of several types each has a folder in `out`, by its name. `cutouts`, if wanted,
    is one for pictures of the type rgba. All have the names of the masks. DataError without any input, if a
    folder lies among the photos, or if two files would have the same name."""
    listings, failed = _list_inputs(inputs)
    folders: list[tuple[Picture, Path]] = [
        (type, out if len(config.types) == 1 else out / type) for type in config.types
    ]
    if cutouts is not None:
        folders.append(("rgba", cutouts))
    for listing in listings:
        _check_apart(listing, out if len(config.types) == 1 else folders[0][1])
    first = folders[0][1]
    jobs = _make_jobs(listings, first)
    for _, folder in folders[1:]:
        for listing in listings:
            _check_apart(listing, folder)
    jobs = [_with_files(replace(job, config=config), folders, out) for job in jobs]
    _check_distinct(jobs, set(_index_photos(listings)))
    return jobs, failed, _count_left_out(listings)


def _count_left_out(listings: Sequence[FolderListing]) -> int:
    return sum(len(paths) for listing in listings for paths in listing.left_out.values())


def _with_files(job: MaskJob, folders: Sequence[tuple[Picture, Path]], out: Path) -> MaskJob:
    """The job with the file of each type and form; the first folder is that of the job's target."""
    name, forms = job.target.relative_to(folders[0][1]), job.config.annotations
    pictures = [(type, folder / name) for type, folder in folders]
    if "colmap" in forms:
        pictures.append(("colmap", colmap_file(out, job.photo_name)))
    texts = text_files(forms, out, name, job.photo_name)
    return replace(job, pictures=tuple(pictures), texts=tuple(texts.items()))


def _check_distinct(jobs: Sequence[MaskJob], taken: set[str]) -> None:
    """DataError if a picture beside the masks would replace a photo (`taken`: their files) or another one."""
    taken |= {str(job.target) for job in jobs}
    for job in jobs:
        for type, file in job.pictures[1:]:
            if str(file) in taken:
                what = "cut-out" if type == "rgba" else type
                raise DataError(
                    f"the {what} of {job.name} would replace a photo or a mask, {file}: choose another folder"
                )
            taken.add(str(file))


def _list_inputs(inputs: Sequence[str | Path]) -> tuple[list[FolderListing], list[tuple[str, str]]]:
    """The photos of each input, and (input, reason) of those without; an input named twice counts once."""
    if not inputs:
        raise DataError("no photos: name images, folders or archives")
    sources: dict[tuple[str, str], str | Path] = {}
    # Two spellings of one input have the same data set's name, or "", and the same real path.
    for source in _globbed(inputs):
        name, path = parse_native(source) or ("", source)
        sources[name, os.path.realpath(expanded(path))] = source
    listings, failed = [], []
    for source in sources.values():
        try:
            if parse_native(source) is None and not (path := find_path(expanded(source).absolute())).exists():
                raise DataError(f"there is no {path}: give an image, a folder, a .tar or a .zip of images")
            listings.append(list_source(source, sidecars=False))
        except DataError as error:
            failed.append((str(source), str(error)))
    return listings, failed


def _globbed(inputs: Sequence[str | Path]) -> Iterator[str | Path]:
    """The inputs, each pattern (`photos/*.jpg`, `**` for any depth) that the shell left as it is as the files
    that it matches; a name that exists is no pattern."""
    for source in inputs:
        path = expanded(source)
        pattern = has_magic(str(path)) and parse_native(source) is None and not find_path(path).exists()
        found: list[str | Path] = [*sorted(glob(str(path), recursive=True))] if pattern else []
        yield from found or [source]


def _check_apart(listing: FolderListing, out: Path) -> None:
    """DataError if masks in `out` would be taken for photos the next time that the input is listed.
    The folder of a data set in its owner's form is refused as a whole: it may hold masks of its own."""
    folder = Path(os.path.realpath(listing.path))
    if not folder.is_dir() or not out.is_relative_to(folder):
        return
    if listing.native:
        raise DataError(f"--out {out} lies in the folder of a data set, {listing.path}: choose another --out")
    parts = out.relative_to(folder).parts
    first = listing.images[0]
    inside = first.entry.path.removesuffix(_full_name(first))  # "", "top/", "images/" or "top/images/"
    root = inside.removesuffix("images/") if f"/{inside}".endswith("/images/") else inside
    masks_folder = "".join(f"{part}/" for part in parts).startswith((f"{root}masks/", "masks/"))
    hidden = any(part.startswith(".") for part in parts)
    if not parts or not (masks_folder or hidden):
        raise DataError(f"--out {out} is among the photos of {listing.path}: masks would be taken for photos")


def _full_name(ref: ImageRef) -> str:
    """The name with its suffix. Where two photos have the same stem, their listing left it in the name."""
    full = f"{ref.name}{ref.suffix}"
    return full if ref.entry.path.endswith(full) else ref.name


def _make_jobs(listings: Sequence[FolderListing], out: Path) -> list[MaskJob]:
    """A file in `out` for every photo, no two the same. DataError if one would replace a photo."""
    photos = _index_photos(listings)
    origins = list(photos.values())
    names = [ref.name for _, _, ref in origins]
    # Where photos differ in capitals alone, the system tells them apart, and so it will their masks.
    whole = Counter(folded(_full_name(ref)) for _, _, ref in origins)
    apart = [whole[folded(_full_name(ref))] > 1 for _, _, ref in origins]
    for attempt in range(1, 5):
        keys = [name if told else folded(name) for name, told in zip(names, apart, strict=True)]
        counts = Counter(keys)
        if len(counts) == len(names):
            break
        names = [
            _candidate(attempt, *origins[i]) if counts[keys[i]] > 1 else name for i, name in enumerate(names)
        ]
    jobs = [
        MaskJob(ref, _mask_file(out, name), _with_suffix(name, ref))
        for (_, _, ref), name in zip(origins, names, strict=True)
    ]
    if len({job.target for job in jobs}) < len(jobs):
        raise DataError("masks of several photos would have the same name: segment the inputs one by one")
    for job in jobs:
        if str(job.target) in photos:
            raise DataError(
                f"the mask of {job.name} would replace a photo, {job.target}: choose another --out"
            )
    return jobs


def _index_photos(listings: Sequence[FolderListing]) -> dict[str, tuple[int, FolderListing, ImageRef]]:
    """Input number, input and photo by the photo's path; a path within an archive follows the archive's.
    A photo that several inputs hold belongs to the first of them."""
    photos: dict[str, tuple[int, FolderListing, ImageRef]] = {}
    for number, listing in enumerate(listings, 1):
        source = os.path.realpath(listing.images[0].entry.source)  # one for all images of a listing
        for ref in listing.images:
            photos.setdefault(os.path.join(source, ref.entry.path), (number, listing, ref))
    return photos


def _candidate(attempt: int, number: int, listing: FolderListing, ref: ImageRef) -> str:
    """The name of a mask at this attempt, longer each time; `number` is that of the input."""
    single = ref.entry.kind == "file" and listing.path.is_file()
    stem = Path(os.path.realpath(listing.path)).parent.name if single else listing.stem
    full = _full_name(ref)
    return (ref.name, full, f"{stem}/{ref.name}", f"{stem}/{full}", f"{stem}-{number}/{full}")[attempt]


def _with_suffix(name: str, ref: ImageRef) -> str:
    """The name of a mask, with the photo's suffix if it isn't part of it."""
    full = _full_name(ref)
    return name if f"/{name}".endswith(f"/{full}") else f"{name}{full.removeprefix(ref.name)}"


def _mask_file(out: Path, name: str) -> Path:
    """The file in `out`. DataError for a name that leads out of it, as one in a malicious archive may."""
    target = Path(os.path.abspath(out / f"{name}.png"))
    if not target.is_relative_to(out):
        raise DataError(f"the name {join_names([name])} leads out of {out}: its archive is not to be trusted")
    return target
