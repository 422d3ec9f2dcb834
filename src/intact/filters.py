"""Image filters shared by methods: pure functions on tensors (n, h, w) or (n, c, h, w)."""

from __future__ import annotations

import functools
import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def gaussian_blur(maps: Float[Tensor, "n h w"], sigma: float) -> Float[Tensor, "n h w"]:
    """Smooth with a Gaussian of `sigma` pixels, cut at 4 sigma, border reflected."""
    if sigma <= 0:
        return maps
    kernel = _gaussian(sigma, min(maps.shape[-2:]) - 1).to(maps)
    x = F.pad(maps[:, None], [len(kernel) // 2] * 4, mode="reflect")
    x = F.conv2d(x, kernel.view(1, 1, -1, 1))
    return F.conv2d(x, kernel.view(1, 1, 1, -1))[:, 0]


def _gaussian(sigma: float, longest: int) -> Float[Tensor, "taps"]:
    """Its values at whole pixels, adding up to 1; it reaches 4 sigma to each side, at most `longest`."""
    radius = min(math.ceil(4 * sigma), longest)
    kernel = torch.exp(-torch.arange(-radius, radius + 1, dtype=torch.float64).square() / (2 * sigma**2))
    return kernel / kernel.sum()


def smooth_upsample(
    maps: Float[Tensor, "n h w"], size: tuple[int, int], sigma: float
) -> Float[Tensor, "n h2 w2"]:
    """`gaussian_blur(upsample(maps, size), sigma)`, as one small matrix product per axis.

    Both steps are linear and separable, so they are one matrix for rows and one for columns.
    """
    rows = _smoothing_matrix(maps.shape[-2], size[0], sigma).to(maps)
    columns = _smoothing_matrix(maps.shape[-1], size[1], sigma).to(maps)
    return rows @ maps @ columns.T


@functools.lru_cache
def _smoothing_matrix(before: int, after: int, sigma: float) -> Float[Tensor, "after before"]:
    """The matrix of blurred upsampling along one axis, found by doing it to unit vectors."""
    units = torch.eye(before, dtype=torch.float64)[:, None]
    grown = F.interpolate(units, size=after, mode="linear", align_corners=False)
    if sigma > 0:
        kernel = _gaussian(sigma, after - 1)
        grown = F.conv1d(F.pad(grown, [len(kernel) // 2] * 2, mode="reflect"), kernel[None, None])
    return grown[:, 0].T.contiguous()


def median_blur(maps: Float[Tensor, "n h w"], size: int) -> Float[Tensor, "n h w"]:
    """Median over a size x size neighbourhood, border reflected."""
    half = size // 2
    x = F.pad(maps[:, None], [half] * 4, mode="reflect")[:, 0]
    return x.unfold(1, size, 1).unfold(2, size, 1).flatten(-2).median(dim=-1).values


def upsample(maps: Float[Tensor, "n h w"], size: tuple[int, int]) -> Float[Tensor, "n h2 w2"]:
    """Bilinear resize, sample centres aligned as for areas (not corners)."""
    return F.interpolate(maps[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]


def local_mean(features: Float[Tensor, "n c h w"], size: int = 3) -> Float[Tensor, "n c h w"]:
    """Mean over a size x size neighbourhood, zeros outside (PatchCore's local aggregation)."""
    return F.avg_pool2d(features, size, stride=1, padding=size // 2)
