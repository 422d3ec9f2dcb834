"""Attention U-Net: gates decide which part of a skip may pass, by what is known further down.

Oktay et al., "Attention U-Net: Learning Where to Look for the Pancreas", MIDL 2018.

Differs from the paper: planes instead of volumes; strided convolutions instead of max pooling;
one sigmoid per label; no deep supervision; AdamW.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from intact.data.transforms import is_colour
from intact.segment.network import Network, Pairs
from intact.segment.plan import Plan


@dataclass(eq=False)
class AttentionUNet(Network):
    """The U-Net with additive attention gates; each plane is seen whole, scaled to `size`.

    Args:
        size: Longer side of what the network sees, in pixels.
        width: Channels at full resolution.
    """

    size: int = 256
    width: int = 16

    source: ClassVar[str] = "Oktay et al., MIDL 2018"

    def _plan(self, pairs: Pairs) -> Plan:
        return Plan((self.size, self.size), colour=all(is_colour(image) for image, _ in pairs))

    def _build(self, channels: int, labels: int) -> nn.Module:
        from monai.networks.nets import AttentionUnet

        widths = tuple(self.width * 2**level for level in range(5))
        return AttentionUnet(2, channels, labels, widths, (2, 2, 2, 2))
