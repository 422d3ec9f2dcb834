"""Distances between images and between features: what networks minimise and scores are made of."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def ssim_map(
    x: Float[Tensor, "n c h w"], y: Float[Tensor, "n c h w"], window: int = 11, sigma: float = 1.5
) -> Float[Tensor, "n c h w"]:
    """Structural similarity of every pixel's neighbourhood, 1 where alike; the border is reflected.

    Wang, Bovik, Sheikh, Simoncelli, "Image quality assessment: from error visibility to structural
    similarity", IEEE TIP 2004, for images in [0, 1]: C1 = 0.01², C2 = 0.03².
    """
    at = torch.arange(window, dtype=x.dtype, device=x.device) - window // 2
    kernel = torch.exp(-at.square() / (2 * sigma**2))
    kernel = kernel / kernel.sum()

    def mean(image: Tensor) -> Tensor:
        n, c, h, w = image.shape
        padded = F.pad(image.reshape(n * c, 1, h, w), [window // 2] * 4, mode="reflect")
        rows = F.conv2d(padded, kernel.view(1, 1, -1, 1))
        return F.conv2d(rows, kernel.view(1, 1, 1, -1)).view(n, c, h, w)

    mean_x, mean_y = mean(x), mean(y)
    variance_x = mean(x * x) - mean_x.square()
    variance_y = mean(y * y) - mean_y.square()
    covariance = mean(x * y) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    alike = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    return alike / ((mean_x.square() + mean_y.square() + c1) * (variance_x + variance_y + c2))


def cosine_map(a: Float[Tensor, "n c h w"], b: Float[Tensor, "n c h w"]) -> Float[Tensor, "n h w"]:
    """1 - cosine of the channel vectors at every position: 0 where alike, 2 where opposite."""
    return 1.0 - F.cosine_similarity(a, b, dim=1)


def flat_cosine(a: Float[Tensor, "n c h w"], b: Float[Tensor, "n c h w"]) -> Float[Tensor, "n"]:
    """1 - cosine of whole maps, all channels and positions being one vector."""
    return 1.0 - F.cosine_similarity(a.flatten(1), b.flatten(1), dim=1)
