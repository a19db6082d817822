"""The paper's sets, tiny and drawn."""

import csv
import dataclasses
import shutil

import numpy as np
from PIL import Image

from redoseg.reproduction.protocol import SCALES
from tinyruns import TINY

QUICK = {name: value for name, value in TINY.items() if name != "device"} | {"g_width": 8, "threads": 1}
SCALE = dataclasses.replace(
    SCALES["small"],
    options=QUICK,
    seeds=2,
    labels=(1, 2),
    draws=2,
    fit_steps=4,
    few=(2,),
    digits={"batch": 4},
    student={"steps": 2, "f_width": 4, "f_blocks": 1, "batch": 4, "size": 32},
    shipped={},
)


def pack(folder, stem, rows, masked=("val",)):
    """STEM.tar of bright squares: rows are (name, split)."""
    random = np.random.default_rng(len(rows))
    inside = folder / stem
    for name, split in rows:
        picture, label = np.full((32, 32, 3), random.integers(0, 120), np.uint8), np.zeros((32, 32), np.uint8)
        y, x = random.integers(0, 16, 2)
        picture[y : y + 16, x : x + 16], label[y : y + 16, x : x + 16] = random.integers(150, 255, 3), 1
        for kind, array in (("images", picture), ("masks", label)):
            if kind == "images" or split in masked:
                (inside / kind).mkdir(parents=True, exist_ok=True)
                Image.fromarray(array).save(inside / kind / f"{name}.png")
    with open(inside / "splits.csv", "w", newline="") as file:
        csv.writer(file).writerows([("name", "split"), *rows])
    shutil.make_archive(str(folder / stem), "tar", folder, stem)
    shutil.rmtree(inside)
