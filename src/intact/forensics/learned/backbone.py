"""`backbone`: a plain U-Net on the pixels alone, which every specialist has to beat.

Ronneberger, Fischer, Brox, "U-Net: Convolutional Networks for Biomedical Image Segmentation", MICCAI 2015,
in the form that MONAI gives it: padded 3x3 convolutions, batch normalisation, leaky ReLU. It knows no
filter, no frequency and no correlation, only values at full resolution.

Differs from the paper: a quarter of the width, focal Tversky and cross-entropy instead of a border-weighted
entropy, AdamW.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from intact.forensics.learned.pixel_network import PixelNetwork


@dataclass(eq=False)
class Backbone(PixelNetwork):
    """How likely a U-Net finds each pixel forged.

    Args:
        width: Channels at full resolution; 64 in the paper.
    """

    width: int = 16

    source: ClassVar[str] = "Ronneberger et al., MICCAI 2015, as a baseline"
    halvings: ClassVar[int] = 4

    def _network(self, channels: int) -> nn.Module:
        from monai.networks.nets import BasicUNet

        widths = tuple(self.width * 2**level for level in range(5))
        return BasicUNet(2, channels, 1, (*widths, self.width), norm="batch")
