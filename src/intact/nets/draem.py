"""DRAEM's two networks: one rebuilds an image without what does not belong there, one finds the difference.

Zavrtanik, Kristan, Skočaj, "DRAEM - A discriminatively trained reconstruction embedding for surface
anomaly detection", ICCV 2021; layers as in the authors' code, VitjanZ/DRAEM.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

WIDTHS = (1, 2, 4, 8, 8, 8)  # of the levels, over that at full resolution


class Rebuilder(nn.Module):
    """An autoencoder of five levels without skips.

    Args:
        channels: Of the image and of the result.
        width: Channels at full resolution.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.down = _down(channels, width, 5)
        narrower = zip((8, 4, 2, 1), (4, 2, 1, 1), strict=True)
        self.up = nn.ModuleList(
            nn.Sequential(_grow(i * width, i * width), _double(i * width, i * width, o * width))
            for i, o in narrower
        )
        self.head = nn.Conv2d(width, channels, 3, padding=1)
        _initialise(self)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """The sides must be divisible by 16."""
        x = _maps(self.down, x)[-1]
        for grow in self.up:
            x = grow(x)
        return self.head(x)


class Segmenter(nn.Module):
    """A U-Net of six levels.

    Args:
        inputs: Channels of what it sees.
        outputs: Channels of the result.
        width: Channels at full resolution.
    """

    def __init__(self, inputs: int, outputs: int, width: int) -> None:
        super().__init__()
        self.down = _down(inputs, width, 6)
        plan = list(zip((8, 8, 4, 2, 1), (8, 4, 2, 1, 1), strict=True))  # inputs, also of the skip; outputs
        self.up = nn.ModuleList(_grow(i * width, o * width) for i, o in plan)
        self.merge = nn.ModuleList(_double((i + o) * width, o * width, o * width) for i, o in plan)
        self.head = nn.Conv2d(width, outputs, 3, padding=1)
        _initialise(self)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d h w"]:
        """The sides must be divisible by 32."""
        *skips, x = _maps(self.down, x)
        for grow, block, skip in zip(self.up, self.merge, reversed(skips), strict=True):
            x = block(torch.cat([grow(x), skip], dim=1))
        return self.head(x)


def _down(inputs: int, width: int, levels: int) -> nn.ModuleList:
    widths = [w * width for w in WIDTHS[:levels]]
    return nn.ModuleList(_double(i, o, o) for i, o in pairwise((inputs, *widths)))


def _maps(down: nn.ModuleList, x: Tensor) -> list[Tensor]:
    """What each level gives, finest first; sides are halved in between."""
    maps: list[Tensor] = []
    for block in down:
        x = block(F.max_pool2d(x, 2) if maps else x)
        maps.append(x)
    return maps


def _double(inputs: int, between: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(*_convolution(inputs, between), *_convolution(between, outputs))


def _grow(inputs: int, outputs: int) -> nn.Sequential:
    double = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
    return nn.Sequential(double, *_convolution(inputs, outputs))


def _convolution(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]


def _initialise(net: nn.Module) -> None:
    """Small normal weights, as in adversarial networks."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, 0.0, 0.02)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.02)
