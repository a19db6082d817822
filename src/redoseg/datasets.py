"""Segmented folders for other programs: a data set for PyTorch, a folder for Hugging Face's `datasets`.

Imports no PyTorch: what its DataLoader wants of a data set is a length and items.
"""

import csv
import json
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from redoseg.data.images import decode_image
from redoseg.errors import ConfigError, DataError, reason_of
from redoseg.files import expanded, write_folder_aside

Transforms = Callable[[Image.Image, Image.Image], Any]


@dataclass(frozen=True)
class Row:
    """A line of the table: where the `photo` and its `mask` lie, and the mask's `doubt`."""

    photo: Path
    mask: Path
    doubt: float


class MaskFolder:
    """Photos with the masks that `redoseg auto` or `redoseg segment --csv` wrote, as a map-style data set.

    `dataset[i]` is (image, mask, doubt): a PIL image in mode RGB, a PIL image in mode L with the labels (0
    the background, 1 the object, of several regions their numbers), and a float from 0 to 1. With
    `transforms` the first two are what `transforms(image, mask)` returns, as in torchvision. It fits
    `torch.utils.data.DataLoader`, with workers, too.
    """

    def __init__(
        self,
        table: str | Path,
        photos: str | Path | None = None,
        *,
        max_doubt: float = 1.0,
        transforms: Transforms | None = None,
    ) -> None:
        """`table`: the CSV file, or the folder of a run of `auto`. `photos`: the folder in which the photos
        lie; None where the table has whole paths. Masks with more doubt than `max_doubt` are left out;
        `left_out` counts them, and the photos that failed. DataError for a table that can't be read, or names
        what isn't there; ConfigError if no row is left."""
        if not 0 <= max_doubt <= 1:
            raise ConfigError(f"max_doubt is {max_doubt}: it must be from 0 to 1")
        file = expanded(table)
        file = file / "photos.csv" if file.is_dir() else file
        self.transforms = transforms
        known, failed = _read(file, None if photos is None else expanded(photos))
        self.rows = [row for row in known if row.doubt <= max_doubt]
        self.left_out = {"failed": failed, "doubtful": len(known) - len(self.rows)}
        if not self.rows:
            raise ConfigError(f"{file} has no mask with a doubt of {max_doubt:g} or less: choose more")

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Any, Any, float]:
        """Raises DataError for a photo or a mask that can't be read."""
        row = self.rows[index]
        try:
            image = decode_image(row.photo)
            with Image.open(row.mask) as file:
                values = np.asarray(file.convert("L"))
        except (OSError, DataError) as error:
            raise DataError(f"{row.photo} or its mask can't be read: {error}") from error
        # Of two regions the object is 255 in the file; of more, each has its number.
        labels = np.where(values == 255, 1, values).astype(np.uint8)
        mask = Image.fromarray(labels)
        if self.transforms is not None:
            return (*self.transforms(image, mask), row.doubt)
        return image, mask, row.doubt


def write_hf_folder(dataset: MaskFolder | str | Path, out: str | Path) -> Path:
    """Write `out` as a folder for `datasets.load_dataset("imagefolder", data_dir=out)`: copies of photos and
    masks, and `metadata.jsonl` with `file_name`, `mask_file_name`, `doubt` and `photo`, the photo's own name.

    Takes a `MaskFolder`, or a table that is one's. Returns the folder. ConfigError if it is there already and
    holds anything, DataError for a file that can't be read; then nothing is left.
    """
    folder = expanded(out)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} is there already: choose a new folder")
    segmented = dataset if isinstance(dataset, MaskFolder) else MaskFolder(dataset)
    folder.parent.mkdir(parents=True, exist_ok=True)
    write_folder_aside(folder, lambda aside: _write_hf(segmented, aside))
    return folder


def _write_hf(dataset: MaskFolder, folder: Path) -> None:
    lines = []
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for number, row in enumerate(dataset.rows):
        photo, mask = f"images/{number:06}{row.photo.suffix}", f"masks/{number:06}.png"
        for name, source in ((photo, row.photo), (mask, row.mask)):
            (folder / name).write_bytes(_content(source))
        entry = {"file_name": photo, "mask_file_name": mask, "doubt": row.doubt, "photo": row.photo.name}
        lines.append(json.dumps(entry) + "\n")
    (folder / "metadata.jsonl").write_text("".join(lines), encoding="utf-8")


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise DataError(f"{file} can't be read: {error.strerror}") from error


def _read(table: Path, photos: Path | None) -> tuple[list[Row], int]:
    """The rows of masks, and how many photos failed."""
    try:
        with open(table, encoding="utf-8", newline="") as file:
            lines = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table} can't be read: {reason_of(error)}") from error
    rows, failed = [], 0
    for line in lines:
        if line.get("error"):
            failed += 1
            continue
        try:
            photo, mask, doubt = line["photo"], line["mask"], float(line["doubt"])
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{table} is no table of `redoseg auto` or `redoseg segment --csv`") from error
        if not math.isfinite(doubt):
            raise DataError(f"{table} is no table of redoseg's: a doubt is {doubt}")
        row = Row(_place(photo, photos or Path()), _place(mask, table.parent), doubt)
        for place in (row.photo, row.mask):
            if not place.is_file():
                cure = "" if photos is not None else ": say with photos=FOLDER where the photos lie"
                raise DataError(f"{table} names {place}, and there is no such file{cure}")
        rows.append(row)
    return rows, failed


def _place(path: str, folder: Path) -> Path:
    return Path(path) if os.path.isabs(path) else folder / path
