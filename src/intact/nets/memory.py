"""A memory of typical codes, addressed by likeness."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Memory(nn.Module):
    """Replaces a code by a sparse mixture of learned items.

    Gong et al., "Memorizing Normality to Detect Anomaly", ICCV 2019: the weights are the softmax of
    the products of code and items; those at or below `shrink` become zero, and the rest is scaled to
    sum to 1 again.

    Args:
        items: How many typical codes there are.
        length: Numbers in a code.
        shrink: Weights up to this are cut off. When it exceeds 1 / `items`, a code that is equally
            like all items loses every weight, and is replaced by zeros.
    """

    def __init__(self, items: int, length: int, shrink: float) -> None:
        super().__init__()
        self.shrink = shrink
        bound = 1.0 / math.sqrt(length)  # as in the authors' code
        self.items = nn.Parameter(torch.empty(items, length).uniform_(-bound, bound))

    def forward(
        self, codes: Float[Tensor, "n length"]
    ) -> tuple[Float[Tensor, "n length"], Float[Tensor, "n items"]]:
        """The mixtures, and the weights of the items in them."""
        weights = torch.softmax(codes @ self.items.T, dim=1)
        over = weights - self.shrink
        # Equals `weights` where it exceeds the threshold and 0 elsewhere, but has a gradient.
        kept = torch.relu(over) * weights / (over.abs() + 1e-12)
        kept = nn.functional.normalize(kept, p=1, dim=1)
        return kept @ self.items, kept
