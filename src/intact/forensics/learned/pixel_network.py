"""What all networks have in common that say of every pixel how likely it is forged."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor, nn

from intact.forensics.learned.base import top_mean
from intact.forensics.learned.crop_network import CropNetwork

WINDOW = 512  # pixels: larger images are seen in windows of this side,
OVERLAP = 0.25  # which share so much with the next one
MISSED, ALARM, POWER = 0.7, 0.3, 0.75  # of the focal Tversky loss
RAREST = 50.0  # the most that a forged pixel counts beside a genuine one
SMOOTH = 1e-5


@dataclass(eq=False)
class PixelNetwork(CropNetwork):
    """A network that sees a plane and gives a logit for each pixel.

    The score of an image is the mean of its highest thousandth of logits, so that a forgery of a few
    dozen pixels counts and one pixel alone does not.

    Args:
        crop: Side of the crops it learns from, in pixels.
    """

    crop: int = 128

    halvings: ClassVar[int] = 0  # how often the network halves the sides of what it sees

    @property
    def _side(self) -> int:
        return self.crop

    @abstractmethod
    def _network(self, channels: int) -> nn.Module:
        """From (b, channels, h, w) to logits (b, 1, h, w); the sides divisible by 2 ** `halvings`."""

    def _loss(self, crops: Float[Tensor, "b 2 h w"]) -> Float[Tensor, ""]:
        return forged_pixels(self.net(crops[:, :1]), crops[:, 1:])

    def _look(self, seen: Float[Tensor, "h w"]) -> tuple[float, Float[ndarray, "h w"]]:
        logits = self._logits(seen)
        return top_mean(logits), torch.sigmoid(logits).numpy().astype(np.float32)

    def _logits(self, seen: Float[Tensor, "h w"]) -> Float[Tensor, "h w"]:
        """Of a whole plane; of a large one window by window, their overlaps averaged."""
        if max(seen.shape) <= WINDOW:
            return self._filled(seen[None, None])[0, 0]
        from monai.inferers import sliding_window_inference

        window = tuple(min(WINDOW, n) for n in seen.shape)
        found = sliding_window_inference(
            seen[None, None], window, 1, self._filled, overlap=OVERLAP, mode="gaussian"
        )
        logits: Tensor = found[0, 0]
        return logits

    def _filled(self, seen: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 1 h w"]:
        """Filled up to sides that the network can halve, by repeating the border."""
        height, width = seen.shape[-2:]
        below, right = (-n % 2**self.halvings for n in (height, width))
        logits: Tensor = self.net(F.pad(seen, (0, right, 0, below), mode="replicate"))
        return logits[..., :height, :width].float()


def forged_pixels(logits: Float[Tensor, "b 1 h w"], target: Float[Tensor, "b 1 h w"]) -> Float[Tensor, ""]:
    """What is lost by these logits, where forged pixels are few.

    Focal Tversky (Abraham & Khan, "A novel focal Tversky loss function with improved attention U-Net for
    lesion segmentation", ISBI 2019) over the crops with forged pixels, plus cross-entropy over all
    pixels, in which a forged one counts as much as the genuine ones of the batch for each, 50 at most.

    Args:
        logits: Of each pixel.
        target: 1 forged, 0 genuine, -1 not counted.
    """
    known = (target >= 0).float()
    truth = target.clamp(min=0.0)
    rarity = (((known - truth).sum() + 1.0) / (truth.sum() + 1.0)).clamp(1.0, RAREST)
    entropy = F.binary_cross_entropy_with_logits(logits, truth, known, reduction="sum", pos_weight=rarity)
    entropy = entropy / (known + (rarity - 1.0) * truth).sum().clamp(min=1.0)
    holds = truth.flatten(1).amax(1) > 0
    if not holds.any():
        return entropy
    chances, truth, known = (x[holds].flatten(1) for x in (torch.sigmoid(logits), truth, known))
    hit = (chances * truth).sum(1)
    alarm, missed = (chances * (known - truth)).sum(1), ((1 - chances) * truth).sum(1)
    tversky = (hit + SMOOTH) / (hit + ALARM * alarm + MISSED * missed + SMOOTH)
    return entropy + (1.0 - tversky).clamp(min=1e-7).pow(POWER).mean()
