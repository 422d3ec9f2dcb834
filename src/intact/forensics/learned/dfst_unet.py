"""`dfst_unet`: a U-shaped transformer looks at a picture and at its high frequencies, and joins both.

Yang, Xie, Mai, Chen, "DFST-UNet: Dual-Domain Fusion Swin Transformer U-Net for Image Forgery Localization",
Entropy 27(5):535, 2025. What a forger leaves shows in high frequencies, so there are two encoders: one for
the image itself, and one for what a Gaussian high-pass leaves of its Fourier transform, turned back into a
picture and embedded by convolutions (HFEM; it did better in the authors' hands than an ideal high-pass, SRM
or Bayar filters). Both have the four scales of Swin-Unet, at 1/4 to 1/32 of the sides, with two Swin blocks
each. At each scale attention to channels and then to places joins them (HAFM; better than adding them). A
decoder of Swin blocks and patch expanding, with skips from what was joined, leads back to pixels. The loss
is Dice plus focal loss.

The paper's abstract and outline were read, not its tables. Chosen here are: the cutoff, 30/512 cycles per
pixel at any size; the embedding of high frequencies, a 3 x 3 convolution with batch normalisation and ReLU
before that of patches, and no norm after it, so that it is told how strong they are; squeeze and excitation
of ratio 16 on both maps, a 1 x 1 convolution, spatial attention 7 x 7 as in CBAM, to which both maps are
added; gamma 2 of the focal loss, both losses weighed alike.

Differs from the paper: one grey channel; a quarter of the width of Swin-T (24-48-96-192 channels) and heads
of 24 channels; windows of 8 tokens instead of 7, which divide crops of 128 pixels evenly; 1e-3 instead of
1e-4 and 600 steps from random weights instead of long training; the border is mirrored before the transform.
Dice is reckoned over the whole batch, as genuine crops have no Dice of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from intact.forensics.learned.pixel_network import PixelNetwork
from intact.losses import focal
from intact.nets.dfst_unet import DualSwinUNet

GAMMA = 2.0  # of the focal loss
SURE = -30.0  # logit at which a pixel adds nothing to either loss
SMOOTH = 1.0  # pixels


@dataclass(eq=False)
class DFSTUNet(PixelNetwork):
    """How likely a transformer for picture and high frequencies finds each pixel forged.

    Args:
        width: Channels of a token of the finest scale, a multiple of 24; 96 in the paper.
    """

    width: int = 24

    source: ClassVar[str] = "Yang et al., Entropy 2025"
    halvings: ClassVar[int] = 5

    def _network(self, channels: int) -> nn.Module:
        return DualSwinUNet(channels, self.width)

    def _loss(self, crops: Float[Tensor, "b 2 h w"]) -> Float[Tensor, ""]:
        return dice_and_focal(self.net(crops[:, :1]), crops[:, 1:])


def dice_and_focal(logits: Float[Tensor, "b 1 h w"], target: Float[Tensor, "b 1 h w"]) -> Float[Tensor, ""]:
    """Soft Dice loss over the whole batch plus focal loss.

    Args:
        logits: Of each pixel.
        target: 1 forged, 0 genuine, -1 not counted.
    """
    counted = logits.masked_fill(target < 0, SURE)
    truth, chances = target.clamp(min=0.0), torch.sigmoid(counted)
    dice = (2 * (chances * truth).sum() + SMOOTH) / (chances.sum() + truth.sum() + SMOOTH)
    return 1.0 - dice + focal(counted, truth, GAMMA)
