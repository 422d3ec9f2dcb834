"""`pscc`: masks from coarse to fine, from maps in which each place is compared with all others.

Liu, Liu, Chen, Liu, "PSCC-Net: Progressive Spatio-Channel Correlation Network for Image Manipulation
Detection and Localization", IEEE Transactions on Circuits and Systems for Video Technology 32(11), 2022;
layers and settings as in the authors' code, proteus1991/PSCC-Net. HRNet without the halvings of its stem
gives maps at full resolution, a half, a quarter and an eighth. From the coarsest to the finest, each is
compared with itself, place by place and channel by channel, and tells a mask; the next one is multiplied by
that mask before. A head over all maps tells whether there is any forgery. The loss is the cross-entropy of
the four masks, in which forged and genuine pixels weigh half each, plus that of the head.

A plane is seen in windows of the size of the crops in training, as comparing all places with each other
grows with the square of their number. The map is that of the finest mask; the score of an image is the mean
of the highest thousandth of pixels of the sum of two logits, the pixel's own and that of the head for its
window.

Differs from the paper: 8 channels at full resolution instead of 18, 8 in the stem instead of 64, crops of
96 instead of 256 pixels, a batch of 6 instead of 10, all so that a CPU can teach it; no weights from
ImageNet; one output of the head instead of two with a softmax, which is the same; a coarse pixel counts as
forged where any pixel in it is, so that small forgeries are not lost, instead of where half of it is; AdamW
at 1e-3 along a cosine instead of Adam at 2e-4, halved every five epochs; momentum 0.1 of the batch
normalisation instead of 0.01, as there are few steps. Where the authors' code reads the memory of maps in
another order, when pixels become channels and in the product of the channels, here pixels of a block stay
together, as in the paper. The authors' scores come from the head alone, which sees a whole image brought to
one size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, cast

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor, nn

from intact.forensics.learned.base import top_mean
from intact.forensics.learned.pixel_network import PixelNetwork
from intact.nets.pscc import PSCC, Answers

SHARED = 0.125  # of a window's side, with the next one
AT_ONCE = 4  # windows


@dataclass(eq=False)
class PSCCNet(PixelNetwork):
    """How likely PSCC-Net finds each pixel forged, and its window.

    Args:
        width: Channels at full resolution, even; 18 in the paper.
        stem: Channels before the first branch; 64 in the paper.
    """

    batch: int = 6
    crop: int = 96
    width: int = 8
    stem: int = 8

    source: ClassVar[str] = "Liu et al., IEEE TCSVT 2022"
    halvings: ClassVar[int] = 3

    def _network(self, channels: int) -> nn.Module:
        return PSCC(channels, self.width, self.stem)

    def _loss(self, crops: Float[Tensor, "b 2 h w"]) -> Float[Tensor, ""]:
        return answers_loss(cast(PSCC, self.net).judge(crops[:, :1]), crops[:, 1:])

    def _look(self, seen: Float[Tensor, "h w"]) -> tuple[float, Float[ndarray, "h w"]]:
        from monai.inferers import sliding_window_inference

        window = tuple(min(self.crop, n) for n in seen.shape)
        pixel, image = sliding_window_inference(
            seen[None, None], window, AT_ONCE, self._judged, overlap=SHARED, mode="gaussian"
        )[0]
        return top_mean(pixel + image), torch.sigmoid(pixel).numpy().astype(np.float32)

    def _judged(self, seen: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 2 h w"]:
        """Logits of windows' pixels and, the same for all their pixels, of windows."""
        height, width = seen.shape[-2:]
        below, right = (-n % 2**self.halvings for n in (height, width))
        answers = cast(PSCC, self.net).judge(F.pad(seen, (0, right, 0, below), mode="replicate"))
        pixel = answers.masks[0][..., :height, :width]
        return torch.cat([pixel, answers.image[..., None, None].expand_as(pixel)], dim=1)


def answers_loss(answers: Answers, target: Float[Tensor, "b 1 h w"]) -> Float[Tensor, ""]:
    """The cross-entropies of all masks and of the head.

    Args:
        answers: Of the network.
        target: 1 forged, 0 genuine, -1 not counted.
    """
    scales = [F.adaptive_max_pool2d(target, mask.shape[-2:]) for mask in answers.masks]
    masks = [balanced(mask, wanted) for mask, wanted in zip(answers.masks, scales, strict=True)]
    forged = (target > 0).flatten(1).any(1, keepdim=True).float()
    return sum(masks, F.binary_cross_entropy_with_logits(answers.image, forged))


def balanced(logits: Float[Tensor, "b 1 h w"], target: Float[Tensor, "b 1 h w"]) -> Float[Tensor, ""]:
    """Cross-entropy in which forged and genuine pixels weigh half each; alone, one of them weighs all."""
    entropy = F.binary_cross_entropy_with_logits(logits, target.clamp(min=0.0), reduction="none")
    means = [entropy[target == kind].mean() for kind in (0.0, 1.0) if (target == kind).any()]
    return torch.stack(means).mean() if means else entropy.sum() * 0.0
