"""DeSTSeg's student, which repairs while it encodes and decodes, and the head that marks disagreement.

Zhang, Li, Li, Huang, Shan, Chen, "DeSTSeg: Segmentation Guided Denoising Student-Teacher for Anomaly
Detection", CVPR 2023, https://arxiv.org/abs/2211.11317. The head's pooling at several rates is that of
Chen, Papandreou, Schroff, Adam, "Rethinking Atrous Convolution for Semantic Image Segmentation", 2017.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from intact.nets.features import build_backbone
from intact.nets.resnet import STAGES, BasicBlock, kaiming

RATES = (6, 12, 18)  # distances between the nine places that a convolution of the head sees


class DenoisingStudent(nn.Module):
    """An untrained backbone with all stages, and a decoder that leads back to the first stage's size.

    Args:
        backbone: Key in `BACKBONES`; the maps have the shapes of its layer1, layer2 and layer3.
    """

    def __init__(self, backbone: str) -> None:
        super().__init__()
        self.encoder = build_backbone(backbone, STAGES)
        widths = [*self.encoder.channels.values()]
        inputs = (widths[3], widths[3], widths[2], widths[1])
        self.decoder = nn.ModuleList(_blocks(i, o) for i, o in zip(inputs, reversed(widths), strict=True))
        kaiming(self)

    def forward(self, images: Float[Tensor, "n c h w"]) -> list[Tensor]:
        """Maps shaped as those of layer1, layer2 and layer3."""
        *sized, x = self.encoder(images)
        deepest, *stages = self.decoder
        x = deepest(x)
        maps: list[Tensor] = []
        for stage, like in zip(stages, reversed(sized), strict=True):
            x = stage(F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False))
            maps.insert(0, x)
        return maps


class SegmentationHead(nn.Module):
    """From products of features to a logit per position.

    Args:
        inputs: Channels of all products together.
        width: Channels inside.
    """

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.residual = _blocks(inputs, width)
        self.pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), *_convolution(width, width, 1))
        self.spread = nn.ModuleList(nn.Sequential(*_convolution(width, width, 3, rate)) for rate in RATES)
        self.joined = nn.Sequential(
            *_convolution((1 + len(RATES)) * width, width, 3),
            *_convolution(width, width, 3),
            nn.Conv2d(width, 1, 1),
        )
        kaiming(self.residual)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n h w"]:
        """At the side of what it is given; batch norm needs at least two images in training."""
        x = self.residual(x)
        everywhere = self.pooled(x).expand_as(x)
        return self.joined(torch.cat([everywhere, *(part(x) for part in self.spread)], dim=1))[:, 0]


def _blocks(inputs: int, outputs: int) -> nn.Sequential:
    """Two residual blocks at one size."""
    return nn.Sequential(
        BasicBlock(inputs, outputs, stride=1, base_width=64),
        BasicBlock(outputs, outputs, stride=1, base_width=64),
    )


def _convolution(inputs: int, outputs: int, side: int, rate: int = 1) -> list[nn.Module]:
    padding = rate * (side // 2)
    return [
        nn.Conv2d(inputs, outputs, side, padding=padding, dilation=rate, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    ]
