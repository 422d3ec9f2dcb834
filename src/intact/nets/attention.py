"""Attention: every position of a map looks at every other one."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

REDUCTION = 8  # channels of the map per channel of query and key, as in SAGAN


class PositionAttention(nn.Module):
    """Adds to each position a mean of all positions' values, weighted by how well key fits query.

    Zhang, Goodfellow, Metaxas, Odena, "Self-Attention Generative Adversarial Networks", ICML 2019;
    Fu et al., "Dual Attention Network for Scene Segmentation", CVPR 2019. The products are not
    divided by the root of the dimension, as there. The weight `gamma` of what is added is learned
    and starts at 0, where the module changes nothing.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.query = nn.Conv2d(channels, channels // REDUCTION, 1)
        self.key = nn.Conv2d(channels, channels // REDUCTION, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """Time and memory grow with the square of h·w."""
        query, key, value = (
            part(x).flatten(2).transpose(1, 2) for part in (self.query, self.key, self.value)
        )
        seen = F.scaled_dot_product_attention(query, key, value, scale=1.0)
        return x + self.gamma * seen.transpose(1, 2).reshape(x.shape)
