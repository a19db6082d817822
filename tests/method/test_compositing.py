import numpy as np
import pytest
import torch

from redoseg.method.compositing import assemble, choose_regions, redraw


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def random_masks(batch, n, generator):
    return torch.randn(batch, n, 6, 5, generator=generator).softmax(1)


@pytest.mark.parametrize(("batch", "n"), [(2, 2), (5, 2), (25, 2), (7, 3), (25, 3), (2, 3), (4, 5), (12, 4)])
def test_regions_are_balanced_and_ascending(batch, n, generator):
    for _ in range(20):
        regions = choose_regions(batch, n, generator)
        assert regions.shape == (batch,)
        assert regions.tolist() == sorted(regions.tolist())
        counts = np.bincount(regions.numpy(), minlength=n)
        assert len(counts) == n  # none beyond n - 1
        assert set(counts) <= {batch // n, batch // n + 1}


@pytest.mark.parametrize(("batch", "n"), [(5, 2), (7, 3), (2, 3), (4, 5)])
def test_each_region_is_as_likely_as_another(batch, n, generator):
    draws = 4000
    counts = torch.cat([choose_regions(batch, n, generator) for _ in range(draws)]).bincount(minlength=n)
    share = counts.numpy() / (batch * draws)
    # A region's count varies by one image at most: its deviation is at most a fair coin's.
    deviation = 0.5 / np.sqrt(draws) / batch
    np.testing.assert_allclose(share, 1 / n, atol=5 * deviation)


def test_regions_follow_from_the_generator():
    draws = [
        [choose_regions(5, 2, generator).tolist() for _ in range(20)]
        for generator in (torch.Generator().manual_seed(seed) for seed in (3, 3, 4))
    ]
    assert draws[0] == draws[1]
    assert draws[0] != draws[2]


def test_redraw_is_the_papers_sum(generator):
    """G_F = sum_k M^k * V_k, with V_k = I but for the region redrawn, pixel by pixel."""
    n, i = 3, 1
    M = random_masks(2, n, generator)
    I, V_i = (torch.rand(2, 3, 6, 5, generator=generator) * 2 - 1 for _ in range(2))
    expected = np.zeros(I.shape)
    for b, c, y, x in np.ndindex(*I.shape):
        for k in range(n):
            V_k = V_i if k == i else I
            expected[b, c, y, x] += float(M[b, k, y, x]) * float(V_k[b, c, y, x])
    np.testing.assert_allclose(redraw(I, M[:, i : i + 1], V_i), expected, atol=1e-6)


def test_redraw_leaves_other_pixels_as_they_are(generator):
    image, pixels = (torch.rand(2, 3, 6, 5, generator=generator) * 2 - 1 for _ in range(2))
    mask = (torch.rand(2, 1, 6, 5, generator=generator) > 0.5).float()
    drawn = redraw(image, mask, pixels)
    inside = mask.expand_as(image) == 1
    assert torch.equal(drawn[~inside], image[~inside])
    torch.testing.assert_close(drawn[inside], pixels[inside], atol=1e-6, rtol=0)


def test_redraw_stays_within_the_range_of_images(generator):
    image = torch.randint(2, (4, 3, 6, 5), generator=generator) * 2.0 - 1
    pixels = torch.randint(2, (4, 3, 6, 5), generator=generator) * 2.0 - 1
    mask = torch.rand(4, 1, 6, 5, generator=generator)
    assert redraw(image, mask, pixels).abs().max() <= 1


@pytest.mark.parametrize("n", [2, 3])
def test_assemble_is_the_sum_over_regions(n, generator):
    M = random_masks(2, n, generator)
    V = torch.rand(2, n, 3, 6, 5, generator=generator) * 2 - 1
    expected = np.zeros((2, 3, 6, 5))
    for b, k in np.ndindex(2, n):
        expected[b] += M[b, k].numpy().astype(float)[None] * V[b, k].numpy()
    np.testing.assert_allclose(assemble(M, V), expected, atol=1e-6)


def test_assembling_one_picture_gives_the_picture(generator):
    picture = torch.rand(2, 3, 6, 5, generator=generator) * 2 - 1
    V = picture[:, None].expand(-1, 3, -1, -1, -1)
    torch.testing.assert_close(assemble(random_masks(2, 3, generator), V), picture)


def test_assemble_with_hard_masks_picks_pixels(generator):
    chosen = torch.randint(3, (2, 6, 5), generator=generator)
    V = torch.rand(2, 3, 3, 6, 5, generator=generator)
    hard = torch.nn.functional.one_hot(chosen, 3).movedim(3, 1).float()
    picked = np.take_along_axis(V.numpy(), chosen.numpy()[:, None, None], axis=1)[:, 0]
    np.testing.assert_array_equal(assemble(hard, V), picked)
