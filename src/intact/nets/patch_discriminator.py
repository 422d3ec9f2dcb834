"""Patch features of a backbone, and the small networks that SimpleNet and GLASS put on them.

Liu, Zhou, Xu, Wang, "SimpleNet: A Simple Network for Image Anomaly Detection and Localization", CVPR
2023, https://arxiv.org/abs/2303.15140; layers as in the authors' code, DonaldRR/SimpleNet.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

PATCH = 3  # side of the neighbourhood that a feature describes
SLOPE = 0.2  # of LeakyReLU below 0


def aggregated(maps: Sequence[Float[Tensor, "n _ _ _"]], dimensions: int) -> Float[Tensor, "n h w d"]:
    """One vector of `dimensions` numbers for each position of the first map.

    The values of a 3 x 3 neighbourhood, zeros outside, are averaged in groups to `dimensions` numbers for
    each map, and those of all maps once more.
    """
    size = (maps[0].shape[-2], maps[0].shape[-1])
    levels = []
    for features in maps:
        around = F.unfold(features, PATCH, padding=PATCH // 2).transpose(1, 2)
        pooled = F.adaptive_avg_pool1d(around, dimensions).transpose(1, 2).unflatten(2, features.shape[-2:])
        levels.append(F.interpolate(pooled, size=size, mode="bilinear", align_corners=False))
    stacked = torch.cat(levels, dim=1).flatten(2).transpose(1, 2)
    return F.adaptive_avg_pool1d(stacked, dimensions).unflatten(1, size)


def adaptor(dimensions: int) -> nn.Linear:
    """(p, d) -> (p, d): features as they suit the images at hand."""
    linear = nn.Linear(dimensions, dimensions)
    nn.init.xavier_normal_(linear.weight)
    return linear


def patch_discriminator(dimensions: int, hidden: int) -> nn.Sequential:
    """(p, d) -> (p, 1): a number that tells normal features from others."""
    net = nn.Sequential(
        nn.Linear(dimensions, hidden),
        nn.BatchNorm1d(hidden),
        nn.LeakyReLU(SLOPE),
        nn.Linear(hidden, 1, bias=False),
    )
    for module in net:
        if isinstance(module, nn.Linear):
            nn.init.xavier_normal_(module.weight)
    return net
