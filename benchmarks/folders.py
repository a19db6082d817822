"""`redoseg auto` on folders that stand for other people's: does it find the object, and know when it hasn't?

python benchmarks/folders.py DATA OUT [--only NAME ...] [--keep results/folders]

DATA holds the packed archives (butterflies128.tar, lfw128.tar, flowers64.tar, birds128.tar). Each folder gets
photos of a set's training split, 300 or all, and no mask; two have nothing to find: corners of photos, mostly
bare background, and halves of photos of four sets. Afterwards the model is scored on the masks of the set's
split `val`. Run again, it goes on. A line a folder is printed, and kept as JSON with all students' scores.
"""

import argparse
import csv
import io
import json
import random
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

import redoseg
from redoseg.files import read_json, write_json

SETS = {"butterflies-300": "butterflies128", "faces-300": "lfw128", "flowers-300": "flowers64"}
WHOLE = {"butterflies-all": "butterflies128", "faces-all": "lfw128", "flowers-all": "flowers64"}
ARCHIVES = SETS | WHOLE
EMPTY = {
    "background-300": ("birds128", "butterflies128"),
    "mixed-300": ("birds128", "butterflies128", "lfw128", "flowers64"),
}
PHOTOS = 300


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument(
        "--only", nargs="*", choices=[*ARCHIVES, *EMPTY], help="these folders (all but the whole sets)"
    )
    parser.add_argument("--keep", type=Path, help="folder for a JSON file of each")
    options = parser.parse_args()
    names = options.only or [*SETS, *EMPTY]
    make_folders(options.data, options.out / "photos")
    for name in names:
        if name in WHOLE:
            make_whole(options.data / f"{WHOLE[name]}.tar", options.out / "photos" / name)
        found = run(name, options.data, options.out)
        print(
            json.dumps(found | {"students": {k: round(v, 3) for k, v in found["students"].items()}}),
            flush=True,
        )
        if options.keep is not None:
            write_json(options.keep / f"{name}.json", found)


def run(name: str, data: Path, out: Path) -> dict[str, Any]:
    """What `auto` found in one folder, how long it took in this call, and what that is worth by the masks of
    `val`."""
    config = redoseg.AutoConfig(data=(str(out / "photos" / name),), out=out / "runs" / name, threads=1)
    begun = time.monotonic()
    found = redoseg.auto(config)
    report = read_json(config.out / "auto.json")
    result = {
        "photos": found.masks, "minutes": round((time.monotonic() - begun) / 60, 1),
        "command": f"redoseg auto {name} --out RUN --threads 1", "plan": report["plan"],
        "redoseg": report["redoseg"],
        "students": found.students, "kept": found.kept, "verdict": found.verdict.as_json(),
    }  # fmt: skip
    if name not in ARCHIVES:
        return result
    archive = data / f"{ARCHIVES[name]}.tar"
    scores = redoseg.evaluate(config.out, archive, device="cpu").as_dict()
    rows = {row: scores[row] for row in ("as_written", "per_dataset", "fixed_mask", "disc")}
    students = {
        student: redoseg.evaluate(config.out / "students" / student, archive, device="cpu").as_dict()[
            "as_written"
        ]
        for student in found.students
    }
    return result | {"images": scores["images"], "scores": rows, "students_as_written": students}


def make_folders(data: Path, out: Path) -> None:
    """The folders of photos that aren't there yet; always the same ones."""
    draw = random.Random(0)
    for name, archive in SETS.items():
        picked = set(draw.sample(_training_names(data / f"{archive}.tar"), PHOTOS))
        if not (out / name).exists():
            (out / name).mkdir(parents=True)
            for stem, suffix, content in _files(data / f"{archive}.tar"):
                if stem in picked:
                    (out / name / f"{stem.replace('/', '_')}{suffix}").write_bytes(content)
    draw = random.Random(1)
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


def _crops(archive: Path, draw: random.Random, name: str, count: int) -> Iterator[Image.Image]:
    """Corners of a third of a photo's side, or halves from anywhere, at 128 pixels."""
    with tarfile.open(archive) as tar:
        photos = [member for member in tar.getmembers() if "/images/" in member.name and member.isfile()]
        for member in draw.sample(photos, count):
            photo = Image.open(io.BytesIO(_content(tar, member))).convert("RGB")
            if name == "background-300":
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
