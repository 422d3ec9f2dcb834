"""MSCSCC-Net: PSCC-Net with comparisons over several scales, and a decoder that restores the image.

"MSCSCC-Net: multi-scale contextual spatial-channel correlation network for forgery detection and
localization of JPEG-compressed image". No code of its authors is known; layers that the abstract leaves
open are chosen here.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from intact.nets.hrnet import BRANCHES, Maps, enlarged
from intact.nets.pscc import PSCC, SCCM, by_channels
from intact.nets.resnet import BasicBlock

POOLED = (1, 2, 4, 8)  # how far the places that are looked at are pooled
REGION = 4  # places, the side of a region in which channels are compared
RESTORING = 4  # residual blocks


class ContextualSCCM(SCCM):
    """`SCCM` in which a place looks at all places and at means of 2 x 2, 4 x 4 and 8 x 8 of them.

    Channels are compared in each region of 4 x 4 places by itself.
    """

    def places(
        self, theta: Float[Tensor, "n c h w"], phi: Float[Tensor, "n c h w"], g: Float[Tensor, "n c h w"]
    ) -> Float[Tensor, "n c h w"]:
        """Of each place the mean of g over the places of all scales, weighted by softmax(theta' phi)."""
        query, key, value = (x.mT for x in (theta.flatten(2), _pyramid(phi), _pyramid(g)))
        seen = F.scaled_dot_product_attention(query, key, value, scale=1.0)
        return seen.mT.reshape(g.shape)

    def channels(
        self, theta: Float[Tensor, "n c h w"], phi: Float[Tensor, "n c h w"], g: Float[Tensor, "n c h w"]
    ) -> Float[Tensor, "n c h w"]:
        """As in `SCCM`, but region by region; the sides must be divisible by 4."""
        mixed = by_channels(*(_regions(x) for x in (theta, phi, g)))
        n, c, h, w = g.shape
        regions = mixed.view(n, h // REGION, w // REGION, c, REGION, REGION)
        return regions.permute(0, 3, 1, 4, 2, 5).reshape(g.shape)


class MSCSCC(PSCC):
    """`PSCC` with `ContextualSCCM`, and a decoder from the backbone's maps to an image."""

    def __init__(self, channels: int, width: int, stem: int) -> None:
        super().__init__(channels, width, stem)
        self.decoder = Restorer(width, channels)

    def _correlation(self, channels: int, reduced: int) -> nn.Module:
        return ContextualSCCM(channels, reduced)


class Restorer(nn.Module):
    """What is to be added to an image to undo its compression: four residual blocks and a pixel shuffle.

    Args:
        width: Channels of the finest map.
        channels: Of the image.
    """

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        inputs = 4 * width + sum(width * 2**n for n in range(1, BRANCHES))
        self.merge = nn.Conv2d(inputs, 2 * width, 1)
        self.blocks = nn.Sequential(*(BasicBlock(2 * width, 2 * width, 1, 64) for _ in range(RESTORING)))
        self.last = nn.Conv2d(2 * width, 4 * channels, 3, padding=1)

    def forward(self, maps: Maps) -> Float[Tensor, "n c h w"]:
        """From maps of the four scales."""
        fine, half, *coarse = maps
        parts = [F.pixel_unshuffle(fine, 2), half, *(enlarged(each, half) for each in coarse)]
        return F.pixel_shuffle(self.last(self.blocks(self.merge(torch.cat(parts, dim=1)))), 2)


def _pyramid(x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c p"]:
    """All places, and their means over larger and larger blocks."""
    height, width = x.shape[-2:]
    sizes = [(-(-height // side), -(-width // side)) for side in POOLED[1:]]
    return torch.cat([x.flatten(2), *(F.adaptive_avg_pool2d(x, size).flatten(2) for size in sizes)], dim=2)


def _regions(x: Float[Tensor, "n c h w"]) -> Float[Tensor, "m c p"]:
    """Cut into regions, row by row."""
    cut = x.unflatten(3, (-1, REGION)).unflatten(2, (-1, REGION))
    return cut.permute(0, 2, 4, 1, 3, 5).flatten(4).flatten(0, 2)
