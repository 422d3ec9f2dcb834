"""A wide residual network that halves its maps four times and doubles them again, without skips.

The network of FPI and PII (jemtan/FPI): an encoder after Zagoruyko, Komodakis, "Wide Residual
Networks", BMVC 2016, with two more stages, and its mirror image of one block per stage.

Differs from that code: a bias is added at the end, which starts where one pixel in twenty is marked.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

STEM = 16  # channels of the first convolution
START = -3.0  # logit of 1/20, about


class WideResidualMap(nn.Module):
    """An image to a map of its own size.

    Args:
        channels: Of the image.
        widen: Factor of the channels; the authors' is 4.
        blocks: Per stage of the encoder.
    """

    def __init__(self, channels: int, widen: int, blocks: int = 1) -> None:
        super().__init__()
        widths = [STEM * widen * 2**i for i in (0, 1, 2, 2, 2)]
        layers: list[nn.Module] = [nn.Conv2d(channels, STEM, 3, padding=1, bias=False)]
        for k, (inputs, outputs) in enumerate(zip((STEM, *widths[:-1]), widths, strict=True)):
            layers.append(_Block(inputs, outputs, down=k > 0))
            layers += [_Block(outputs, outputs) for _ in range(blocks - 1)]
        back = [widths[-1], widths[1], widths[0], STEM, 1]
        layers += [_Block(i, o, up=True) for i, o in pairwise(back)]
        self.layers = nn.Sequential(*layers)
        self.bias = nn.Parameter(torch.tensor(START))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n h w"]:
        """The sides must be divisible by 16. No activation at the end."""
        return self.layers(images)[:, 0] + self.bias


class _Block(nn.Module):
    """Batch norm and ReLU before each of two convolutions, and a shortcut.

    Where the number of channels changes, the shortcut starts after the first ReLU and is a 1 x 1
    convolution. `down` halves the sides in the first convolution; `up` doubles them after it.
    """

    def __init__(self, inputs: int, outputs: int, *, down: bool = False, up: bool = False) -> None:
        super().__init__()
        stride = 2 if down else 1
        self.up = up
        self.bn1, self.bn2 = nn.BatchNorm2d(inputs), nn.BatchNorm2d(outputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.shortcut: nn.Module = nn.AvgPool2d(2) if down else nn.Identity()
        if inputs != outputs:
            self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) -> (n, outputs, h, w), halved or doubled."""
        start = F.relu(self.bn1(x))
        y = self.conv1(start)
        short = self.shortcut(start if isinstance(self.shortcut, nn.Conv2d) else x)
        if self.up:
            y, short = (F.interpolate(m, scale_factor=2, mode="nearest") for m in (y, short))
        return self.conv2(F.relu(self.bn2(y))) + short
