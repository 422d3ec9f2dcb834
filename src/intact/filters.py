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
    radius = min(math.ceil(4 * sigma), maps.shape[-1] - 1, maps.shape[-2] - 1)
    taps = torch.arange(-radius, radius + 1, dtype=maps.dtype, device=maps.device)
    kernel = torch.exp(-taps.square() / (2 * sigma**2))
    kernel = kernel / kernel.sum()
    x = F.pad(maps[:, None], [radius] * 4, mode="reflect")
    x = F.conv2d(x, kernel.view(1, 1, -1, 1))
    return F.conv2d(x, kernel.view(1, 1, 1, -1))[:, 0]


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
    units = torch.eye(before, dtype=torch.float64)[:, :, None].expand(-1, -1, 2)
    # The other axis is constant, which neither step changes; it need only be as wide as the blur.
    grown = upsample(units, (after, min(after, math.ceil(4 * sigma) + 1)))
    return gaussian_blur(grown, sigma)[:, :, 0].T.contiguous()


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
