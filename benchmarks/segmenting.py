"""The mask network alone, and files on disk to masks on disk: ours and the authors' way, timed in turn.

    python benchmarks/segmenting.py --reference DIR --images FOLDER --json segmenting.json

DIR is a checkout of github.com/mickaelChen/ReDO: its mask network is run eagerly, with the same weights.
FOLDER holds images, of which `--count` are written anew as JPEG of `--size` into a temporary folder.
"""

import argparse
import importlib.util
import math
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from measure import Rivals, Times, arguments, interleaved, ratio, table, write
from numpy.typing import NDArray
from PIL import Image
from reference import models
from torch import Tensor, nn

from redoseg.data.folder import scan
from redoseg.data.images import decode_image, fit_image
from redoseg.exporting.onnx import export_onnx
from redoseg.models.backends.onnx import OnnxBackend
from redoseg.models.backends.torch import TorchBackend
from redoseg.networks.mask import MaskNetwork
from redoseg.segmentation.segment import segment_files
from redoseg.segmentation.segmenter import Segmenter

THEIRS, DEFAULT = "authors, eager", "onnx"
BATCHES = (1, 8, 64)
REST = 0.05  # seconds between rivals: the threads of the one before still look for work for some time

Arrays = NDArray[np.float32]
Backend = Callable[[Arrays], Arrays]


def parity() -> ModuleType:
    """tests/test_parity.py, which knows their parameters' names."""
    file = Path(__file__).parents[1] / "tests" / "test_parity.py"
    spec = importlib.util.spec_from_file_location("test_parity", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def networks(folder: Path) -> tuple[nn.Module, MaskNetwork]:
    """Theirs and ours with the same weights, for 2 regions."""
    tests = parity()
    torch.manual_seed(0)
    theirs = tests.trained(
        lambda: models(folder)._netEncM(sizex=128, nIn=3, nMasks=2, nRes=3, nf=64), tests.pictures()
    )
    ours = tests.take_over(MaskNetwork(n=2), theirs, tests.names_of_f(blocks=3))
    return theirs, ours


def backends(theirs: nn.Module, ours: MaskNetwork, folder: Path, device: torch.device) -> dict[str, Backend]:
    export_onnx(ours, folder / "mask.onnx")
    on_device = ours.to(device)
    theirs = theirs.to(device)

    def eager(images: Arrays) -> Arrays:
        with torch.no_grad():
            masks: Tensor = theirs(torch.from_numpy(images).to(device))
        return masks.cpu().numpy()

    return {
        THEIRS: eager,
        "torch": TorchBackend(on_device),
        "torch, bfloat16": TorchBackend(on_device, half=True),
        "onnx": OnnxBackend(folder / "mask.onnx", threads=torch.get_num_threads(), device=device.type),
    }


def rested(rivals: Rivals, rounds: int) -> Times:
    """Times of rivals that begin on an idle machine."""
    with_rests: dict[str, Callable[[], object]] = {}
    for name, run in rivals.items():
        with_rests |= {f"rest before {name}": partial(time.sleep, REST), name: run}
    times = interleaved(with_rests, rounds=rounds)
    return {name: times[name] for name in rivals}


# The network alone


def network_alone(rivals: dict[str, Backend], pictures: Arrays, rounds: int) -> dict[str, Any]:
    """Milliseconds an image, ratios to theirs, shares of pixels in another region than theirs."""
    milliseconds: dict[str, dict[str, float]] = {name: {} for name in rivals}
    ratios: dict[str, dict[str, float]] = {name: {} for name in rivals}
    for batch in BATCHES:
        images = np.ascontiguousarray(pictures[np.arange(batch) % len(pictures)])
        calls = {name: partial(run, images) for name, run in rivals.items()}
        times = rested(calls, max(2, math.ceil(rounds * 16 / (batch + 3))))
        for name in rivals:
            milliseconds[name][str(batch)] = statistics.median(times[name]) / batch * 1e3
            ratios[name][str(batch)] = ratio(times, THEIRS, name)
    regions = {name: run(pictures)[:, 1] > 0.5 for name, run in rivals.items()}
    differing = {name: float((regions[name] != regions[THEIRS]).mean()) for name in rivals}
    return {"milliseconds": milliseconds, "ratios": ratios, "differing": differing}


# Files to files


def photos(source: Path, count: int, size: int, rounds: int, folder: Path) -> list[Path]:
    """`count` images from a folder or archive as JPEG of `size`, in a folder for each round."""
    refs = [ref.entry for ref in scan(source, sidecars=False).images]
    chosen = [refs[k] for k in np.linspace(0, len(refs) - 1, min(count, len(refs))).astype(int)]
    folders = []
    for turn, part in enumerate(np.array_split(np.array(chosen, object), rounds)):
        folders.append(folder / "photos" / str(turn))
        folders[-1].mkdir(parents=True)
        for k, entry in enumerate(part):
            with entry.open() as stream:
                picture = Image.fromarray(fit_image(decode_image(stream), size))
            picture.save(folders[-1] / f"{k:06d}.jpg", quality=92)
    return folders


def authors_way(theirs: Backend, photos: Path, size: int, out: Path) -> None:
    """One after the other: open, bring to size, scale, network, threshold, save."""
    out.mkdir(parents=True, exist_ok=True)
    for file in sorted(photos.iterdir()):
        with Image.open(file) as image:
            fitted = image.convert("RGB").resize((size, size))
        images = np.asarray(fitted, np.float32).transpose(2, 0, 1)[None] / 127.5 - 1
        region = theirs(np.ascontiguousarray(images, dtype=np.float32))[0, 1] > 0.5
        Image.fromarray(region.astype(np.uint8) * 255).save(out / f"{file.stem}.png")


def files_to_files(
    rivals: dict[str, Backend], folders: list[Path], size: int, out: Path
) -> tuple[dict[str, float], dict[str, float]]:
    """Images/s and ratios to the authors' way; the first round warms up."""
    waiting = {name: iter(folders) for name in rivals}

    def run(name: str) -> None:
        part = next(waiting[name])
        target = out / name.replace(", ", "-") / part.name
        if name == THEIRS:
            authors_way(rivals[name], part, size, target)
        else:
            segment_files(Segmenter(rivals[name], n=2, size=size), [part], target)

    times = rested({name: partial(run, name) for name in rivals}, len(folders) - 1)
    each = len(list(folders[-1].iterdir()))
    rates = {name: each / statistics.median(times[name]) for name in rivals}
    return rates, {name: ratio(times, THEIRS, name) for name in rivals}


def bounds(backend: Backend, files: list[Path], size: int, threads: int, folder: Path) -> dict[str, float]:
    """Images/s of each stage by itself, on all threads: what all of them together can't exceed."""
    segmenter = Segmenter(backend, n=2, size=size)
    with ThreadPoolExecutor(threads) as pool:
        rates = {}
        began = time.perf_counter()
        fitted = list(pool.map(segmenter.read, files))
        rates["decode"] = len(files) / (time.perf_counter() - began)
        began = time.perf_counter()
        masks = segmenter.predict(fitted)
        rates["network"] = len(files) / (time.perf_counter() - began)
        out = folder / "bound"
        out.mkdir()

        def save(k: int) -> None:
            region = segmenter.regions(masks[k], fitted[k].size) * 255
            Image.fromarray(region).save(out / f"{k}.png", compress_type=3)

        began = time.perf_counter()
        list(pool.map(save, range(len(files))))
        rates["write"] = len(files) / (time.perf_counter() - began)
    rates["all, in turn"] = 1 / sum(1 / rate for rate in rates.values())
    return rates


def options() -> argparse.Namespace:
    parser = arguments("Segmenting: ours against the authors' way.", size=128, batch=8)
    parser.add_argument("--reference", type=Path, required=True, help="checkout of the authors' code")
    parser.add_argument("--images", type=Path, required=True, help="folder or .tar of images")
    parser.add_argument("--count", type=int, default=2000, help="how many of them")
    return parser.parse_args()


def main() -> None:
    asked = options()
    if asked.threads:
        torch.set_num_threads(asked.threads)
    device = torch.device(asked.device)
    with tempfile.TemporaryDirectory() as name, torch.random.fork_rng():
        folder = Path(name)
        folders = photos(asked.images, asked.count, asked.size, asked.rounds + 1, folder)
        files = sorted(folders[0].iterdir())
        theirs, ours = networks(asked.reference)
        rivals = backends(theirs, ours, folder, device)
        segmenter = Segmenter(rivals[DEFAULT], n=2, size=asked.size)
        pictures = np.stack([segmenter.read(file).pixels for file in files[: max(BATCHES)]])
        scaled = np.ascontiguousarray(pictures.transpose(0, 3, 1, 2), np.float32) / np.float32(127.5) - 1
        alone = network_alone(rivals, scaled, asked.rounds)
        rates, ratios = files_to_files(rivals, folders, asked.size, folder / "masks")
        limits = bounds(rivals[DEFAULT], files, asked.size, torch.get_num_threads(), folder)
    report(alone, rates, ratios, limits)
    figures = {
        "network_ratio": alone["ratios"][DEFAULT],
        "files_ratio": ratios[DEFAULT],
        "default": DEFAULT,
        "network": alone,
        "files": {"images": asked.count, "rates": rates, "ratios": ratios, "bounds": limits},
    }
    write(asked.json, figures, device)


def report(
    alone: dict[str, Any], rates: dict[str, float], ratios: dict[str, float], limits: dict[str, float]
) -> None:
    def cell(name: str, batch: int) -> str:
        return f"{alone['milliseconds'][name][str(batch)]:.2f} ({alone['ratios'][name][str(batch)]:.2f})"

    rows = [
        [name, *(cell(name, batch) for batch in BATCHES), f"{alone['differing'][name]:.3%}"] for name in rates
    ]
    columns = ["network", *(f"batch {batch}" for batch in BATCHES), "pixels that differ"]
    table("Milliseconds an image (ratio to the authors')", columns, rows)
    rows = [[name, f"{rates[name]:.1f}", f"{ratios[name]:.2f}"] for name in rates]
    table("Files to masks", ["network", "images/s", "ratio"], rows)
    rows = [[name, f"{rate:.0f}"] for name, rate in limits.items()]
    table("One stage alone, on all threads", ["stage", "images/s"], rows)


if __name__ == "__main__":
    main()
