"""The data: bringing photos to size once, and drawing batches, beside a plain DataLoader over the same files.

    python benchmarks/data.py SOURCE --size 128 --batch 25

SOURCE is a folder or tar of photos, of which JPEGs are made in a temporary folder. The loader decodes,
resizes and crops each photo every time it is drawn, in as many processes as there are cores.
"""

import statistics
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

import measure
import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from redoseg.data.dataset import open_dataset
from redoseg.data.formats import IMAGE_SUFFIXES
from redoseg.data.sampler import InfiniteSampler
from redoseg.tensors import to_tensor


class Files(TorchDataset[torch.Tensor]):
    """Photos decoded, resized and centre-cropped each time they are asked for: (3, S, S) in [-1, 1]."""

    def __init__(self, folder: Path, size: int) -> None:
        self.paths, self.size = sorted(folder.glob("*.jpg")), size

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        with Image.open(self.paths[index]) as image:
            photo = image.convert("RGB")
        scale = self.size / min(photo.size)
        width, height = (max(self.size, round(side * scale)) for side in photo.size)
        photo = photo.resize((width, height), Image.Resampling.LANCZOS)
        left, upper = (width - self.size) // 2, (height - self.size) // 2
        square = np.array(photo.crop((left, upper, left + self.size, upper + self.size)))
        return torch.from_numpy(square).permute(2, 0, 1).float().div_(127.5).sub_(1)


def as_jpeg(source: Path, folder: Path) -> Path:
    """A folder with the photos of a folder or tar as JPEGs of their own size."""
    folder.mkdir()
    with tempfile.TemporaryDirectory() as scratch:
        if source.is_file():
            with tarfile.open(source) as archive:
                archive.extractall(scratch, filter="data")
        root = Path(scratch) if source.is_file() else source
        for path in root.rglob("*"):
            if path.suffix.lower() in IMAGE_SUFFIXES and "masks" not in path.relative_to(root).parts:
                with Image.open(path) as image:
                    image.convert("RGB").save(folder / f"{path.stem}.jpg", quality=95)
    return folder


def epochs_over(loader: DataLoader[torch.Tensor]) -> Any:
    """Batches without end."""
    while True:
        yield from loader


def main() -> None:
    parser = measure.arguments(__doc__.splitlines()[0], size=128, batch=25)
    parser.add_argument("source", type=Path, help="a folder of photos, or a tar of one")
    parser.add_argument("--batches", type=int, default=40, help="batches drawn in a round")
    options = parser.parse_args()
    device = torch.device(options.device)
    cores = measure.cores()

    with tempfile.TemporaryDirectory() as scratch:
        cache, folder = Path(scratch) / "cache", as_jpeg(options.source, Path(scratch) / "photos")

        def opened() -> Any:
            return open_dataset([str(folder)], size=options.size, cache=cache).split("train")

        began = time.perf_counter()
        images = opened()
        build = time.perf_counter() - began
        began = time.perf_counter()
        images = opened()
        again = time.perf_counter() - began

        stream = InfiniteSampler(len(images), options.batch, 0)
        numbers = iter(range(10**9))
        loader = DataLoader(
            Files(folder, options.size), options.batch, shuffle=True, drop_last=True, num_workers=cores
        )
        drawn = epochs_over(loader)

        def ours() -> None:
            for _ in range(options.batches):
                to_tensor(images.images(stream.batch_at(next(numbers))), device)

        def theirs() -> None:
            for _ in range(options.batches):
                next(drawn).to(device)

        # Not in turn: the loader's processes fetch ahead while ours draws.
        wait = measure.waiting(device)
        times = measure.interleaved({"redoseg": ours}, rounds=options.rounds, wait=wait)
        times |= measure.interleaved({"DataLoader": theirs}, rounds=options.rounds, wait=wait)

    pictures = options.batches * options.batch
    rates = {name: pictures / statistics.median(seconds) for name, seconds in times.items()}
    rate_of_files = len(images) / build
    figures = {
        "images": len(images),
        "build_seconds": build,
        "build_images_per_second": rate_of_files,
        "open_seconds": again,
        "images_per_second": rates,
        "ratio": measure.ratio(times, "DataLoader", "redoseg"),
    }
    measure.table(
        f"{len(images)} photos at {options.size} px, batch {options.batch}, {cores} cores",
        ["", "images/s", "s in all"],
        [
            ["building the cache", f"{rate_of_files:.0f}", f"{build:.1f}"],
            ["opening it again", "", f"{again:.2f}"],
            ["batches: a DataLoader over the files", f"{rates['DataLoader']:.0f}", ""],
            ["batches: redoseg", f"{rates['redoseg']:.0f}", ""],
            ["times the DataLoader", f"{figures['ratio']:.1f}", ""],
        ],
    )
    measure.write(options.json, figures, device)


if __name__ == "__main__":
    main()
