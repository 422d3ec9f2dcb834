"""The first stage of a cascade: a small residual network of depthwise-separable convolutions with attention.

Zhang, Huang, Liu, Han, Xiang, "GAN-based Medical Image Small Region Forgery Detection via a Two-Stage Cascade
Framework", PLoS ONE 19(1), 2024; separable convolutions as in Chollet, "Xception", CVPR 2017; attention to
channels as in Hu, Shen, Sun, "Squeeze-and-Excitation Networks", CVPR 2018.
"""

from __future__ import annotations

from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn

HALVING = (1, 3)  # of the blocks, counted from 1
REDUCTION = 16  # channels per channel between the two layers of the attention
DROPOUT = 0.3


class LocalDetector(nn.Module):
    """One logit for a small picture.

    Args:
        channels: Of the picture.
        width: Channels of the first layer; the last has four times as many.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        widths = (width, width, 2 * width, 2 * width, 4 * width, 4 * width)
        stem = [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)]
        blocks = (
            SeparableBlock(i, o, 2 if n in HALVING else 1) for n, (i, o) in enumerate(pairwise(widths), 1)
        )
        pool = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(DROPOUT), nn.Linear(widths[-1], 1)]
        self.layers = nn.Sequential(*stem, nn.ReLU(inplace=True), *blocks, *pool)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n 1"]:
        """Any sides."""
        return self.layers(x)


class SeparableBlock(nn.Module):
    """Two separable convolutions, attention to channels, and a shortcut.

    Args:
        inputs: Channels.
        outputs: Channels.
        stride: Of the first convolution.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        from monai.networks.blocks import ChannelSELayer

        self.body = nn.Sequential(
            *_separable(inputs, outputs, stride),
            nn.ReLU(inplace=True),
            *_separable(outputs, outputs, 1),
            ChannelSELayer(2, outputs, min(REDUCTION, outputs)),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Float[Tensor, "n i h w"]) -> Float[Tensor, "n o h2 w2"]:
        """The sides are divided by the stride."""
        return self.relu(self.body(x) + self.shortcut(x))


def _separable(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, bias=False),
        nn.Conv2d(inputs, outputs, 1, bias=False),
        nn.BatchNorm2d(outputs),
    ]
