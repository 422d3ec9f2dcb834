"""A U-Net of weight-standardised convolutions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class StandardisedConv(nn.Conv2d):
    """A 3x3 convolution whose filters have zero mean and unit variance; border reflected.

    Qiao, Wang, Liu, Shen, Yuille, "Micro-Batch Training with Batch-Channel Normalization and
    Weight Standardization", 2019.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 3, padding=1, padding_mode="reflect")

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) -> (n, outputs, h, w)."""
        variance, mean = torch.var_mean(self.weight, dim=(1, 2, 3), keepdim=True)
        weight = (self.weight - mean) * torch.rsqrt(variance + 1e-5)
        return F.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), weight, self.bias)


class UNet(nn.Module):
    """Encoder and decoder with skips: average pooling down, transposed convolutions up.

    Args:
        inputs: Channels of the image.
        outputs: Channels of the result.
        width: Channels at full resolution; they double with each halving.
        depth: How many resolutions there are.
    """

    def __init__(self, inputs: int, outputs: int, width: int, depth: int) -> None:
        super().__init__()
        widths = [width * 2**i for i in range(depth)]
        self.down = nn.ModuleList(_double(i, o) for i, o in zip((inputs, *widths[:-1]), widths, strict=True))
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * w, w, 2, stride=2) for w in reversed(widths[:-1]))
        self.merge = nn.ModuleList(_double(2 * w, w) for w in reversed(widths[:-1]))
        self.head = nn.Conv2d(width, outputs, 1)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d h w"]:
        """The sides must be divisible by 2**(depth - 1)."""
        skips = []
        for i, block in enumerate(self.down):
            x = block(F.avg_pool2d(x, 2) if i else x)
            skips.append(x)
        for grow, block, skip in zip(self.up, self.merge, reversed(skips[:-1]), strict=True):
            x = block(torch.cat([skip, grow(x)], dim=1))
        return self.head(x)


def _double(inputs: int, outputs: int) -> nn.Module:
    def once(i: int) -> list[nn.Module]:
        return [StandardisedConv(i, outputs), nn.SiLU(), nn.GroupNorm(min(8, outputs), outputs)]

    return nn.Sequential(*once(inputs), *once(outputs))
