"""A ResNet whose last map is squeezed and enlarged again to a map of the image's size.

The network of NSA (hmsch/natural-synthetic-anomalies): no skips between its halves.

Differs from that code: the last convolution has a bias, which starts where one pixel in twenty is
marked. Without it what all pixels share must come from the sum over a window, which is smaller at the
border, where the map would then differ.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from intact.nets.features import build_backbone
from intact.nets.resnet import kaiming

START = -3.0  # logit of 1/20, about


class ResNetMap(nn.Module):
    """An image in [0, 1] to a map of its own size.

    A backbone to layer4, not pretrained; two 1 x 1 convolutions that quarter the channels; three
    residual blocks that double the sides and halve the channels; twice bilinear enlargement; a 7 x 7
    transposed convolution.

    Args:
        backbone: Key in `BACKBONES`.
    """

    def __init__(self, backbone: str) -> None:
        super().__init__()
        self.encoder = build_backbone(backbone, ("layer4",))
        width = self.encoder.channels["layer4"]
        self.squeeze = nn.Sequential(
            nn.Conv2d(width, width // 2, 1, bias=False),
            nn.ReLU(inplace=True),
            nn.Conv2d(width // 2, width // 4, 1, bias=False),
            nn.ReLU(inplace=True),
        )
        self.grow = nn.Sequential(*(_Doubling(width // k, width // (2 * k)) for k in (4, 8, 16)))
        self.head = nn.ConvTranspose2d(width // 32, 1, 7, 2, 3, output_padding=1, bias=False)
        self.bias = nn.Parameter(torch.tensor(START))
        kaiming(self)

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n h w"]:
        """The sides must be divisible by 32. No activation at the end."""
        x = self.grow(self.squeeze(self.encoder(images)[0]))
        x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
        return self.head(x)[:, 0] + self.bias


class _Doubling(nn.Module):
    """A residual block whose first convolution and shortcut are transposed, with stride 2."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.ConvTranspose2d(inputs, outputs, 3, 2, 1, output_padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential(
            nn.ConvTranspose2d(inputs, outputs, 1, 2, output_padding=1, bias=False), nn.BatchNorm2d(outputs)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) -> (n, outputs, 2 h, 2 w)."""
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))
