"""f, the mask network."""

import pytest
import torch

from redoseg.networks.layers import (
    initialise,
)
from redoseg.networks.mask import MaskNetwork
from small_networks import CASES, built, config, inputs


@pytest.mark.parametrize("n", [2, 3, 5])
@pytest.mark.parametrize(("height", "width"), [(32, 48), (36, 100), (44, 32), (60, 92), (128, 40)])
def test_masks_are_positive_and_sum_to_one_at_any_size(n, height, width):
    f = MaskNetwork(n, 4, 1, 32)
    images = torch.rand(2, 3, height, width) * 2 - 1
    with torch.no_grad():
        masks = f(images)
    assert masks.shape == (2, n, height, width)
    assert masks.min() > 0
    assert (masks.sum(1) - 1).abs().max() < 1e-6


@pytest.mark.parametrize(("height", "width"), [(28, 64), (64, 28), (33, 64), (64, 50), (0, 32)])
def test_other_sizes_of_image_are_refused(height, width):
    with pytest.raises(ValueError, match=f"images are {width}x{height}: .* multiples of 4, from 32"):
        MaskNetwork(2, 4, 1)(torch.zeros(1, 3, height, width))


@pytest.mark.parametrize("n", [-1, 0, 1])
def test_less_than_two_regions_are_refused(n):
    with pytest.raises(ValueError, match=f"n is {n}: .* at least 2 regions"):
        MaskNetwork(n)


def initial_sizes(n, seed, init, centre):
    """The mean of each mask over a batch of noise, for an f that saw no training."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        f = MaskNetwork(n, 8, 2, 32)
        if init == "orthogonal":
            initialise(f, 0.8)
    if centre:
        f.centre()
    with torch.no_grad():
        return f(*inputs(CASES["f n=2"])).mean((0, 2, 3))


@pytest.mark.parametrize("n", [2, 3, 4])
@pytest.mark.parametrize("init", ["pytorch", "orthogonal"])
def test_centred_masks_start_near_1_over_n(n, init):
    off = {
        centre: max((initial_sizes(n, seed, init, centre) - 1 / n).abs().max() for seed in range(8))
        for centre in (True, False)
    }
    assert off[True] < 0.02
    assert off[False] > 0.04  # so there was something to centre


@pytest.mark.parametrize("n", [2, 3])
def test_build_centres_f_where_asked(n):
    head = {centred: built(config(n=n, centred_start=centred), 0)["f"].head for centred in (True, False)}
    assert head[True].weight.mean((1, 2, 3)).abs().max() < 1e-8
    assert head[True].bias.abs().max() == 0
    assert head[False].weight.mean((1, 2, 3)).abs().max() > 1e-4
    assert head[False].bias.abs().max() > 0


def test_the_pyramid_is_four_channels_more_and_a_file_knows_of_it(tmp_path):
    def parameters_of(**options):
        return sum(p.numel() for p in MaskNetwork(width=8, blocks=1, size=32, **options).parameters())

    # By hand: four projections of 32 channels with a bias; what 36 in place of 32 channels cost later.
    later = [9 * (36 * 18 - 32 * 16) + 2 * 2, 9 * (18 * 9 - 16 * 8) + 2 * 1, 49 * 1]
    assert parameters_of() - parameters_of(pyramid=False) == 4 * 33 + sum(later)
    without = MaskNetwork(width=4, blocks=1, size=32, pyramid=False).eval()
    without.save_pretrained(tmp_path)
    x = torch.rand(1, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        assert torch.equal(MaskNetwork.from_pretrained(tmp_path)(x), without(x))


def test_f_from_pretrained_is_the_f_saved(tmp_path, monkeypatch):
    def refuse(*_):
        raise AssertionError("a local folder needs no network")

    monkeypatch.setattr("socket.socket.connect", refuse)
    f = MaskNetwork(n=3, width=4, blocks=1, size=64)
    f.order.copy_(torch.tensor([2, 0, 1]))
    f.save_pretrained(tmp_path / "model")
    assert {path.name for path in (tmp_path / "model").iterdir()} >= {"config.json", "model.safetensors"}

    loaded = MaskNetwork.from_pretrained(tmp_path / "model")
    assert (loaded.n, loaded.size) == (3, 64)
    assert loaded.order.tolist() == [2, 0, 1]
    x = torch.rand(1, 3, 32, 36) * 2 - 1
    with torch.no_grad():
        assert torch.equal(loaded(x), f.eval()(x))
        assert torch.equal(loaded.ordered_masks(x), f(x)[:, [2, 0, 1]])


def test_a_models_readme_says_what_the_folder_is_and_claims_nothing(tmp_path):
    MaskNetwork(width=4, blocks=1, size=32).save_pretrained(tmp_path)
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    front, body = text.removeprefix("---\n").split("\n---\n", 1)
    assert "library_name: redoseg" in front.splitlines()
    assert "- unsupervised" in front.splitlines()
    assert "redoseg segment THIS-FOLDER PHOTOS --out MASKS" in body
    assert "pushed" not in body
    assert "{{" not in text
    assert all(f"`{name}`" in body for name in ("config.json", "model.safetensors", "mask.onnx"))
