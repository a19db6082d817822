"""A run trained by several processes, and what its result may differ by."""

import io
import multiprocessing
import os
import socket

import torch
from rich.console import Console

from redoseg.models.run_folder import RunFolder
from redoseg.models.weights import load_tensors
from redoseg.training.train import train


def forked(config, world=2, seconds=60, start=train):
    """Train (or distill) in so many processes, as torchrun would start them: the outcome of each, by rank.

    Forked, so that none has to import torch again.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("fork")
    outcomes = context.Queue()
    processes = [
        context.Process(target=_process, args=(start, config, rank, world, port, outcomes))
        for rank in range(world)
    ]
    for process in processes:
        process.start()
    got = dict(outcomes.get(timeout=seconds) for _ in processes)
    for process in processes:
        process.join(seconds)
    return [got[rank] for rank in range(world)]


def _process(start, config, rank, world, port, outcomes):
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world),
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
    }  # fmt: skip
    try:
        start(config, console=Console(file=io.StringIO()))
        outcomes.put((rank, "done"))
    except BaseException as error:  # noqa: BLE001 - KeyboardInterrupt is an outcome, too
        outcomes.put((rank, f"{type(error).__name__}: {error}"))


def together(config, world=2, start=train):
    """`forked` without trouble; the run's folder."""
    assert forked(config, world, start=start) == ["done"] * world
    return RunFolder(config.out)


def state(run):
    return {name: tensor.double() for name, tensor in load_tensors(run.last)[0].items()}


def gradients_agree(one, other):
    """Of the last update: what Adam keeps with a first beta of 0, or of the first one whatever the beta."""
    for name, g in state(one).items():
        if name.endswith("exp_avg"):
            assert torch.allclose(g, state(other)[name], atol=1e-5 * max(1, g.abs().max())), name


def weights_agree(one, other, start, share=0.03):
    """They differ by little of the way they have come. Not each for itself: Adam makes a whole step of a
    gradient that is 0 but for rounding."""
    ones, others, starts = state(one), state(other), state(start)
    assert ones.keys() == others.keys()
    for letter in ("f", "f_ema", "G", "D", "delta"):
        names = [name for name in ones if name.startswith(f"{letter}.") and "weight" in name]
        apart = sum((ones[name] - others[name]).square().sum() for name in names)
        way = sum((ones[name] - starts[name]).square().sum() for name in names)
        assert apart.sqrt() < share * way.sqrt(), letter


GENTLE = {"lr_f": 2e-4, "collapse_variation": 0.0, "eval_every": 100, "sample_every": 100}
