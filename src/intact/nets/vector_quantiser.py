"""A codebook of unit vectors: every token is replaced by the code whose direction is nearest.

Van den Oord, Vinyals, Kavukcuoglu, "Neural Discrete Representation Learning", NeurIPS 2017. That
the codes used most are switched off at random is from Kim, Lee, Jeong, Ham, Woo, "Patch-wise vector
quantization for unsupervised medical anomaly detection", Pattern Recognition Letters 184, 2024, of
which only the abstract was at hand: how it is done here is our own.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

DECAY = 0.99  # of the record of how often codes are used


class Quantised(NamedTuple):
    """What became of tokens.

    Args:
        codes: The code in place of each token; its gradient goes to the token.
        chosen: Which code that is.
        distance: 1 - cosine of token and code: 0 where a code fits, 2 where it points away.
        loss: What draws codes to their tokens, and tokens to their codes.
    """

    codes: Float[Tensor, "n t d"]
    chosen: Int[Tensor, "n t"]
    distance: Float[Tensor, "n t"]
    loss: Float[Tensor, ""]


class VectorQuantiser(nn.Module):
    """Replaces tokens by codes; in training, some of the codes used most are not to be had.

    Args:
        count: Codes in the book.
        dimensions: Of a token and of a code.
        top: Share of the codes that count as used most; a random half of them is off in each step.
        commitment: Weight of what draws tokens to codes, against 1 for what draws codes to tokens.
    """

    usage: Tensor

    def __init__(self, count: int, dimensions: int, *, top: float = 0.1, commitment: float = 0.25) -> None:
        super().__init__()
        self.top, self.commitment = top, commitment
        self.book = nn.Parameter(F.normalize(torch.randn(count, dimensions), dim=1))
        self.register_buffer("usage", torch.full((count,), 1.0 / count))

    @torch.no_grad()
    def start_from(self, tokens: Float[Tensor, "n t d"]) -> None:
        """Put the codes where tokens are: random ones would nearly all lie far from every token."""
        flat = F.normalize(tokens.flatten(0, 1), dim=1)
        some = flat[torch.randperm(len(flat))[: len(self.book)]]
        self.book[: len(some)] = some

    def forward(self, tokens: Float[Tensor, "n t d"]) -> Quantised:
        """Only the direction of a token counts."""
        z, book = F.normalize(tokens, dim=2), F.normalize(self.book, dim=1)
        likeness = z.detach() @ book.detach().T
        if self.training:
            likeness[:, :, self._switched_off()] = -math.inf
        chosen = likeness.argmax(dim=2)
        if self.training:
            counts = torch.bincount(chosen.flatten(), minlength=len(book))
            self.usage.lerp_(counts / counts.sum(), 1 - DECAY)
        near = book[chosen]
        loss = F.mse_loss(near, z.detach()) + self.commitment * F.mse_loss(z, near.detach())
        # Straight through: forward the code, backward the token.
        codes = z + (near - z).detach()
        return Quantised(codes, chosen, 1.0 - (z * near).sum(dim=2), loss)

    def _switched_off(self) -> Int[Tensor, "k"]:
        most = self.usage.topk(round(self.top * len(self.usage))).indices
        return most[torch.randperm(len(most))[: len(most) // 2]]
