"""Random changes of pictures: against what they are said to do."""

import colorsys
import math
from typing import Any

import numpy as np
import pytest
import torch

from redoseg.config import TrainConfig
from redoseg.method.augmentation import augment, rotate_hue, shift_pixels, view
from redoseg.method.drawing import RandomDraws


def pictures(count: int = 3, height: int = 16, width: int = 24) -> torch.Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(0)) * 2 - 1


def numbers(count: int, columns: int, **fixed: float) -> torch.Tensor:
    u = torch.full((count, columns), 0.5)
    for column, value in fixed.items():
        u[:, int(column.removeprefix("u"))] = value
    return u


def test_a_view_of_strength_0_is_the_picture():
    I = pictures()
    torch.testing.assert_close(view(I, torch.rand(3, 6), torch.zeros(3)), I)


def test_a_view_swaps_light_and_dark():
    """Grey pictures without slope: the negative, where the first number is below half the strength."""
    grey = pictures()[:, :1].expand(-1, 3, -1, -1)
    u = numbers(3, 6, u4=0.0)
    u[0, 0] = 0.49
    seen = view(grey, u, torch.ones(3))
    torch.testing.assert_close(seen[0], -grey[0])
    torch.testing.assert_close(seen[1:], grey[1:])


def test_half_the_views_are_swapped_at_full_strength_a_quarter_at_half():
    grey = torch.full((4000, 3, 8, 8), 0.5)
    u = torch.rand(4000, 6, generator=torch.Generator().manual_seed(1))
    u[:, 4] = 0  # no slope
    for strength in (1.0, 0.5):
        swapped = (view(grey, u, torch.full((4000,), strength)).mean((1, 2, 3)) < 0).float().mean()
        assert abs(swapped - strength / 2) < 0.03


def test_hues_are_turned():
    """By a third of a turn red becomes green, green blue: channels change places; hue moves by the angle."""
    I = pictures()
    colour = I - I.mean(1, keepdim=True)
    third = torch.full((3, 1, 1, 1), 2 * math.pi / 3)
    torch.testing.assert_close(rotate_hue(colour, third), colour.roll(1, 1), atol=1e-5, rtol=0)
    torch.testing.assert_close(
        rotate_hue(rotate_hue(colour, 0.3 * third), 0.7 * third), colour.roll(1, 1), atol=1e-5, rtol=0
    )
    red = torch.tensor([1.0, 0, 0]).reshape(1, 3, 1, 1) - 1 / 3
    there = (rotate_hue(red, torch.full((1, 1, 1, 1), math.pi / 3)) + 1 / 3).flatten().tolist()
    assert colorsys.rgb_to_hsv(*np.clip(there, 0, 1))[0] == pytest.approx(1 / 6, abs=0.01)


def test_without_hue_colours_stay_as_they_are():
    """Light changes; what a picture has beside its grey part doesn't."""
    I, u = pictures(), torch.rand(3, 6, generator=torch.Generator().manual_seed(2))
    seen = view(I, u, torch.ones(3), hue=0.0)
    torch.testing.assert_close(seen - seen.mean(1, keepdim=True), I - I.mean(1, keepdim=True))
    assert not torch.allclose(seen.mean(1), I.mean(1), atol=0.01)
    assert not torch.allclose(view(I, u, torch.ones(3), hue=0.5), seen, atol=0.01)


def test_the_slope_of_light_is_straight():
    """The second differences are 0, and its height at the border follows from strength and slope."""
    u = numbers(1, 6, u4=0.8, u5=0.0)  # downwards
    laid = view(torch.zeros(1, 3, 16, 16), u, torch.tensor([0.5]))
    assert laid[0, 0, -1, 3] == pytest.approx(0.5 * 0.8 / 2, abs=1e-6)
    assert laid.diff(n=2, dim=2).abs().max() < 1e-6
    assert laid.diff(dim=3).abs().max() < 1e-6


@pytest.mark.parametrize("share", [(0.0, 0.0), (0.25, 0.0), (-0.125, 0.5), (0.13, -0.26), (1.0, 0.0)])
def test_shifted_by_whole_pixels(share):
    I = pictures(2)
    height, width = I.shape[2:]
    down, right = round(share[0] * height), round(share[1] * width)
    expected = torch.zeros_like(I)
    for y in range(height):
        for x in range(width):
            if 0 <= y - down < height and 0 <= x - right < width:
                expected[:, :, y, x] = I[:, :, y - down, x - right]
    torch.testing.assert_close(shift_pixels(I, torch.tensor([share] * 2)), expected, atol=1e-5, rtol=0)


def test_augmentation_in_the_middle_changes_nothing_but_the_square():
    I = pictures(2, 16, 16)
    torch.testing.assert_close(augment(I, numbers(2, 7), "colour-translation"), I)
    cut = augment(I, numbers(2, 7), "cutout")
    inside = torch.zeros(16, 16, dtype=torch.bool)
    inside[4:12, 4:12] = True
    assert torch.equal(cut[..., ~inside], I[..., ~inside])
    assert (cut[..., inside] == 0).all()


def test_augmentation_of_colours():
    """By hand, in the order brightness, saturation, contrast."""
    I, u = pictures(2), torch.rand(2, 7, generator=torch.Generator().manual_seed(2))
    found = augment(I, u, "colour").numpy()
    for image, (brightness, saturation, contrast), ours in zip(
        I.numpy(), u[:, :3].numpy(), found, strict=True
    ):
        x = image + brightness - 0.5
        x = x.mean(0) + 2 * saturation * (x - x.mean(0))
        x = x.mean() + (0.5 + contrast) * (x - x.mean())
        np.testing.assert_allclose(ours, x, atol=1e-5)


@pytest.mark.parametrize("kind", ["colour", "translation", "cutout", "colour-translation", "all"])
def test_gradients_flow_through_every_augmentation(kind):
    I = pictures().requires_grad_()
    augment(I, torch.rand(3, 7), kind).square().sum().backward()
    assert I.grad is not None
    assert I.grad.abs().sum() > 0


def test_what_is_drawn_for_the_options():
    options: dict[str, Any] = {"f_jitter": 0.5, "shift": 0.125, "diffaugment": "all", "mask_noise": 1.0}
    for redraw, fakes in (("one", 1), ("each", 3)):
        on = options if redraw == "one" else {k: v for k, v in options.items() if k != "shift"}
        config = TrainConfig.of(data="digit", out="run", batch=6, n=3, size=32, redraw=redraw, **on)
        drawn = RandomDraws.sample(config, torch.Generator().manual_seed(0))
        assert drawn.view is not None
        assert drawn.augment is not None
        assert drawn.view.shape == (6, 7)
        assert (drawn.view[:, 0] == 0.5).all()
        assert drawn.augment.shape == (6, fakes + 1, 7)
        if drawn.shift is not None:
            assert drawn.shift.shape == (6, 2)
            assert drawn.shift.abs().max() <= 0.125
        parts = [drawn.part(rank, 2) for rank in range(2)]
        for name in ("view", "augment", "shift", "noise", "z"):
            whole = getattr(drawn, name)
            if whole is not None:
                assert torch.equal(torch.stack([getattr(p, name) for p in parts], 1).flatten(0, 1), whole)


def test_the_jitter_fades():
    config = TrainConfig.of(data="digit", out="run", size=32, f_jitter=0.8, f_jitter_fade=100)
    for step, strength in ((0, 0.8), (50, 0.4), (100, 0.0), (500, 0.0)):
        drawn = RandomDraws.sample(config, torch.Generator().manual_seed(0), step)
        assert drawn.view is not None
        torch.testing.assert_close(drawn.view[:, 0], torch.full((25,), strength))
