import numpy as np
import pytest
import torch

from redoseg.method.losses import (
    binarisation,
    code_error,
    discriminator_hinge,
    generator_hinge,
    minimal_region,
)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def tensor(array):
    return torch.tensor(np.asarray(array), dtype=torch.float32)


def masks(rng, batch=4, n=3):
    m = rng.dirichlet(np.ones(n), (batch, 5, 6))
    return np.moveaxis(m, 3, 1)


def test_the_discriminators_hinge(rng):
    real, fake = rng.normal(0, 2, 7), rng.normal(0, 2, 11)  # n fakes per image in the authors' form
    # maximise min(0, -1 + D(I)) + min(0, -1 - D(G_F))
    expected = -np.minimum(0, -1 + real).mean() - np.minimum(0, -1 - fake).mean()
    assert discriminator_hinge(tensor(real), tensor(fake)).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("real", "fake", "loss"),
    [([1, 3], [-1, -4], 0), ([0, 0], [0, 0], 2), ([0.5], [-3], 0.5), ([5], [1], 2), ([-1, 1], [-1], 1)],
)
def test_the_discriminators_hinge_by_hand(real, fake, loss):
    assert discriminator_hinge(tensor(real), tensor(fake)).item() == pytest.approx(loss)


def test_the_generators_hinge(rng):
    fake = rng.normal(size=9)
    assert generator_hinge(tensor(fake)).item() == pytest.approx(-fake.mean(), rel=1e-6)
    assert generator_hinge(tensor(fake + 1)).item() == pytest.approx(-fake.mean() - 1, rel=1e-6)


def test_the_codes_error_is_the_squared_norm_of_what_was_redrawn(rng):
    recovered, drawn = rng.normal(size=(2, 6, 3, 5))
    redrawn = rng.integers(0, 2, (6, 3))
    expected = 0.0
    for image in range(6):
        for region in range(3):
            if redrawn[image, region]:
                expected += float(np.linalg.norm(recovered[image, region] - drawn[image, region])) ** 2 / 6
    found = code_error(tensor(recovered), tensor(drawn), tensor(redrawn))
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_the_codes_error_gives_regions_that_were_not_redrawn_no_gradient(rng):
    recovered = tensor(rng.normal(size=(4, 2, 5))).requires_grad_()
    redrawn = tensor([[1, 0], [0, 1], [1, 0], [0, 1]])
    code_error(recovered, torch.zeros(4, 2, 5), redrawn).backward()
    assert torch.equal((recovered.grad != 0).all(2).float(), redrawn)
    assert torch.equal((recovered.grad != 0).any(2).float(), redrawn)


@pytest.mark.parametrize("n", [2, 3])
@pytest.mark.parametrize("size_z", [16, 32])
def test_the_codes_weight_per_form(rng, n, size_z):
    """lambda_z / (n * size_z) of the squared norm: over n the mean of one region's entries, or over all."""
    recovered, drawn = rng.normal(size=(2, 6, n, size_z))
    error = (recovered - drawn) ** 2
    regions = rng.integers(0, n, 6)

    one = code_error(tensor(recovered), tensor(drawn), torch.eye(n)[regions]) / (n * size_z)
    assert one.item() == pytest.approx(error[np.arange(6), regions].mean() / n, rel=1e-5)

    every = code_error(tensor(recovered), tensor(drawn), torch.ones(6, n)) / (n * size_z)
    assert every.item() == pytest.approx(error.mean(), rel=1e-5)


@pytest.mark.parametrize("minimum", [0.05, 0.2, 1 / 3])
def test_minimal_region(rng, minimum):
    M = masks(rng)
    M[0] = np.array([0.02, 0.9, 0.08])[:, None, None]
    sizes = M.mean((2, 3))
    expected = np.maximum(0, minimum - sizes).sum(1).mean()
    assert expected > 0
    assert minimal_region(tensor(M), minimum).item() == pytest.approx(expected, rel=1e-4)


def test_minimal_region_is_zero_where_all_are_large_enough(rng):
    M = tensor(masks(rng)).requires_grad_()
    loss = minimal_region(M, 0.1)
    loss.backward()
    assert loss == 0
    assert not M.grad.any()


def test_minimal_region_is_per_image_and_two_sided():
    # On average over the batch each region has half; in each image one has nothing.
    M = torch.zeros(2, 2, 4, 4)
    M[0, 0] = M[1, 1] = 1
    assert minimal_region(M, 0.25).item() == pytest.approx(0.25)
    assert minimal_region(M.flip(1), 0.25).item() == pytest.approx(0.25)


def test_binarisation(rng):
    M = masks(rng)
    expected = np.where(M < 0.5, M, 1 - M).mean()
    assert binarisation(tensor(M)).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("value", "loss"), [(0, 0), (1, 0), (0.5, 0.5), (0.25, 0.25), (0.75, 0.25)])
def test_binarisation_by_hand(value, loss):
    m = torch.full((2, 1, 3, 3), float(value))
    assert binarisation(torch.cat((m, 1 - m), 1)) == loss


@pytest.mark.parametrize(
    "loss",
    [
        lambda x: discriminator_hinge(x[:2, 0], x[2:, 0]),
        lambda x: generator_hinge(x[:, 0]),
        lambda x: code_error(x[:, None], torch.zeros(4, 1, 3), torch.ones(4, 1)),
        lambda x: minimal_region(x[:, :2, None, None], 0.2),
        lambda x: binarisation(x[:, :2, None, None]),
    ],
)
def test_what_is_not_a_number_shows(loss):
    """A hinge must not hide it: training stops before the weights are lost."""
    x = torch.rand(4, 3)
    assert loss(x).isfinite()
    x[1, 0] = float("nan")
    assert loss(x).isnan()
