"""Random views of a batch for contrastive learning: each image is cropped, turned, recoloured on its own.

Images are float32 in [0, 1] with one or three channels, as everywhere; chance comes from the generator
that is given. What only colours have (saturation, hue) leaves grey images as they are.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

Images = Float[Tensor, "n c h w"]

LUMA = (0.299, 0.587, 0.114)  # weights of red, green and blue in a grey value, ITU-R BT.601
# Grey value and two coordinates of colour (YIQ): to shift the hue is to turn in the plane of the latter.
TO_YIQ = torch.tensor([LUMA, (0.596, -0.274, -0.322), (0.211, -0.523, 0.312)])
RADIUS = 6  # of the blur's kernel in pixels: three of its greatest deviations


def crop_by_area(
    images: Images,
    rng: torch.Generator,
    area: tuple[float, float],
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> Images:
    """A box with a share of the image's area drawn from `area`, enlarged to the image's size.

    Height over width is drawn from `ratio`, evenly in its logarithm; a box longer than the image is
    cut to it.
    """
    share = _uniform(images, rng, *area)
    stretch = _uniform(images, rng, math.log(ratio[0]), math.log(ratio[1])).exp()
    return _crop(images, rng, (share * stretch).sqrt().clamp(max=1), (share / stretch).sqrt().clamp(max=1))


def crop_by_side(images: Images, rng: torch.Generator, shortest: float) -> Images:
    """A square whose side is a share of the image's drawn from [`shortest`, 1], enlarged to its size."""
    side = _uniform(images, rng, shortest, 1.0)
    return _crop(images, rng, side, side)


def flip(images: Images, rng: torch.Generator) -> Images:
    """Half of the images, mirrored left to right."""
    return torch.where(_chosen(images, rng, 0.5), images.flip(3), images)


def quarter_turns(images: Images, rng: torch.Generator) -> Images:
    """Each image turned by 0, 90, 180 or 270 degrees."""
    turns = torch.randint(4, (len(images),), generator=rng).tolist()
    return torch.stack([image.rot90(k, (1, 2)) for image, k in zip(images, turns, strict=True)])


def jitter(
    images: Images,
    rng: torch.Generator,
    *,
    brightness: float,
    contrast: float,
    saturation: float,
    hue: float,
    share: float = 1.0,
) -> Images:
    """Other brightness, contrast, saturation and hue for a share of the images.

    Args:
        images: One or three channels.
        rng: Draws the factors of each image, and for the whole batch the order of the four changes.
        brightness: Factors are drawn from 1 -+ this; so for contrast (about the image's mean grey)
            and saturation.
        contrast: See brightness.
        saturation: See brightness.
        hue: Turns of the circle of colours are drawn from -+ this.
        share: The other images stay as they are.
    """
    n = (len(images), 1, 1, 1)
    spreads = (brightness, contrast, saturation)
    factors = [_uniform(images, rng, max(0.0, 1.0 - s), 1.0 + s).view(n) for s in spreads]
    angles = 2 * math.pi * _uniform(images, rng, -hue, hue)
    coloured = images.shape[1] == 3
    x = images
    for change in torch.randperm(4, generator=rng).tolist():
        if change == 0:
            x = factors[0] * x
        elif change == 1:
            x = torch.lerp(_luma(x).mean(dim=(1, 2, 3), keepdim=True), x, factors[1])
        elif coloured:
            x = torch.lerp(_luma(x).expand_as(x), x, factors[2]) if change == 2 else _turn_hue(x, angles)
        x = x.clamp(0, 1)
    return torch.where(_chosen(images, rng, share), x, images)


def discolour(images: Images, rng: torch.Generator, share: float) -> Images:
    """A share of the images without colour."""
    return torch.where(_chosen(images, rng, share), _luma(images).expand_as(images), images)


def blur(
    images: Images, rng: torch.Generator, share: float, sigma: tuple[float, float] = (0.1, 2.0)
) -> Images:
    """A share of the images, smoothed by Gaussians with deviations drawn from `sigma`, in pixels."""
    n, c, h, w = images.shape
    at = torch.arange(-RADIUS, RADIUS + 1, device=images.device)
    kernels = torch.exp(-at.square() / (2 * _uniform(images, rng, *sigma)[:, None].square()))
    kernels = (kernels / kernels.sum(dim=1, keepdim=True)).repeat_interleave(c, dim=0)[:, None]
    x = F.pad(images, [RADIUS] * 4, mode="reflect").reshape(1, n * c, h + 2 * RADIUS, w + 2 * RADIUS)
    x = F.conv2d(F.conv2d(x, kernels[..., None], groups=n * c), kernels[:, :, None], groups=n * c)
    return torch.where(_chosen(images, rng, share), x.view(n, c, h, w), images)


def cut_out(images: Images, rng: torch.Generator, longest: float) -> Images:
    """A square of each image, of random side and place, filled with the image's mean colour.

    Args:
        images: One or three channels.
        rng: Draws sides and centres; a square may reach beyond the image.
        longest: Greatest side, over the image's.
    """
    size = images.shape[-1]
    half = (_uniform(images, rng, 1.0, longest * size) / 2).view(-1, 1, 1, 1)
    at = torch.arange(size, device=images.device)
    down, right = (_uniform(images, rng, 0.0, size).view(-1, 1, 1, 1) for _ in range(2))
    inside = ((at[:, None] - down).abs() < half) & ((at - right).abs() < half)
    return torch.where(inside, images.mean(dim=(2, 3), keepdim=True), images)


def _uniform(images: Images, rng: torch.Generator, low: float, high: float) -> Float[Tensor, "n"]:
    """A number for each image."""
    return (low + (high - low) * torch.rand(len(images), generator=rng)).to(images.device)


def _chosen(images: Images, rng: torch.Generator, share: float) -> Bool[Tensor, "n 1 1 1"]:
    """Each image with a probability of `share`."""
    return (torch.rand(len(images), 1, 1, 1, generator=rng) < share).to(images.device)


def _crop(
    images: Images, rng: torch.Generator, height: Float[Tensor, "n"], width: Float[Tensor, "n"]
) -> Images:
    """Boxes of these shares of the sides, anywhere in the image, enlarged to it bilinearly."""
    down, right = ((1 - side) * _uniform(images, rng, -1.0, 1.0) for side in (height, width))
    zero = torch.zeros_like(height)
    rows = [torch.stack(row, dim=1) for row in ((width, zero, right), (zero, height, down))]
    grid = F.affine_grid(torch.stack(rows, dim=1), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def _luma(images: Images) -> Float[Tensor, "n 1 h w"]:
    if images.shape[1] == 1:
        return images
    return (images * images.new_tensor(LUMA).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)


def _turn_hue(images: Images, angles: Float[Tensor, "n"]) -> Images:
    """Colours turned about grey by so many radians; grey values stay."""
    one, zero, cos, sin = torch.ones_like(angles), torch.zeros_like(angles), angles.cos(), angles.sin()
    rows = ((one, zero, zero), (zero, cos, -sin), (zero, sin, cos))
    turn = torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)
    there = TO_YIQ.to(images)
    return torch.einsum("nij,njhw->nihw", torch.linalg.inv(there) @ turn @ there, images)
