"""Photos so few and runs so small that they are made in a moment."""

import io
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console

from redoseg.config import TrainConfig
from redoseg.models.run_folder import RunFolder
from redoseg.training.train import train

S = 32
TINY: dict[str, Any] = {
    "size": S, "width": 4, "g_width": 4, "f_width": 4, "f_blocks": 1, "code_size": 4, "batch": 4,
    "steps": 4, "eval_every": 2, "save_every": 2, "sample_every": 2, "collapse_every": 1,
    "device": "cpu", "lr_f": 5e-3, "lr_f_warmup": 0, "ema_half_life": 40.0,
}  # fmt: skip


def photos(folder, *, train=10, val=5, masks=True, values=(0, 255), size=S):
    """Bright squares on plain ground, their masks and a splits.csv."""
    random = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    names = []
    for index in range(train + val):
        picture, label = np.empty((size, size, 3), np.uint8), np.full((size, size), values[0], np.uint8)
        y, x = random.integers(0, size // 2, 2)
        picture[:], square = random.integers(60, 160, 3), np.s_[y : y + size // 2, x : x + size // 2]
        picture[square], label[square] = random.integers(180, 255, 3), values[1]
        names.append(f"{index:03},{'train' if index < train else 'val'}")
        Image.fromarray(picture).save(folder / "images" / f"{index:03}.png")
        if masks:
            (folder / "masks").mkdir(exist_ok=True)
            Image.fromarray(label).save(folder / "masks" / f"{index:03}.png")
    (folder / "splits.csv").write_text("\n".join(["name,split", *names]))
    return folder


def tiny(data, out, **options):
    """A run so small that it is done in a moment."""
    return TrainConfig.of(data=(str(data),), out=out, **TINY | {"cache": data.parent / "cache"} | options)


def trained(config):
    """`redoseg.train` in silence; the run's folder."""
    return RunFolder(train(config, console=Console(file=io.StringIO())))
