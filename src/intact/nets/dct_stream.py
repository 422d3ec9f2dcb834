"""CAT-Net's DCT stream: from rounded cosine coefficients of 8 x 8 blocks to a logit for each block.

Kwon, Yu, Nam, Lee, "CAT-Net: Compression Artifact Tracing Network for Detection and Localization of Image
Splicing", WACV 2021; layers up to the stages of several resolutions as in the authors' code,
mjkwon2021/CAT-Net.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from intact.nets.resnet import BasicBlock

SIDE = 8  # pixels of a block
HIGHEST = 20  # multiples of the step that are told apart; more count as so many
FREQUENCY = 4  # channels that are left for each coefficient


class DCTStream(nn.Module):
    """Coefficients as planes of zeros and ones, what lies around each, and residual blocks.

    Coefficients lie where the pixels of their block lay. A dilation by the side of a block so compares
    each with those of the same frequency in the blocks around.

    Args:
        width: Channels of the dilated convolution; 64 in the paper.
        channels: Of the residual blocks; 96 in the paper.
        blocks: How many of them.
    """

    def __init__(self, width: int = 64, channels: int = 96, blocks: int = 4) -> None:
        super().__init__()
        self.around = nn.Sequential(
            nn.Conv2d(HIGHEST + 1, width, 3, padding=SIDE, dilation=SIDE),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        )
        self.each = nn.Sequential(
            nn.Conv2d(width, FREQUENCY, 1, bias=False), nn.BatchNorm2d(FREQUENCY), nn.ReLU(inplace=True)
        )
        widths = [2 * FREQUENCY * SIDE**2] + [channels] * blocks
        self.blocks = nn.Sequential(*(BasicBlock(i, o, 1, 64) for i, o in pairwise(widths)))
        self.head = nn.Sequential(
            nn.Conv2d(channels, channels, 1),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, 1, 1),
        )

    def forward(
        self, multiples: Int[Tensor, "b h w"], steps: Float[Tensor, "b 8 8"]
    ) -> Float[Tensor, "b 1 h w"]:
        """Logits of pixels, interpolated between those of the blocks.

        Args:
            multiples: Coefficients in whole steps, without sign; the sides divisible by 8.
            steps: Of each frequency.
        """
        each = self.each(self.around(planes_of(multiples)))
        apart = rearrange(each, "b c (h u) (w v) -> b c u v h w", u=SIDE, v=SIDE)
        both = torch.cat([apart, apart * steps[:, None, :, :, None, None]], dim=1)
        logits = self.head(self.blocks(both.flatten(1, 3)))
        return F.interpolate(logits, scale_factor=SIDE, mode="bilinear")


def planes_of(multiples: Int[Tensor, "b h w"]) -> Float[Tensor, "b 21 h w"]:
    """1 in the plane of as many steps, in the last also for more; 0 in all others."""
    wanted = multiples.clamp(max=HIGHEST).long()[:, None]
    empty = torch.zeros(len(multiples), HIGHEST + 1, *multiples.shape[1:], device=multiples.device)
    return empty.scatter_(1, wanted, 1.0)
