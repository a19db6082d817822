"""Several processes train as one does: the same updates, one set of files, and none is left waiting."""

import dataclasses
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from redoseg.config import TrainConfig
from redoseg.errors import ConfigError, DivergenceError
from redoseg.method.algorithm import ReDO
from redoseg.method.drawing import RandomDraws
from redoseg.models.run_folder import RunFolder
from redoseg.models.weights import load_tensors
from redoseg.training import distributed
from redoseg.training.distributed import ProcessGroup, SingleProcess
from redoseg.training.redo import check_shares
from refusals import refusal
from run_compared import log
from several_processes import GENTLE, forked, gradients_agree, together, weights_agree
from tinyruns import TINY, photos, tiny, trained

pytestmark = [pytest.mark.training, pytest.mark.skipif(not sys.platform.startswith("linux"), reason="forks")]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return photos(tmp_path_factory.mktemp("data") / "photos", val=2)


@pytest.fixture
def no_model(monkeypatch):
    """Runs leave no ONNX file: exporting takes longer than these runs do."""
    monkeypatch.setattr("redoseg.training.checkpoints.save_model", lambda f, folder, *_: folder.mkdir())


# Equal to one process


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"recipe": "paper", "flip": True, "init": "pytorch"},
        {"recipe": "authors", "n": 3, "g_norm": "batch", "mask_noise": 0.1},
    ],
    ids=["default", "batch norm, mirrored", "each region"],
)
def test_two_processes_learn_what_one_does(data, tmp_path, options, no_model):
    """The first update's gradients; then, both going on, the weights after four steps, and the log."""
    alone, both = (
        tiny(data, tmp_path / name, **GENTLE | {"steps": 1} | options) for name in ("alone", "both")
    )
    one, two = trained(alone), together(both)
    gradients_agree(one, two)
    start = RunFolder(shutil.copytree(one.path, tmp_path / "start"))
    trained(dataclasses.replace(alone, steps=4))
    together(dataclasses.replace(both, steps=4))
    weights_agree(one, two, start)
    assert [line["step"] for line in log(two)] == [1, 2, 3, 4]
    for ours, theirs in zip(log(one), log(two), strict=True):
        assert ours["losses"] == pytest.approx(theirs["losses"], abs=2e-2)
        assert ours["region_sizes"] == pytest.approx(theirs["region_sizes"], abs=1e-2)


@pytest.mark.parametrize("worlds", [(1, 2), (2, 1), pytest.param((2, 4), marks=pytest.mark.slow)])
def test_a_run_goes_on_with_another_number_of_processes(data, tmp_path, worlds, no_model):
    config = tiny(data, tmp_path / "broken", **GENTLE)
    for world, steps in zip(worlds, (2, 4), strict=True):
        together(dataclasses.replace(config, steps=steps), world)
        if steps == 2:
            start = RunFolder(shutil.copytree(config.out, tmp_path / "start"))
    unbroken = together(tiny(data, tmp_path / "unbroken", **GENTLE))
    weights_agree(unbroken, RunFolder(config.out), start)


def test_the_parts_of_a_batch_are_the_batch():
    config = TrainConfig.of(data="digit", out="run", **TINY | {"batch": 6, "n": 3, "mask_noise": 0.1})
    codes = RandomDraws.sample(config, torch.Generator().manual_seed(0))
    parts = [codes.part(rank, 2) for rank in range(2)]
    for name in ("regions", "z", "noise"):
        whole = torch.stack([getattr(part, name) for part in parts], 1).flatten(0, 1)
        assert torch.equal(whole, getattr(codes, name))
    assert all(part.regions.tolist() == sorted(part.regions.tolist()) for part in parts)
    assert [part.regions.bincount().tolist() for part in parts] == [[1, 1, 1], [1, 1, 1]]


# Files


def test_there_is_one_set_of_files(data, tmp_path):
    """Those of a run in one process, each written once."""
    one, two = trained(tiny(data, tmp_path / "one")), together(tiny(data, tmp_path / "two"))
    names = [sorted(file.relative_to(run.path) for file in run.path.rglob("*")) for run in (one, two)]
    assert names[0] == names[1]
    assert [line["step"] for line in log(two)] == [1, 2, 3, 4]


def test_without_a_launcher_nothing_is_joined(data, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda *_, **__: 1 / 0)
    trained(tiny(data, tmp_path / "run", steps=1))
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")  # torchrun with one process
    trained(tiny(data, tmp_path / "run", steps=2))


# What stops one stops all


def said(outcomes):
    """The one error that is printed."""
    told = [outcome for outcome in outcomes if not outcome.startswith("ElsewhereError")]
    assert len(told) == 1, outcomes
    return told[0]


def test_a_collapse_is_one_for_all(data, tmp_path):
    config = tiny(data, tmp_path / "run", collapse_below=0.5, max_restarts=1)
    assert said(forked(config)).startswith("CollapseError: training collapsed in every attempt, 2 in all")
    assert [line["event"] for line in log(RunFolder(config.out))] == ["collapse"] * 2


def test_a_loss_that_is_not_finite_in_one_process_stops_all(data, tmp_path, monkeypatch):
    """Nothing is saved after it, though the first process has seen nothing."""
    config = tiny(data, tmp_path / "run", save_every=1)

    def check(self, step):
        if torch.distributed.get_rank() == 1 and step == 3:
            raise DivergenceError("not finite")

    monkeypatch.setattr(ReDO, "check_finite", check)
    assert said(forked(config)) == "DivergenceError: not finite"
    assert load_tensors(RunFolder(config.out).last)[1]["step"] == 2


def test_ctrl_c_in_one_process_is_one_for_all(data, tmp_path, monkeypatch):
    config, real = tiny(data, tmp_path / "run"), ReDO.discriminator_update

    def update(self, I_real, I_input, draws, t):
        if torch.distributed.get_rank() == 1 and t == 2:
            signal.raise_signal(signal.SIGINT)
        return real(self, I_real, I_input, draws, t)

    monkeypatch.setattr(ReDO, "discriminator_update", update)
    assert forked(config) == ["KeyboardInterrupt: "] * 2
    assert load_tensors(RunFolder(config.out).last)[1]["step"] == 3


def test_the_minutes_of_the_first_process_count(data, tmp_path):
    run = together(tiny(data, tmp_path / "run", steps=1000, minutes=1e-9))
    assert load_tensors(run.last)[1]["step"] == 1


@pytest.mark.slow
def test_a_killed_process_ends_the_run_with_one_line(data, tmp_path):
    """Under torchrun itself."""
    run = RunFolder(tmp_path / "run")
    never = " ".join(f"--{what}-every 100000" for what in ("save", "eval", "sample"))
    options = (
        "--size 32 --width 4 --g-width 4 --f-width 4 --f-blocks 1 --code-size 4 --batch 4 --steps 100000 "
        f"--n 2 --collapse-every 1 --device cpu --collapse-below 0 --collapse-variation 0 {never}"
    )
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*launcher, "-m", "--", "redoseg", "train", str(data), "--out", str(run.path)]
    with subprocess.Popen(
        [*command, "--cache", str(data.parent / "cache"), *options.split()],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
    ) as process:  # fmt: skip
        began = time.monotonic()
        while process.poll() is None and not (run.metrics.is_file() and run.metrics.stat().st_size):
            assert time.monotonic() < began + 120
            time.sleep(0.1)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(children[-1]), signal.SIGKILL)
        dead = time.monotonic()
        output, errors = process.communicate(timeout=60)
    assert time.monotonic() - dead < 60
    assert process.returncode != 0
    assert output == ""
    lines = [line for line in errors.splitlines() if line.startswith("redoseg: ")]
    assert len(lines) == 1, errors
    assert re.match(
        r"redoseg: another process of the run was lost \(.+\): the same command goes on", lines[0]
    )


def member(world, local_rank=0):
    """One of so many processes, which has met none of the others."""
    group = ProcessGroup.__new__(ProcessGroup)
    group.rank, group.world, group.local_rank = local_rank, world, local_rank
    return group


# What is refused


def refused(world, **options):
    config = TrainConfig.of(data="digit", out="run", **TINY | options)
    check_shares(config, SingleProcess())
    with refusal(ConfigError) as caught:
        check_shares(config, member(world))
    return str(caught.value)


def test_a_batch_must_be_divisible(data, tmp_path):
    assert refused(2, batch=25) == "--batch 25 can't be divided among 2 processes: use 24 or 26"
    assert refused(8, batch=25) == "--batch 25 can't be divided among 8 processes: use 24 or 32"
    assert refused(8, batch=4) == "--batch 4 can't be divided among 8 processes: use 8 or 16"
    config = tiny(data, tmp_path / "run", batch=5)
    assert said(forked(config)).startswith("ConfigError: --batch 5 can't be divided")
    assert not config.out.exists()


def test_every_region_needs_an_image():
    assert "use at least 5 (--n)" in refused(2, batch=4, n=5)
    assert "use --batch 8 or --g-norm instance" in refused(4, batch=4, n=2, g_norm="batch")


@pytest.mark.parametrize(
    "options", [{}, {"n": 3}, {"g_norm": "batch"}, {"g_norm": "batch", "n": 3, "redraw": "each"}]
)
def test_what_can_be_shared_is_not_refused(options):
    config = TrainConfig.of(data="digit", out="run", **TINY | options)
    check_shares(config, member(2))


def test_a_device_of_ones_own():
    group = member(2, local_rank=1)
    device = group.device("cpu")
    assert device == torch.device("cpu")
    with pytest.raises(ConfigError, match=r"^--device meta is one device for 2 processes: use cuda or cpu$"):
        group.device("meta")


def test_joint_batch_norm_alone_is_batch_norm(monkeypatch):
    monkeypatch.setattr(distributed, "_all_reduce_sum", lambda x: x.clone())
    norm = nn.BatchNorm2d(5, affine=False)
    box = nn.Sequential(nn.BatchNorm2d(5, affine=False))
    member(1).sync_batch_norm(box)
    x = (7 + 3 * torch.randn(4, 5, 6, 6)).requires_grad_()
    again = x.detach().clone().requires_grad_()
    weights = torch.randn(4, 5, 6, 6)
    for network, images in ((norm, x), (box, again)):
        (network(images) * weights).sum().backward()
    torch.testing.assert_close(x.grad, again.grad, rtol=1e-4, atol=1e-6)
    assert box[0].state_dict().keys() == norm.state_dict().keys()
    for name, tensor in norm.state_dict().items():
        torch.testing.assert_close(box[0].state_dict()[name], tensor)
    torch.testing.assert_close(box.eval()(x), norm.eval()(x))
