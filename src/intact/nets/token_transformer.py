"""A transformer that rebuilds the tokens of a grid, none from itself or its neighbours.

You, Cui, Shen, Yang, Lu, Zheng, Le, "A Unified Model for Multi-class Anomaly Detection", NeurIPS
2022: encoder and decoder layers with the norms after the additions, queries learned for each decoder
layer, and attention that is blind to the surroundings of each token.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn


class TokenTransformer(nn.Module):
    """Encoder and decoder over side x side tokens.

    Args:
        channels: Of a token.
        side: Of the grid.
        width: Of a token inside.
        heads: Of every attention; divides `width`.
        hidden: Width between the two linear layers of each block.
        depth: Layers of the encoder, and of the decoder.
        neighbours: Side of the square around a token that attention does not see, odd and less than
            `side`.
        dropout: Share of values left out in training.
    """

    hide: Tensor

    def __init__(
        self,
        channels: int,
        side: int,
        *,
        width: int = 256,
        heads: int = 8,
        hidden: int = 1024,
        depth: int = 4,
        neighbours: int = 7,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.enter = nn.Linear(channels, width)
        self.rows = nn.Parameter(torch.rand(side, 1, width // 2))
        self.columns = nn.Parameter(torch.rand(1, side, width // 2))
        self.encoder = nn.ModuleList(EncoderLayer(width, heads, hidden, dropout) for _ in range(depth))
        self.decoder = nn.ModuleList(
            DecoderLayer(side * side, width, heads, hidden, dropout) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)
        self.leave = nn.Linear(width, channels)
        self.register_buffer("hide", neighbour_mask(side, neighbours), persistent=False)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(self, tokens: Float[Tensor, "n t c"]) -> Float[Tensor, "n t c"]:
        """Row by row, as many as there are places on the grid."""
        side = len(self.rows)
        place = torch.cat([self.columns.expand(side, -1, -1), self.rows.expand(-1, side, -1)], dim=2)
        place = place.flatten(0, 1)
        memory = self.enter(tokens)
        for layer in self.encoder:
            memory = layer(memory, place, self.hide)
        x = memory
        for layer in self.decoder:
            x = layer(x, memory, place, self.hide)
        return self.leave(self.norm(x))


class EncoderLayer(nn.Module):
    """Tokens look at distant tokens, then each is thought over on its own."""

    def __init__(self, width: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.look = nn.MultiheadAttention(width, heads, dropout=dropout, batch_first=True)
        self.think = _two_layers(width, hidden, dropout)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.drop = nn.Dropout(dropout)

    def forward(
        self, x: Float[Tensor, "n t w"], place: Float[Tensor, "t w"], hide: Bool[Tensor, "t t"]
    ) -> Float[Tensor, "n t w"]:
        """`place` is where a token is; `hide` is true where a row's token must not see a column's."""
        x = self.norms[0](x + self.drop(_attend(self.look, x, x, place, hide)))
        return self.norms[1](x + self.drop(self.think(x)))


class DecoderLayer(nn.Module):
    """Learned queries look at the encoder's tokens, then at what the layer before made of them.

    That a layer asks with queries of its own, not with what it was given, keeps it from passing its
    input on unchanged.
    """

    def __init__(self, tokens: int, width: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.randn(tokens, width))
        self.recall = nn.MultiheadAttention(width, heads, dropout=dropout, batch_first=True)
        self.look = nn.MultiheadAttention(width, heads, dropout=dropout, batch_first=True)
        self.think = _two_layers(width, hidden, dropout)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.drop = nn.Dropout(dropout)

    def forward(
        self,
        x: Float[Tensor, "n t w"],
        memory: Float[Tensor, "n t w"],
        place: Float[Tensor, "t w"],
        hide: Bool[Tensor, "t t"],
    ) -> Float[Tensor, "n t w"]:
        """`x` comes from the layer before, `memory` from the encoder."""
        y = self.query.expand(len(x), -1, -1)
        y = self.norms[0](y + self.drop(_attend(self.recall, y, memory, place, hide)))
        y = self.norms[1](y + self.drop(_attend(self.look, y, x, place, hide)))
        return self.norms[2](y + self.drop(self.think(y)))


def neighbour_mask(side: int, neighbours: int) -> Bool[Tensor, "t t"]:
    """True where two places of a grid lie within a square of side `neighbours` around one of them."""
    at = torch.arange(side)
    near = (at[:, None] - at).abs() <= neighbours // 2
    return (near[:, None, :, None] & near[None, :, None, :]).reshape(side**2, side**2)


def _attend(attention: nn.Module, query: Tensor, key: Tensor, place: Tensor, hide: Tensor) -> Tensor:
    return attention(query + place, key + place, key, attn_mask=hide, need_weights=False)[0]


def _two_layers(width: int, hidden: int, dropout: float) -> nn.Module:
    return nn.Sequential(
        nn.Linear(width, hidden), nn.ReLU(inplace=True), nn.Dropout(dropout), nn.Linear(hidden, width)
    )
