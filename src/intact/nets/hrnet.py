"""HRNet: branches of several resolutions side by side, of which the finest is never given up.

Wang et al., "Deep High-Resolution Representation Learning for Visual Recognition", IEEE TPAMI 43(10), 2021;
layers of HRNetV2-W18-small-v2 as configured in the authors' code, without the two halvings of its stem.
"""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from intact.nets.resnet import BasicBlock, Bottleneck

BRANCHES = 4
BLOCKS = 2  # residual blocks of each branch in each stage

Maps = list[Float[Tensor, "n _ _ _"]]  # finest first, each half the sides of the one before


class HRNet(nn.Module):
    """Four stages at full resolution and below: the k-th has k branches, each with half the sides.

    Args:
        channels: Of the image.
        width: Channels at full resolution, 18 in W18; each further branch has twice as many.
        stem: Channels of the first two convolutions and inside the blocks of the first stage, 64 in W18.
    """

    def __init__(self, channels: int, width: int, stem: int) -> None:
        super().__init__()
        widths = [width * 2**n for n in range(BRANCHES)]
        self.stem = nn.Sequential(
            *_convolution(channels, stem),
            *_convolution(stem, stem),
            Bottleneck(stem, stem, 1, 64),
            Bottleneck(4 * stem, stem, 1, 64),
        )
        self.first = nn.Sequential(*_convolution(4 * stem, width))
        # Each stage begins with one more branch, made of the coarsest before.
        begun = [4 * stem, *widths[1:-1]]
        self.begin = nn.ModuleList(
            nn.Sequential(*_convolution(i, o, stride=2)) for i, o in zip(begun, widths[1:], strict=True)
        )
        self.stages = nn.ModuleList(_Stage(widths[: n + 2]) for n in range(BRANCHES - 1))

    def forward(self, x: Float[Tensor, "n c h w"]) -> Maps:
        """Maps of 1, 2, 4 and 8 times `width` channels; the sides must be divisible by 8."""
        x = self.stem(x)
        maps, coarsest = [self.first(x)], x
        for begin, stage in zip(self.begin, self.stages, strict=True):
            maps = stage([*maps, begin(coarsest)])
            coarsest = maps[-1]
        return maps


class _Stage(nn.Module):
    """Residual blocks in each branch, then to each the sum of what all branches tell it."""

    def __init__(self, widths: list[int]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(*(BasicBlock(width, width, 1, 64) for _ in range(BLOCKS))) for width in widths
        )
        count = range(len(widths))
        self.exchange = nn.ModuleList(
            nn.ModuleList(_exchange(widths, source, target) for source in count) for target in count
        )

    def forward(self, maps: Maps) -> Maps:
        maps = [branch(x) for branch, x in zip(self.branches, maps, strict=True)]
        fused = []
        for target, told in zip(maps, self.exchange, strict=True):
            parts = [enlarged(say(x), target) for say, x in zip(told, maps, strict=True)]  # type: ignore[call-overload]
            fused.append(F.relu(sum(parts[1:], parts[0])))
        return fused


def enlarged(x: Float[Tensor, "n c h w"], target: Float[Tensor, "n _ h2 w2"]) -> Float[Tensor, "n c h2 w2"]:
    """Brought to the sides of another map, corners on corners."""
    if x.shape[-2:] == target.shape[-2:]:
        return x
    return F.interpolate(x, size=target.shape[-2:], mode="bilinear", align_corners=True)


def _exchange(widths: list[int], source: int, target: int) -> nn.Module:
    """From one branch to another: halved by strided convolutions, or a 1 x 1 convolution to be enlarged."""
    if source == target:
        return nn.Identity()
    inputs, outputs = widths[source], widths[target]
    if source > target:
        return nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))
    steps = [layer for _ in range(target - source - 1) for layer in _convolution(inputs, inputs, stride=2)]
    last = nn.Conv2d(inputs, outputs, 3, 2, 1, bias=False)
    return nn.Sequential(*steps, last, nn.BatchNorm2d(outputs))


def _convolution(inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
    layer = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
    return [layer, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
