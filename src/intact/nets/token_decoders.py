"""Decoders that rebuild a vision transformer's tokens: one that cannot focus, one that sees prototypes only.

Linear attention: Guo, Lu, Zhang, Chen, Li, Liao, "Dinomaly: The Less Is More Philosophy in
Multi-Class Unsupervised Anomaly Detection", CVPR 2025. Prototypes: Luo et al., "Exploring Intrinsic
Normal Prototypes within a Single Image for Universal Anomaly Detection", CVPR 2025.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from intact.nets.vit import Mlp

EPS = 1e-6  # which Dinomaly's authors advise to add where the loss becomes NaN

Tokens = Float[Tensor, "n t w"]


class LinearDecoder(nn.Module):
    """A bottleneck with dropout, then blocks of linear attention.

    Args:
        width: Of a token.
        heads: Of every attention; divides `width`.
        depth: Blocks.
        dropout: Share of values left out before, in and after the bottleneck.
    """

    def __init__(self, width: int, heads: int, depth: int, dropout: float) -> None:
        super().__init__()
        self.bottleneck = nn.Sequential(nn.Dropout(dropout), Mlp(width, dropout))
        self.blocks = nn.ModuleList(LinearBlock(width, heads) for _ in range(depth))
        truncated_normal(self)

    def forward(self, tokens: Tokens) -> list[Tokens]:
        """What each block gives, the first one first."""
        x = self.bottleneck(tokens)
        found = []
        for block in self.blocks:
            x = block(x)
            found.append(x)
        return found


class LinearBlock(nn.Module):
    """Linear attention and two layers, each normed before and added."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-8)
        self.attn = LinearAttention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-8)
        self.mlp = Mlp(width)

    def forward(self, x: Tokens) -> Tokens:
        """Same shape."""
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class LinearAttention(nn.Module):
    """Attention with elu + 1 of query and key instead of a softmax of their product.

    Katharopoulos, Vyas, Pappas, Fleuret, "Transformers are RNNs: Fast Autoregressive Transformers
    with Linear Attention", ICML 2020. Its weights are spread out: hardly a token is copied.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tokens) -> Tokens:
        """Time grows with the number of tokens, not its square."""
        query, key, value = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        query, key = F.elu(query) + 1, F.elu(key) + 1
        total = query @ key.sum(dim=2)[..., None] + EPS
        seen = query @ (key.transpose(2, 3) @ value) / total
        return self.proj(seen.transpose(1, 2).flatten(2))


class PrototypeDecoder(nn.Module):
    """Finds a few prototypes in an image's tokens, then rebuilds the tokens from these alone.

    Args:
        width: Of a token.
        heads: Of every attention; divides `width`.
        depth: Blocks.
        prototypes: How many of an image.
    """

    def __init__(self, width: int, heads: int, depth: int, prototypes: int) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(prototypes, width))
        self.extract = ExtractionBlock(width, heads)
        self.bottleneck = Mlp(width)
        self.blocks = nn.ModuleList(PrototypeBlock(width, heads) for _ in range(depth))
        truncated_normal(self)

    def forward(self, tokens: Tokens) -> tuple[list[Tokens], Float[Tensor, "n m w"]]:
        """What each block gives, the first one first, and the prototypes."""
        prototypes = self.extract(self.queries.expand(len(tokens), -1, -1), tokens)
        x = self.bottleneck(tokens)
        found = []
        for block in self.blocks:
            x = block(x, prototypes)
            found.append(x)
        return found, prototypes


class ExtractionBlock(nn.Module):
    """Learned queries look at an image's tokens and become its prototypes."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width, eps=1e-8)
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.proj = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width, eps=1e-8)
        self.mlp = Mlp(width)

    def forward(self, queries: Float[Tensor, "n m w"], tokens: Tokens) -> Float[Tensor, "n m w"]:
        """As many prototypes as there are queries."""
        query, key, value = _heads(self, self.norm1(queries), self.norm1(tokens))
        seen = F.scaled_dot_product_attention(query, key, value)
        x = queries + self.proj(seen.transpose(1, 2).flatten(2))
        return x + self.mlp(self.norm2(x))


class PrototypeBlock(nn.Module):
    """A token becomes a sum of the prototypes it is like; what it was before is not added.

    Likeness is a cosine, times a factor learned for each head, and nothing where negative.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width, eps=1e-8)
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.scale = nn.Parameter(torch.ones(heads, 1, 1))
        self.proj = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width, eps=1e-8)
        self.mlp = Mlp(width)

    def forward(self, tokens: Tokens, prototypes: Float[Tensor, "n m w"]) -> Tokens:
        """Same shape as `tokens`."""
        query, key, value = _heads(self, self.norm1(tokens), self.norm1(prototypes))
        likeness = F.normalize(query, dim=3) @ F.normalize(key, dim=3).transpose(2, 3)
        seen = F.relu(likeness * self.scale) @ value
        x = self.proj(seen.transpose(1, 2).flatten(2))
        return x + self.mlp(self.norm2(x))


def truncated_normal(net: nn.Module) -> None:
    """Start every linear layer from a normal of deviation 0.01, cut at 3 deviations, without bias."""
    for module in net.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.01, a=-0.03, b=0.03)
            nn.init.zeros_(module.bias)


def _heads(
    block: ExtractionBlock | PrototypeBlock, asking: Tokens, asked: Tokens
) -> tuple[Tensor, Tensor, Tensor]:
    """Query of the one, key and value of the other: (n, heads, tokens, width of a head)."""
    query = block.query(asking).unflatten(2, (block.heads, -1)).transpose(1, 2)
    key, value = block.key_value(asked).unflatten(2, (2, block.heads, -1)).permute(2, 0, 3, 1, 4)
    return query, key, value
