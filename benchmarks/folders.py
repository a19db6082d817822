"""`redoseg auto` on folders that stand for other people's: does it find the object, and know when it hasn't?

python benchmarks/folders.py DATA OUT [--only NAME ...] [--centred] [--known] [--seed 1] [--draw 1]
    [--keep results/folders]

DATA holds the packed archives (butterflies128.tar, lfw128.tar, flowers64.tar, birds128.tar). Each folder gets
photos of a set's training split, 300 or all, and no mask. The model that comes with redoseg and has learned
that set isn't tried, as nobody has seen other people's photos; with --known it is. Three have no one thing to
find: corners of photos of two or of four sets, mostly bare background, and halves of photos of four sets. Two
are of photos that are wider than high: windows of 3:2 of the same 300, scored on whole windows; with
--centred only centred squares are learned. In three more, `off`, objects are where they happen to be: windows
of two thirds of both sides, from anywhere. Two are drawn: many cells, anywhere and cut off, bright on dark
(`cells-bright`) or dark on light (`cells-dark`). With --draw other photos and windows are drawn. Afterwards
the model is scored on the masks of the set's split `val`. Run again, it goes on. A line a folder is printed,
and kept as JSON with all students' scores.
"""

import argparse
import csv
import io
import json
import random
import sys
import tarfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

import redoseg
from redoseg.automation import looking, starts
from redoseg.data.folder import scan
from redoseg.files import read_json, write_json

SETS = {"butterflies-300": "butterflies128", "faces-300": "lfw128", "flowers-300": "flowers64"}
WHOLE = {"butterflies-all": "butterflies128", "faces-all": "lfw128", "flowers-all": "flowers64"}
WIDE = {"butterflies-wide": "butterflies128", "faces-wide": "lfw128"}
OFF = {"butterflies-off": "butterflies128", "faces-off": "lfw128", "flowers-off": "flowers64"}
ARCHIVES = SETS | WHOLE | WIDE | OFF
LEARNED = {"butterflies128": "butterflies", "lfw128": "faces", "flowers64": "flowers"}
"""The shipped model that has learned a set."""
CELLS = {"cells-bright": (0, 0, 25), "cells-dark": (225, 190, 215)}
"""Colours of their ground."""
_FOUR = ("birds128", "butterflies128", "lfw128", "flowers64")
# In the order of their draws: a further one comes last, so that the others stay the same.
EMPTY = {"background-300": ("birds128", "butterflies128"), "mixed-300": _FOUR, "corners-300": _FOUR}
CORNERS = ("background-300", "corners-300")
PHOTOS = 300


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument(
        "--only",
        nargs="*",
        choices=[*ARCHIVES, *CELLS, *EMPTY],
        help="these folders (three sets of 300 and the three without an object)",
    )
    parser.add_argument("--centred", action="store_true", help="learn from centred squares alone")
    parser.add_argument("--known", action="store_true", help="try the shipped model of the set, too")
    parser.add_argument("--seed", type=int, default=0, help="of the students; the photos stay (0)")
    parser.add_argument("--draw", type=int, default=0, help="which photos and windows are drawn (0)")
    parser.add_argument("--keep", type=Path, help="folder for a JSON file of each")
    options = parser.parse_args()
    names = options.only or [*SETS, *EMPTY]
    photos = options.out / ("photos" + f"-{options.draw}" * bool(options.draw))
    make_folders(options.data, photos, options.draw)
    if options.centred:
        looking.SQUARES = 1
    for name in names:
        if name in WHOLE:
            make_whole(options.data / f"{WHOLE[name]}.tar", photos / name)
        if name in WIDE | OFF:
            make_windows(options.data / f"{ARCHIVES[name]}.tar", photos / name, drawing(name, options.draw))
        if name in CELLS:
            make_cells(photos / name, CELLS[name], options.draw)
        ending = "-centred" * options.centred + "-known" * options.known
        ending += f"-seed{options.seed}" * bool(options.seed) + f"-draw{options.draw}" * bool(options.draw)
        model = None if options.known else LEARNED.get(ARCHIVES.get(name, ""))
        with without(model):
            found = run(name, options.data, photos, options.out / "runs" / f"{name}{ending}", options.seed)
        if model in found["plan"]["starts"]:
            sys.exit(f"{ending or name} was begun with the model {model}: take another OUT, or --known")
        found |= {"left_out": model}
        print(
            json.dumps(found | {"students": {k: round(v, 3) for k, v in found["students"].items()}}),
            flush=True,
        )
        if options.keep is not None:
            write_json(options.keep / f"{name}{ending}.json", found)


@contextmanager
def without(model: str | None) -> Iterator[None]:
    """In this context a shipped model is none of those that `auto` tries."""
    known = starts.shipped_names
    starts.shipped_names = lambda: [name for name in known() if name != model]
    try:
        yield
    finally:
        starts.shipped_names = known


def run(name: str, data: Path, photos: Path, out: Path, seed: int) -> dict[str, Any]:
    """What `auto` found in one folder, how long it took in this call, and what that is worth by the masks of
    `val`."""
    config = redoseg.AutoConfig(data=(str(photos / name),), out=out, seed=seed, threads=1)
    begun = time.monotonic()
    found = redoseg.auto(config)
    report = read_json(config.out / "auto.json")
    result = {
        "photos": found.masks, "minutes": round((time.monotonic() - begun) / 60, 1),
        "command": f"redoseg auto {name} --out RUN --threads 1" + f" --seed {seed}" * bool(seed),
        "plan": report["plan"],
        "redoseg": report["redoseg"],
        "students": found.students, "kept": found.kept, "verdict": found.verdict.as_json(),
    }  # fmt: skip
    if name in EMPTY:
        return result
    wide = name in WIDE
    archive = photos / f"{name}-val" if name in WIDE | OFF | CELLS else data / f"{ARCHIVES[name]}.tar"
    row = "whole" if wide else "as_written"

    def scored(model: Path) -> dict[str, Any]:
        return redoseg.evaluate(model, archive, device="cpu", whole=wide).as_dict()

    scores = scored(config.out)
    rows = {row: scores[row] for row in (row, "as_written", "per_dataset", "fixed_mask", "disc")}
    students = {student: scored(config.out / "students" / student)[row] for student in found.students}
    return result | {"images": scores["images"], "scores": rows, "students_as_written": students}


def drawing(seed: int | str, draw: int) -> random.Random:
    """Random numbers, which are others with another --draw."""
    return random.Random(f"{seed}, {draw}" if draw else seed)


def make_folders(data: Path, out: Path, number: int = 0) -> None:
    """The folders of photos that aren't there yet; of a --draw `number` always the same ones."""
    draw = drawing(0, number)
    for name, archive in SETS.items():
        picked = set(draw.sample(_training_names(data / f"{archive}.tar"), PHOTOS))
        if not (out / name).exists():
            (out / name).mkdir(parents=True)
            for stem, suffix, content in _files(data / f"{archive}.tar"):
                if stem in picked:
                    (out / name / f"{stem.replace('/', '_')}{suffix}").write_bytes(content)
    draw = drawing(1, number)
    for name, archives in EMPTY.items():
        crops = [
            crop
            for archive in archives
            for crop in _crops(data / f"{archive}.tar", draw, name, PHOTOS // len(archives))
        ]
        if not (out / name).exists():
            (out / name).mkdir(parents=True)
            for index, crop in enumerate(crops):
                crop.save(out / name / f"{index:03}.png")


def make_whole(archive: Path, out: Path) -> None:
    """A folder of all photos of a set's training split, unless it is there."""
    if out.exists():
        return
    wanted = set(_training_names(archive))
    out.mkdir(parents=True)
    for stem, suffix, content in _files(archive):
        if stem in wanted:
            (out / f"{stem.replace('/', '_')}{suffix}").write_bytes(content)


def make_windows(archive: Path, out: Path, draw: random.Random) -> None:
    """Windows of the 300 photos of a set, and, in another folder, of `val` with its masks."""
    window = _wide if out.name in WIDE else _off
    base = next(one for one, packed in SETS.items() if packed == archive.stem)
    if out.exists():
        return
    out.mkdir(parents=True)
    for file in sorted((out.parent / base).iterdir()):
        window(Image.open(file).convert("RGB"), draw).save(out / f"{file.stem}.png")
    val, listing = out.parent / f"{out.name}-val", scan(archive)
    images = {ref.name: ref for ref in listing.images}
    for stem, mask in sorted(listing.masks.items(), key=lambda item: item[1].entry.path):
        if listing.splits[stem] != "val":
            continue
        state = draw.getstate()
        for kind, ref in (("images", images[stem]), ("masks", mask)):
            file = val / kind / f"{stem.replace('/', '_')}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            with ref.open() as opened, Image.open(opened) as picture:
                draw.setstate(state)  # the same window of both
                window(picture, draw).save(file)


def make_cells(out: Path, ground: tuple[int, int, int], number: int = 0) -> None:
    """300 drawn photos of cells, and in another folder 60 more with their masks."""
    if out.exists():
        return
    draw = np.random.default_rng([sum(ground), number] if number else sum(ground))
    val = out.parent / f"{out.name}-val"
    for folder in (out, val / "images", val / "masks"):
        folder.mkdir(parents=True)
    for index in range(PHOTOS + 60):
        photo, mask = _cells(draw, ground)
        if index < PHOTOS:
            photo.save(out / f"{index:03}.png")
        else:
            photo.save(val / "images" / f"{index:03}.png")
            mask.save(val / "masks" / f"{index:03}.png")


def _cells(draw: np.random.Generator, ground: Sequence[int]) -> tuple[Image.Image, Image.Image]:
    """160 pixels a side: 4 to 13 blobs of 9 to 20 pixels' radius, textured, on uneven ground, with noise."""
    side = 160
    y, x = np.mgrid[:side, :side]
    mask = np.zeros((side, side), bool)
    for _ in range(draw.integers(4, 14)):
        row, column, angle = draw.uniform((-5, -5, 0), (side + 5, side + 5, np.pi))
        u = (x - column) * np.cos(angle) + (y - row) * np.sin(angle)
        v = (y - row) * np.cos(angle) - (x - column) * np.sin(angle)
        longer, lobes = draw.uniform(0.7, 1.4), 1 + 0.12 * np.sin(3 * np.arctan2(v, u) + draw.uniform(0, 6))
        mask |= (u / longer) ** 2 + (v * longer) ** 2 < (draw.uniform(9, 20) * lobes) ** 2
    fine, coarse = (_texture(draw, side, sigma) for sigma in (3, 12))
    soft = gaussian_filter(mask.astype(float), 1.5)[..., None]
    colour = np.array((40, 60, 150) if sum(ground) < 100 else (120, 70, 150)) * draw.uniform(0.8, 1.3)
    picture = np.array(ground) + soft * (colour - ground) + (6 + 12 * soft) * fine + 7 * coarse
    picture += 6 * draw.normal(size=picture.shape)
    pixels = np.clip(picture, 0, 255).astype(np.uint8)
    return Image.fromarray(pixels), Image.fromarray(mask.astype(np.uint8) * 255)


def _texture(draw: np.random.Generator, side: int, sigma: float) -> NDArray[np.float64]:
    """(side, side, 1), of standard deviation 1."""
    smooth = gaussian_filter(draw.normal(size=(side, side)), sigma)
    return np.asarray(smooth / smooth.std())[..., None]


def _wide(picture: Image.Image, draw: random.Random) -> Image.Image:
    """Two thirds of its height, from anywhere."""
    height = picture.height * 2 // 3
    top = round(draw.random() * (picture.height - height))
    return picture.crop((0, top, picture.width, top + height))


def _off(picture: Image.Image, draw: random.Random) -> Image.Image:
    """Two thirds of both sides, from anywhere."""
    side = picture.width * 2 // 3
    left, top = (round(draw.random() * (picture.width - side)) for _ in range(2))
    return picture.crop((left, top, left + side, top + side))


def _crops(archive: Path, draw: random.Random, name: str, count: int) -> Iterator[Image.Image]:
    """Corners of a third of a photo's side, or halves from anywhere, at 128 pixels."""
    with tarfile.open(archive) as tar:
        photos = [member for member in tar.getmembers() if "/images/" in member.name and member.isfile()]
        for member in draw.sample(photos, count):
            photo = Image.open(io.BytesIO(_content(tar, member))).convert("RGB")
            if name in CORNERS:
                side = photo.width // 3
                far = photo.width - side
                left, top = draw.choice([(0, 0), (far, 0), (0, far), (far, far)])
            else:
                side = photo.width // 2
                left, top = draw.randrange(photo.width - side), draw.randrange(photo.width - side)
            crop = photo.crop((left, top, left + side, top + side))
            yield crop.resize((128, 128), Image.Resampling.BICUBIC)


def _training_names(archive: Path) -> list[str]:
    with tarfile.open(archive) as tar:
        table = next(member for member in tar.getmembers() if member.name.endswith("splits.csv"))
        rows = csv.DictReader(io.StringIO(_content(tar, table).decode()))
        return [row["name"] for row in rows if row["split"] == "train"]


def _files(archive: Path) -> Iterator[tuple[str, str, bytes]]:
    """Name, suffix and content of each photo."""
    with tarfile.open(archive) as tar:
        for member in tar:
            if "/images/" in member.name and member.isfile():
                path = Path(member.name.split("/images/")[1])
                yield path.with_suffix("").as_posix(), path.suffix, _content(tar, member)


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    assert file is not None
    return file.read()


if __name__ == "__main__":
    main()
