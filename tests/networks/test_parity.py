"""Our networks against the authors' own code, run beside ours: REDOSEG_REFERENCE names a checkout of it.

    git clone https://github.com/mickaelChen/ReDO /somewhere/ReDO
    REDOSEG_REFERENCE=/somewhere/ReDO pytest tests/test_parity.py -s

Their licence is non-commercial: nothing of it is in this repository. What is here is the key map, their
parameters' names to ours.
"""

import importlib.util
import os
import warnings
from pathlib import Path

import pytest
import torch
from torch import nn

from redoseg.method.compositing import redraw
from redoseg.networks.code_encoder import CodeEncoder
from redoseg.networks.discriminator import Discriminator
from redoseg.networks.generator import RegionGenerator
from redoseg.networks.layers import normalise_spectrum
from redoseg.networks.mask import MaskNetwork

REFERENCE = os.environ.get("REDOSEG_REFERENCE", "")

pytestmark = pytest.mark.skipif(
    not (Path(REFERENCE) / "models.py").is_file(),
    reason="REDOSEG_REFERENCE names no checkout of the authors' code (github.com/mickaelChen/ReDO)",
)

TOLERANCE = 1e-5
SIZE = 128  # the only one that theirs knows
CODE_SIZE = 32
BATCH = 2


@pytest.fixture(scope="module")
def models():
    spec = importlib.util.spec_from_file_location("authors_models", Path(REFERENCE) / "models.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def trained(build, *x):
    """One of their networks, made less special than at its start: norms off 1 and 0, attention switched on,
    power iterations on their way. In eval mode, so that none goes on."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.filterwarnings("ignore", ".*torch.nn.utils.(parametrizations.)?spectral_norm", FutureWarning)
        network = build()
        for name, p in network.named_parameters():
            if name.endswith("selfAtt.gamma"):
                p.fill_(0.7)
        for module in network.modules():
            if isinstance(module, nn.InstanceNorm2d) and module.affine:
                module.weight.uniform_(0.5, 1.5)
                module.bias.uniform_(-0.5, 0.5)
        for _ in range(2):
            network(*x)
    return network.eval()


# Names


def layer(ours, theirs):
    """A layer with weight and, where there is one, bias, without spectral norm."""
    return {f"{ours}.{part}": f"{theirs}.{part}" for part in ("weight", "bias")}


def spectral(ours, theirs):
    """Old spectral norm to new."""
    return {
        f"{ours}.bias": f"{theirs}.bias",
        f"{ours}.weight": f"{theirs}.weight_orig",
        f"{ours}.u": f"{theirs}.weight_u",
        f"{ours}.v": f"{theirs}.weight_v",
    }


def attention(ours, theirs):
    pairs = {"query": "f", "key": "g", "value": "h", "out": "o"}
    names = {f"{ours}.gain": f"{theirs}.gamma"}
    for our, their in pairs.items():
        names |= spectral(f"{ours}.{our}", f"{theirs}.{their}")
    return names


def names_of_f(blocks):
    names: dict[str, str] = {}
    for ours, theirs in ((0, 1), (1, 2), (3, 4), (4, 5), (6, 7), (7, 8)):
        names |= layer(f"encoder.{ours}", f"cnn.0.mods.{theirs}")
    for k in range(blocks):
        our_block, their_block = f"encoder.{9 + k}", f"cnn.{1 + k}"
        pairs = {"conv1": "blocs.0", "norm1": "blocs.1", "conv2": "blocs.3", "norm2": "activationF.0"}
        for our, their in pairs.items():
            names |= layer(f"{our_block}.{our}", f"{their_block}.{their}")
    for k in range(4):
        names |= layer(f"pyramid.projections.{k}", f"psp.{k}.1")
    tail = {"decoder.0": 1, "decoder.1": 2, "decoder.3": 5, "decoder.4": 6, "head": 9}
    for our, place in tail.items():
        names |= layer(our, f"out.mods.{place}")
    return names


def names_of_G():
    names = layer("first", "dense") | attention("attention", "selfAtt") | spectral("out", "convOut")
    for k in range(5):
        ours = f"blocks.{k}"
        names |= spectral(f"{ours}.conv1", f"convA.{k}.1") | spectral(f"{ours}.conv2", f"convB.{k}")
        names |= spectral(f"{ours}.shortcut", f"sc.{k}.1")
        for norm, letter in (("norm1", "A"), ("norm2", "B")):
            names |= layer(f"{ours}.{norm}.scale", f"gamma{letter}.{k}")
            names |= layer(f"{ours}.{norm}.shift", f"beta{letter}.{k}")
    return names | layer("norm.scale", "gammaOut") | layer("norm.shift", "betaOut")


def names_of_trunk(ours, theirs):
    """`ours`: the blocks' numbers; `theirs`: the names of each block and its shortcut."""
    names: dict[str, str] = {}
    for our, (block, shortcut) in zip(ours, theirs, strict=True):
        conv1, conv2 = (0, 2) if our == 0 else (1, 3)  # the first block has no ReLU before it
        names |= spectral(f"trunk.layers.{our}.conv1", f"{block}.{conv1}")
        names |= spectral(f"trunk.layers.{our}.conv2", f"{block}.{conv2}")
        names |= spectral(f"trunk.layers.{our}.shortcut", f"{shortcut}.1")
    return names


def names_of_D(*, attentive):
    ours = [0, *range(2, 7)] if attentive else list(range(6))
    theirs = [("bloc0", "sc0"), *((f"blocs.{k}", f"sc.{k}") for k in range(5))]
    names = names_of_trunk(ours, theirs) | layer("head", "dense")
    return names | attention("trunk.layers.1", "selfAtt") if attentive else names


def names_of_delta():
    theirs = [(f"net.blocs.{k}", f"net.sc.{k}") for k in range(6)]
    return names_of_trunk(range(6), theirs) | layer("heads", "net.dense")


def take_over(ours, theirs, names):
    """Their state into our network: every one of their tensors is used once, and none of ours is left."""
    state, place = theirs.state_dict(), ours.state_dict()
    taken = {our: their for our, their in names.items() if their in state}
    assert sorted(taken.values()) == sorted(state)
    assert set(taken) == place.keys() - {"order"}
    # Their z -> scale and shift are 1x1 convolutions: (C, code_size, 1, 1).
    loaded = {our: state[their].reshape(place[our].shape) for our, their in taken.items()}
    ours.load_state_dict({"order": place["order"], **loaded} if "order" in place else loaded)
    return ours.eval()


def assert_equal(what, ours, theirs):
    difference = (ours - theirs).abs().max().item()
    print(f"\n{what}: largest difference {difference:.1e}, of outputs up to {theirs.abs().max():.2g}")
    assert ours.shape == theirs.shape
    assert theirs.std() > 1e-3
    assert difference < TOLERANCE


def pictures():
    """Coarse blobs and fine noise: D should see more than grey on average."""
    coarse = torch.rand(BATCH, 3, 6, 6) * 2 - 1
    return nn.functional.interpolate(coarse, size=SIZE, mode="bilinear") + torch.randn(3, SIZE, SIZE) * 0.1


# Parity


@pytest.mark.parametrize("n", [2, 3])
def test_f(models, n):
    x = pictures()
    theirs = trained(lambda: models._netEncM(sizex=SIZE, nMasks=n, nRes=3, nf=64), x)
    ours = take_over(MaskNetwork(n=n), theirs, names_of_f(blocks=3))
    with torch.no_grad():
        assert_equal(f"f, n = {n}", ours(x), theirs(x))


@pytest.mark.parametrize(("width", "attentive"), [(32, True), (32, False), (64, True)])
def test_G(models, width, attentive):
    """Theirs returns pixels times mask, ours the pixels."""
    masks = torch.rand(BATCH, 2, SIZE, SIZE).mul(4).softmax(1)
    z = torch.randn(BATCH, 2, CODE_SIZE, 1, 1)
    their_G = trained(
        lambda: models._netGenX(sizex=SIZE, nc=CODE_SIZE, nf=width, nMasks=2, selfAtt=attentive), masks, z
    )
    with torch.no_grad():
        theirs = their_G(masks, z)
    for k, their_G_k in enumerate(their_G.net):
        G_k = RegionGenerator(SIZE, width, CODE_SIZE, "instance", attentive)
        normalise_spectrum(G_k)
        take_over(G_k, their_G_k, names_of_G())
        mask, I = masks[:, k : k + 1], pictures()
        with torch.no_grad():
            ours = G_k(mask, z[:, k].flatten(1))
        what = f"G_{k}, width {width}, {'attention' if attentive else 'no attention'}"
        assert_equal(what, ours * mask, theirs[:, k])
        assert_equal(f"an image redrawn by {what}", redraw(I, mask, ours), theirs[:, k] + (1 - mask) * I)


@pytest.mark.parametrize("attentive", [True, False])
def test_D(models, attentive):
    x = pictures()
    theirs = trained(lambda: models._resDiscriminator128(nf=64, selfAtt=attentive), x)
    D = Discriminator(SIZE, 64, attentive)
    normalise_spectrum(D)
    take_over(D, theirs, names_of_D(attentive=attentive))
    with torch.no_grad():
        assert_equal(f"D, {'attention' if attentive else 'no attention'}", D(x), theirs(x)[:, 0])


@pytest.mark.parametrize("n", [2, 3])
def test_delta(models, n):
    x = pictures()
    theirs = trained(lambda: models._netRecZ(sizex=SIZE, nc=CODE_SIZE, nf=64, nMasks=n), x)
    delta = CodeEncoder(n, SIZE, 64, CODE_SIZE)
    normalise_spectrum(delta)
    take_over(delta, theirs, names_of_delta())
    with torch.no_grad():
        assert_equal(f"delta, n = {n}", delta(x), theirs(x)[..., 0, 0])
