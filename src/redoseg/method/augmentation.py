"""Random changes of images, as functions of the images and of uniform random numbers `u` in [0, 1)."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from redoseg.config.train import DiffAugment

VIEW_NUMBERS = 6
SHIFT_NUMBERS = 2
AUGMENT_NUMBERS = 7


def view(images: Tensor, u: Tensor, strength: Tensor, hue: float = 1.0) -> Tensor:
    """Change light and colours for the input of f, so that it can't tell regions by brightness alone.
    Contrast changes, light and dark are swapped in half the images (at strength 1), and a gradient of light
    is added; hue and saturation change `hue` times as strongly, in [0, 1]. Nothing is moved. images
    (B, 3, H, W) in [-1, 1], u (B, 6), strength (B,) in [0, 1] -> (B, 3, H, W), mostly in [-1, 1]."""
    strength = strength.to(images.dtype)[:, None, None, None]
    swap, gain, saturation, turn, slope, towards = u.to(images.dtype)[:, :, None, None, None].unbind(1)
    light = images.mean(1, keepdim=True)
    sign = torch.where(swap < strength / 2, -1.0, 1.0)
    angle = 2 * math.pi * hue * strength * (turn - 0.5)
    colour = rotate_hue(images - light, angle) * (1 + hue * strength * (2 * saturation - 1))
    rows, columns = (torch.linspace(-1, 1, side, device=images.device) for side in images.shape[2:])
    way = 2 * math.pi * towards
    plane = torch.cos(way) * rows[:, None] + torch.sin(way) * columns
    return sign * light * (1 + strength * (gain - 0.5)) + colour + strength * slope * plane / 2


def rotate_hue(colour: Tensor, angle: Tensor) -> Tensor:
    """Rotate hues by an angle in radians about the grey axis. colour (B, 3, H, W) without its grey part."""
    across = (colour.roll(1, 1) - colour.roll(-1, 1)) / math.sqrt(3)  # the cross product with the axis
    return torch.cos(angle) * colour + torch.sin(angle) * across


def shift_pixels(pictures: Tensor, share: Tensor) -> Tensor:
    """Shift pictures (B, C, H, W) by whole pixels, and fill the border with zeros.
    share (B, 2): how far downwards and to the right, as shares of the height and the width."""
    side = torch.stack([share.new_full((), length) for length in pictures.shape[2:]])  # no copy to wait for
    pixels = (share * side).round()
    theta = torch.zeros(len(pictures), 2, 3, device=pictures.device)
    theta[:, 0, 0] = theta[:, 1, 1] = 1
    theta[:, :, 2] = -2 * (pixels / side).flip(1)  # x first; the picture's half side is 1
    grid = F.affine_grid(theta, list(pictures.shape), align_corners=False)
    return F.grid_sample(pictures.float(), grid, align_corners=False).to(pictures.dtype)


def augment(images: Tensor, u: Tensor, kind: DiffAugment) -> Tensor:
    """DiffAugment, for all inputs of D, real or fake. images (B, 3, H, W), u (B, 7) -> (B, 3, H, W).
    'colour': brightness by up to .5, saturation up to twofold, contrast by a factor of .5 to 1.5;
    'translation': by up to an eighth of the side; 'cutout': a square of half the side turns grey. Source:
    Zhao et al. 2020, "Differentiable Augmentation for Data-Efficient GAN Training"."""
    if kind in ("colour", "colour-translation", "all"):
        brightness, saturation, contrast = u[:, :3, None, None, None].unbind(1)
        images = images + (brightness - 0.5)
        grey = images.mean(1, keepdim=True)
        images = grey + 2 * saturation * (images - grey)
        level = images.mean((1, 2, 3), keepdim=True)
        images = level + (0.5 + contrast) * (images - level)
    if kind in ("translation", "colour-translation", "all"):
        images = shift_pixels(images, (u[:, 3:5] - 0.5) / 4)
    if kind in ("cutout", "all"):
        images = images * ~_square(u[:, 5:7], images)
    return images


def _square(centre: Tensor, images: Tensor) -> Tensor:
    """(B, 1, H, W) bool: a square of half the side around `centre` (B, 2), as shares of the sides."""
    near = []
    for axis, side in enumerate(images.shape[2:]):
        pixel = (torch.arange(side, device=images.device) + 0.5) / side
        near.append((pixel - centre[:, axis : axis + 1]).abs() < 0.25)
    rows, columns = near
    return (rows[:, :, None] & columns[:, None, :])[:, None]
