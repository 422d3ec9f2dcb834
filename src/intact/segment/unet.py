"""U-Net: down by pooling, up again, and across at every resolution.

Ronneberger, Fischer, Brox, "U-Net: Convolutional Networks for Biomedical Image Segmentation",
MICCAI 2015. Five resolutions, two 3x3 convolutions at each, channels doubling from `width` (64 in
the paper), 2x2 max pooling, 2x2 up-convolutions, skips by concatenation, a 1x1 convolution last.

Differs from the paper: convolutions are padded, so the mask has the image's size; batch
normalisation after each, no dropout; one sigmoid per label, Dice and cross-entropy instead of a
border-weighted entropy; AdamW; by default a quarter of the width, which trains on two cores.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from intact.data.transforms import is_colour
from intact.segment.network import Network, Pairs
from intact.segment.plan import Plan


@dataclass(eq=False)
class UNet(Network):
    """The U-Net; each plane is seen whole, scaled to `size`.

    Args:
        size: Longer side of what the network sees, in pixels.
        width: Channels at full resolution; 64 in the paper.
    """

    size: int = 256
    width: int = 16

    source: ClassVar[str] = "Ronneberger et al., MICCAI 2015"

    def _plan(self, pairs: Pairs) -> Plan:
        return Plan((self.size, self.size), colour=all(is_colour(image) for image, _ in pairs))

    def _build(self, channels: int, labels: int) -> nn.Module:
        from monai.networks.nets import BasicUNet

        widths = tuple(self.width * 2**level for level in range(5))
        return BasicUNet(2, channels, labels, (*widths, self.width), act="relu", norm="batch")
