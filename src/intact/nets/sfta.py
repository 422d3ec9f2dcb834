"""SFTA-Net's encoder: noise filters, four stages that look where it matters, an embedding every eight pixels.

"SFTA-Net: a self-supervised approach to detect copy-move and splicing forgery to leverage triplet loss,
auxiliary loss, and spatial attention", PeerJ Computer Science, cs-2803, 2025.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from intact.nets.noise_filters import ConstrainedConv, SRMFilters

LEARNED = 9  # constrained filters beside the three fixed ones
HALVINGS = 3  # of the sides, from the image to the embeddings


class SpatialAttention(nn.Module):
    """Weighs each position by what its channels' mean and maximum look like.

    The spatial half of Woo, Park, Lee, Kweon, "CBAM: Convolutional Block Attention Module", ECCV 2018: one
    7 x 7 convolution and a sigmoid.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 7, padding=3, bias=False)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """Same shape."""
        told = torch.cat([x.mean(dim=1, keepdim=True), x.amax(dim=1, keepdim=True)], dim=1)
        return x * torch.sigmoid(self.conv(told))


class TraceEncoder(nn.Module):
    """Embeddings of length 1 on a grid of every 8 pixels, and logits of the processing seen there.

    Args:
        channels: Of the image.
        widths: Channels of the four stages; all but the first halve the sides.
        size: Of an embedding.
        kinds: Kinds of processing to tell from each other.
    """

    def __init__(self, channels: int, widths: tuple[int, int, int, int], size: int, kinds: int) -> None:
        super().__init__()
        self.fixed = SRMFilters()
        self.learned = ConstrainedConv(channels, LEARNED)
        inputs = (3 * channels + LEARNED, *widths)
        self.stages = nn.Sequential(
            *(_stage(i, o, 1 if at == 0 else 2) for at, (i, o) in enumerate(pairwise(inputs)))
        )
        self.embed = nn.Conv2d(widths[-1], size, 1)
        self.told = nn.Conv2d(widths[-1], kinds, 1)

    def forward(
        self, x: Float[Tensor, "n c h w"]
    ) -> tuple[Float[Tensor, "n d h2 w2"], Float[Tensor, "n k h2 w2"]]:
        """The sides must be divisible by 8."""
        features = self.stages(torch.cat([self.fixed(x), self.learned(x)], dim=1))
        return F.normalize(self.embed(features), dim=1), self.told(features)


def _stage(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i, s in ((inputs, stride), (outputs, 1)):
        layers += [nn.Conv2d(i, outputs, 3, s, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, SpatialAttention())
