"""PaDiM's statistics: one Gaussian per position of stacked feature maps, and the distance from it.

Defard, Setkov, Loesch, Audigier, "PaDiM: a Patch Distribution Modeling Framework for Anomaly
Detection and Localization", ICPR Workshops 2021, https://arxiv.org/abs/2011.08785.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


def keep_at_random(channels: int, kept: int, seed: int) -> Int[Tensor, "f"]:
    """Numbers of the channels to keep, all different."""
    return torch.randperm(channels, generator=torch.Generator().manual_seed(seed))[:kept]


def stack_kept(maps: list[Tensor], kept: Int[Tensor, "f"]) -> Float[Tensor, "n f h w"]:
    """The kept channels of all maps together, at the first map's resolution.

    Args:
        maps: One per layer, finest first.
        kept: Numbers of channels, counted through all maps.
    """
    size = maps[0].shape[-2:]
    stacked = maps[0].new_empty(len(maps[0]), len(kept), *size, dtype=torch.float32)
    first = 0
    for m in maps:
        here = (kept >= first) & (kept < first + m.shape[1])
        if here.any():  # interpolation refuses maps without channels
            own = m[:, kept[here] - first].float()
            stacked[:, here] = F.interpolate(own, size=size, mode="nearest")
        first += m.shape[1]
    return stacked


def position_gaussians(
    stacked: Iterable[Float[Tensor, "_ f h w"]], ridge: float
) -> tuple[Float[Tensor, "f h w"], Float[Tensor, "p f f"]]:
    """Mean at each position, and the matrix that makes the covariance there the identity.

    Args:
        stacked: Batches, iterated once; sums are taken in float64, so that memory does not grow.
        ridge: Epsilon in Eq. 1, times the mean variance of a feature.
    """
    count, total, outer = 0, torch.zeros(()), torch.zeros(())
    for x in stacked:
        count += len(x)
        total = total + x.sum(dim=0, dtype=torch.float64)
        flat = x.flatten(2).permute(2, 1, 0)  # (positions, features, n)
        outer = outer + (flat @ flat.transpose(1, 2)).double()
    mean = total / count
    flat = mean.flatten(1).T  # (positions, features)
    covariance = (outer - count * flat[:, :, None] * flat[:, None, :]) / (count - 1)
    scale = covariance.diagonal(dim1=1, dim2=2).mean()
    covariance.diagonal(dim1=1, dim2=2).add_(ridge * scale)  # Eq. 1
    # With covariance = L L', the Mahalanobis distance is the length of inv(L) (x - mean).
    factor = torch.linalg.cholesky(covariance)
    identity = torch.eye(len(mean), dtype=torch.float64).expand_as(factor)
    return mean.float(), torch.linalg.solve_triangular(factor, identity, upper=False).float()


def position_distance(
    stacked: Float[Tensor, "n f h w"], mean: Float[Tensor, "f h w"], whiten: Float[Tensor, "p f f"]
) -> Float[Tensor, "n h w"]:
    """Mahalanobis distance at each position, Eq. 2."""
    gap = stacked - mean
    # (positions, n, features), copied into that order: a product of views takes three times as long.
    flat = gap.flatten(2).permute(2, 0, 1).contiguous()
    return (flat @ whiten.mT).norm(dim=2).T.unflatten(1, gap.shape[-2:])
