"""--compile graphs: replayed updates are those that would have been made one kernel at a time."""

import pytest
import torch

from redoseg.config import TrainConfig
from redoseg.errors import ConfigError
from redoseg.method import algorithm
from redoseg.method.algorithm import ReDO
from redoseg.method.drawing import RandomDraws
from redoseg.method.recording import should_record
from redoseg.training import mask_learner
from redoseg.training.mask_learner import MaskLearner

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

RECIPES = {
    "default": {"recipe": "default"},
    "paper": {"recipe": "paper"},
    "authors": {"recipe": "authors"},
    "everything": {
        "r1": 1.0, "r1_every": 2, "diffaugment": "all", "shift": 0.2, "mask_noise": 0.5, "binarise": 0.1,
        "binarise_from": 1, "min_region": 0.1, "f_jitter": 0.5, "f_jitter_hue": 0.5,
    },
}  # fmt: skip


class Direct:
    """What a recording does, without a GPU: the loss and its gradients, anew at each call."""

    def __init__(self, loss, parameters, networks):
        self.loss, self.parameters = loss, list(parameters)

    def __call__(self, *inputs):
        for parameter in self.parameters:
            parameter.grad = None
        loss, metrics = self.loss(*inputs)
        loss.backward()
        return loss.detach(), {name: value.detach() for name, value in metrics.items()}


def play(device, compile, recipe, steps=4, precision="float32"):
    """A game of some steps on noise: its metrics and its weights, in float64 on the CPU."""
    options = {"width": 8, "g_width": 8, "f_width": 8, "code_size": 8, "lr": 1e-4, "lr_f": 1e-4} | recipe
    config = TrainConfig.of(
        data="noise", out="nowhere", size=32, batch=5, compile=compile, precision=precision, **options
    ).resolved()
    game, random = ReDO(config, 0, device), torch.Generator().manual_seed(1)
    logged = []
    for step in range(steps):
        I = torch.rand(5, 3, 32, 32, generator=random).to(device) * 2 - 1
        draws = RandomDraws.sample(config, random, step)
        metrics = game.generator_update(I, draws, step)
        metrics |= game.discriminator_update(I.flip(0), I, draws, step)
        logged.append([value.item() for value in metrics.values()])
    game.check_finite(steps)
    tensors = {
        f"{name}.{key}": value.double().cpu()
        for name, network in game.networks.items().items()
        for key, value in network.state_dict().items()
    }
    return torch.tensor(logged, dtype=torch.float64), tensors


def share_apart(ours, others, distance):
    """The share of all numbers that differ by more. Some always do: Adam's steps have the size of the rate
    (1e-4), whatever the gradient, and that of a bias before a norm is rounding alone."""
    apart = torch.cat([(ours[name] - others[name]).abs().flatten() > distance for name in others])
    return apart.double().mean().item()


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_the_way_of_replayed_updates_is_the_same(recipe, monkeypatch):
    logged, weights = play(CPU, "off", recipe)
    monkeypatch.setattr(algorithm, "should_record", lambda *_, **__: True)
    monkeypatch.setattr(algorithm, "RecordedLoss", Direct)
    logged_there, weights_there = play(CPU, "off", recipe)
    torch.testing.assert_close(logged_there, logged, rtol=1e-4, atol=1e-5)
    assert share_apart(weights_there, weights, 2e-6) < 0.01


@needs_cuda
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_replays_learn_what_single_kernels_do(recipe, precision):
    logged, weights = play(CUDA, "off", recipe, precision=precision)
    logged_there, weights_there = play(CUDA, "graphs", recipe, precision=precision)
    close = 2e-3 if precision == "float32" else 4e-2
    torch.testing.assert_close(logged_there, logged, rtol=close, atol=close)
    assert share_apart(weights_there, weights, 4e-5) < (0.05 if precision == "float32" else 0.2)


def learn(device, compile):
    config = TrainConfig.of(
        data="noise", out="nowhere", size=32, batch=4, f_width=8, f_blocks=1, lr_f=1e-3, compile=compile
    ).resolved()
    learner, random = MaskLearner(config, 0, device), torch.Generator().manual_seed(1)
    losses = []
    for step in range(5):
        images = torch.rand(4, 3, 32, 32, generator=random).to(device) * 2 - 1
        masks = torch.rand(4, 1, 32, 32, generator=random).to(device)
        metrics = learner.update(images, torch.cat((masks, 1 - masks), 1), torch.ones_like(masks), step)
        losses.append(metrics["cross_entropy"].item())
    learner.check_finite(5)
    return losses, [p.detach().double().cpu() for p in learner.f.parameters()]


@pytest.mark.parametrize("where", ["cpu", pytest.param("cuda", marks=needs_cuda)])
def test_a_student_learns_the_same_from_replays(where, monkeypatch):
    device = torch.device(where)
    losses, weights = learn(device, "off")
    if where == "cpu":
        monkeypatch.setattr(mask_learner, "should_record", lambda *_, **__: True)
        monkeypatch.setattr(mask_learner, "RecordedLoss", Direct)
    losses_there, weights_there = learn(device, "off" if where == "cpu" else "graphs")
    assert losses_there == pytest.approx(losses, rel=1e-3)
    for value, there in zip(weights, weights_there, strict=True):
        torch.testing.assert_close(there, value, rtol=1e-2, atol=2e-3)


@pytest.mark.parametrize(
    ("mode", "device", "alone", "expected"),
    [
        ("auto", CUDA, True, True), ("graphs", CUDA, True, True), ("auto", CUDA, False, False),
        ("auto", CPU, True, False), ("on", CUDA, True, False), ("off", CUDA, True, False),
    ],
)  # fmt: skip
def test_who_records(mode, device, alone, expected):
    assert should_record(mode, device, alone=alone) is expected


@pytest.mark.parametrize(("device", "alone"), [(CPU, True), (CUDA, False)])
def test_what_cannot_be_recorded_is_one_clear_error(device, alone):
    with pytest.raises(
        ConfigError, match=r"^--compile graphs needs a CUDA device and one process: use --comp"
    ):
        should_record("graphs", device, alone=alone)
