"""PSCC-Net: masks from coarse to fine, each place and each channel compared with all others.

Liu, Liu, Chen, Liu, "PSCC-Net: Progressive Spatio-Channel Correlation Network for Image Manipulation
Detection and Localization", IEEE TCSVT 32(11), 2022; layers as in the authors' code, proteus1991/PSCC-Net.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from intact.nets.hrnet import HRNet, Maps, enlarged
from intact.nets.resnet import Bottleneck

REDUCED = (4, 2, 2, 1)  # how far the sides are reduced before places are compared, finest scale first
MASKED = 16  # channels before a mask
PAIRS = 128  # channels of the detection head's last map
HIDDEN = 16


class Answers(NamedTuple):
    """What PSCC-Net says of images.

    Args:
        masks: Logits at full resolution, a half, a quarter and an eighth of it.
        image: Logit that there is any forgery.
        maps: Of the backbone, finest first.
    """

    masks: list[Float[Tensor, "n 1 _ _"]]
    image: Float[Tensor, "n 1"]
    maps: Maps


class SCCM(nn.Module):
    """Spatio-channel correlation: adds what other places, and what other channels, say of the same.

    Blocks of `reduced` x `reduced` pixels become places with that many times more channels.

    Args:
        channels: Of the map.
        reduced: Side of a block.
    """

    def __init__(self, channels: int, reduced: int) -> None:
        super().__init__()
        inner = channels * reduced**2
        self.reduced = reduced
        self.theta, self.phi, self.g = (nn.Conv2d(inner, inner, 1) for _ in range(3))
        self.by_place, self.by_channel = (nn.Conv2d(channels, channels, 1) for _ in range(2))
        self.gamma_place, self.gamma_channel = (nn.Parameter(torch.ones(())) for _ in range(2))

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """The sides must be divisible by `reduced`."""
        folded = F.pixel_unshuffle(x, self.reduced)
        theta, phi, g = self.theta(folded), self.phi(folded), self.g(folded)
        place = F.pixel_shuffle(self.places(theta, phi, g), self.reduced)
        channel = F.pixel_shuffle(self.channels(theta, phi, g), self.reduced)
        return x + self.gamma_place * self.by_place(place) + self.gamma_channel * self.by_channel(channel)

    def places(
        self, theta: Float[Tensor, "n c h w"], phi: Float[Tensor, "n c h w"], g: Float[Tensor, "n c h w"]
    ) -> Float[Tensor, "n c h w"]:
        """Of each place the mean of g over all places, weighted by softmax(theta' phi)."""
        query, key, value = (x.flatten(2).transpose(1, 2) for x in (theta, phi, g))
        seen = F.scaled_dot_product_attention(query, key, value, scale=1.0)
        return seen.transpose(1, 2).reshape(g.shape)

    def channels(
        self, theta: Float[Tensor, "n c h w"], phi: Float[Tensor, "n c h w"], g: Float[Tensor, "n c h w"]
    ) -> Float[Tensor, "n c h w"]:
        """Of each channel a sum of all channels of g, weighted by softmax(theta phi')."""
        return by_channels(*(x.flatten(2) for x in (theta, phi, g))).view(g.shape)


def by_channels(
    theta: Float[Tensor, "n c p"], phi: Float[Tensor, "n c p"], g: Float[Tensor, "n c p"]
) -> Float[Tensor, "n c p"]:
    """Channels of g mixed by their correlation over these places."""
    return torch.softmax(theta @ phi.mT, dim=-1).mT @ g


class PSCC(nn.Module):
    """HRNet, a correlation and a mask at each of its four scales, and a head for the image.

    Each mask but the coarsest sees its map multiplied by the mask before.

    Args:
        channels: Of the image.
        width: Of HRNet at full resolution, even; 18 in the paper.
        stem: Of HRNet; 64 in the paper.
    """

    def __init__(self, channels: int, width: int, stem: int) -> None:
        super().__init__()
        self.backbone = HRNet(channels, width, stem)
        widths = [width * 2**n for n in range(len(REDUCED))]
        self.correlations = nn.ModuleList(
            self._correlation(each, reduced) for each, reduced in zip(widths, REDUCED, strict=True)
        )
        self.masks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(each, MASKED, 3, padding=1),
                nn.ReLU(inplace=True),
                nn.Conv2d(MASKED, 1, 3, padding=1),
            )
            for each in widths
        )
        self.head = DetectionHead(widths)

    def _correlation(self, channels: int, reduced: int) -> nn.Module:
        return SCCM(channels, reduced)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n 1 h w"]:
        """The finest mask as logits; the sides must be divisible by 8."""
        return self.judge(x).masks[0]

    def judge(self, x: Float[Tensor, "n c h w"]) -> Answers:
        """All that it says."""
        maps = self.backbone(x)
        masks: list[Tensor] = []
        for correlation, mask, seen in zip(
            reversed(self.correlations), reversed(self.masks), reversed(maps), strict=True
        ):
            gated = seen * enlarged(torch.sigmoid(masks[0]), seen) if masks else seen
            masks.insert(0, mask(correlation(gated)))
        return Answers(masks, self.head(maps), maps)


class DetectionHead(nn.Module):
    """One logit for an image: a block on each scale, halved and added to the next, then the mean.

    Args:
        widths: Channels of the maps, finest first, all even.
    """

    def __init__(self, widths: list[int]) -> None:
        super().__init__()
        # `Bottleneck` gives four times its width and is two times it inside: c -> c -> 2c channels.
        self.blocks = nn.ModuleList(Bottleneck(each, each // 2, 1, 128) for each in widths)
        self.halve = nn.ModuleList(
            nn.Sequential(nn.Conv2d(2 * i, 2 * o, 3, 2, 1), nn.BatchNorm2d(2 * o), nn.ReLU(inplace=True))
            for i, o in pairwise(widths)
        )
        self.last = nn.Sequential(
            nn.Conv2d(2 * widths[-1], PAIRS, 1), nn.BatchNorm2d(PAIRS), nn.ReLU(inplace=True)
        )
        self.decide = nn.Sequential(nn.Linear(PAIRS, HIDDEN), nn.ReLU(inplace=True), nn.Linear(HIDDEN, 1))

    def forward(self, maps: Maps) -> Float[Tensor, "n 1"]:
        """From the maps of the four scales."""
        x = self.blocks[0](maps[0])
        for block, halve, seen in zip(list(self.blocks)[1:], self.halve, maps[1:], strict=True):
            x = block(seen) + halve(x)
        return self.decide(self.last(x).mean(dim=(2, 3)))
