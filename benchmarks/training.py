"""One whole training step, ours and the authors', side by side: images a second, ratio, how near the floor.

    python benchmarks/training.py --reference DIR --json FILE

DIR is a checkout of the authors' code (see reference.py). A step is a batch from uint8 arrays, the update of
f, G and delta, and the update of D. The floor is the time that a step's floating-point operations would take
at the rate of a large matrix product, measured in the same run at the same precision.
"""

import argparse
import resource
import statistics
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import measure
import numpy as np
import torch
from reference import Reference
from torch.utils.flop_counter import FlopCounterMode

from redoseg.config import TrainConfig
from redoseg.method.algorithm import ReDO
from redoseg.method.drawing import RandomDraws
from redoseg.tensors import to_tensor

RECIPES = ("authors", "paper", "default")
PRECISIONS = ("float32", "bfloat16")
Step = Callable[[], object]


def config_of(recipe: str, precision: str, options: argparse.Namespace) -> TrainConfig:
    return TrainConfig.of(
        recipe=recipe, data="benchmark", out=Path("benchmark"), size=options.size, batch=options.batch,
        width=options.width, g_width=options.g_width, precision=precision,
        compile="graphs" if options.compile == "graphs" else "off",
    )  # fmt: skip


def photos(options: argparse.Namespace) -> np.ndarray:
    """uint8 noise of a data set's form, (N, S, S, 3)."""
    shape = (8 * options.batch, options.size, options.size, 3)
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def reference_step(options: argparse.Namespace, device: torch.device) -> Step:
    """The authors' step, as their script does it: float32, eager, NCHW."""
    theirs = Reference(options.reference, config_of("authors", "float32", options), device)
    draw = batches(options, device)
    return lambda: theirs.step(draw(), draw())


def our_step(recipe: str, precision: str, options: argparse.Namespace, device: torch.device) -> Step:
    config = config_of(recipe, precision, options)
    game, random, draw = ReDO(config, 0, device), torch.Generator().manual_seed(0), batches(options, device)
    if options.compile and options.compile != "graphs":
        game.compile(mode=options.compile)
    step = iter(range(sys.maxsize))

    def one() -> None:
        t, I, drawn = next(step), draw(), RandomDraws.sample(config, random)
        game.generator_update(I, drawn, t)
        if config.fakes == "new":
            I, drawn = draw(), RandomDraws.sample(config, random)
        game.discriminator_update(draw(), I, drawn, t)

    return one


def batches(options: argparse.Namespace, device: torch.device) -> Callable[[], torch.Tensor]:
    """On CUDA from a set that lies there, else from memory: what `redoseg train` does."""
    images, rng = photos(options), np.random.default_rng(1)
    if device.type == "cpu":
        return lambda: to_tensor(images[rng.integers(0, len(images), options.batch)])
    resident = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().to(device)

    def draw() -> torch.Tensor:
        rows = torch.from_numpy(rng.integers(0, len(images), options.batch)).pin_memory()
        return resident[rows.to(device, non_blocking=True)].float().div_(127.5).sub_(1)

    return draw


def matrix_rate(precision: str, device: torch.device, rounds: int) -> float:
    """Floating-point operations a second of a large matrix product."""
    side = 2048 if device.type == "cpu" else 8192
    a = torch.randn(side, side, device=device, dtype=getattr(torch, precision))
    times = measure.interleaved(
        {"product": lambda: a @ a}, rounds=rounds, warmup=2, wait=measure.waiting(device)
    )
    return 2 * side**3 / min(times["product"])


def operations(step: Step) -> int:
    """Floating-point operations of one step, by PyTorch's own counter: products and convolutions."""
    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops()


def make(name: str, options: argparse.Namespace, device: torch.device) -> Step:
    """'reference', or 'recipe precision'."""
    if name == "reference":
        return reference_step(options, device)
    recipe, precision = name.split()
    return our_step(recipe, precision, options, device)


def peak_memory(name: str, options: argparse.Namespace) -> float:
    """GB that two steps take at most, in a process of their own (CPU: with the libraries, .4 GB)."""
    device = torch.device(options.device)
    step = make(name, options, device)
    step()
    step()
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def main() -> None:
    parser = measure.arguments(__doc__.splitlines()[0], size=128, batch=4)
    parser.add_argument("--reference", type=Path, required=True, help="a checkout of the authors' code")
    parser.add_argument("--width", type=int, default=64, help="channels of D and delta at full size")
    parser.add_argument("--g-width", type=int, default=32, help="channels of G at full size")
    parser.add_argument("--recipes", nargs="+", default=RECIPES, choices=RECIPES)
    parser.add_argument("--compile", help="graphs, or compile our steps in this mode of torch.compile")
    parser.add_argument("--no-memory", action="store_true", help="leave out the peak memory")
    options = parser.parse_args()
    device = torch.device(options.device)
    if options.threads:
        torch.set_num_threads(options.threads)
    names = [
        "reference",
        *(f"{recipe} {precision}" for recipe in options.recipes for precision in PRECISIONS),
    ]

    memory: dict[str, float] = {}
    if not options.no_memory:  # first, while this process holds nothing
        for name in names:
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                memory[name] = pool.submit(peak_memory, name, options).result()
    steps = {name: make(name, options, device) for name in names}
    counted = {name: operations(step) for name, step in steps.items()} if not options.compile else {}
    rates = {precision: matrix_rate(precision, device, options.rounds) for precision in PRECISIONS}
    times = measure.interleaved(steps, rounds=options.rounds, warmup=2, wait=measure.waiting(device))

    figures: dict[str, Any] = {}
    for name in names:
        seconds = statistics.median(times[name])
        precision = "float32" if name == "reference" else name.split()[1]
        figures[name] = {
            "seconds": seconds,
            "images_per_second": options.batch / seconds,
            "ratio": measure.ratio(times, "reference", name),
            "gflop_per_image": counted[name] / options.batch / 1e9 if name in counted else None,
            "share_of_floor": counted[name] / rates[precision] / seconds if name in counted else None,
            "peak_gb": memory.get(name),
        }
    best = {
        recipe: max(figures[f"{recipe} {precision}"]["ratio"] for precision in PRECISIONS)
        for recipe in options.recipes
    }
    report(figures, rates, options)
    settings = {name: getattr(options, name) for name in ("size", "batch", "width", "g_width", "compile")}
    rates_in_tflops = {precision: rate / 1e12 for precision, rate in rates.items()}
    measure.write(
        options.json,
        {**settings, "ratio_to_reference": best, "matrix_tflops": rates_in_tflops, "rivals": figures},
        device,
    )


def report(figures: dict[str, Any], rates: dict[str, float], options: argparse.Namespace) -> None:
    def shown(value: float | None, digits: int) -> str:
        return "" if value is None else f"{value:.{digits}f}"

    rows = [
        [
            name,
            shown(row["seconds"], 3),
            shown(row["images_per_second"], 2),
            shown(row["ratio"], 2),
            shown(row["gflop_per_image"], 0),
            shown(row["share_of_floor"], 2),
            shown(row["peak_gb"], 2),
        ]
        for name, row in figures.items()
    ]
    rate = ", ".join(f"{precision} {value / 1e12:.2f}" for precision, value in rates.items())
    sizes = f"{options.size} px, batch {options.batch}, G's width {options.g_width}"
    measure.table(
        f"{sizes}; matrix product, TFLOP/s: {rate}",
        ["step", "s", "images/s", "times the reference", "GFLOP an image", "share of floor", "peak GB"],
        rows,
    )


if __name__ == "__main__":
    main()
