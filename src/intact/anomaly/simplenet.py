"""SimpleNet: tell normal features from the same with a little noise; lesions fall on the noisy side.

Liu, Zhou, Xu, Wang, "SimpleNet: A Simple Network for Image Anomaly Detection and Localization", CVPR
2023, https://arxiv.org/abs/2303.15140. Settings as in the authors' code, DonaldRR/SimpleNet.

Differs from the paper: ResNet-18 instead of Wide-ResNet-50-2 with a quarter of the dimensions, 128 x 128
instead of 288 x 288 images, and 800 steps instead of 160 passes over the images, so that it trains on a
CPU in minutes (all are fields). The last networks are kept; the authors' code keeps those that do best on
the test set and rescales scores to its range. One AdamW serves
both networks; theirs is Adam for the discriminator, which is the same but for a weight decay of 1e-5.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from intact.anomaly.adapted_patches import AdaptedPatches
from intact.anomaly.base import Batches, Images
from intact.anomaly.parts import Parts
from intact.precision import computing
from intact.train import train


@dataclass(eq=False)
class SimpleNet(AdaptedPatches):
    """Minus what a discriminator gives for a patch, which is high for normal and low for noisy features."""

    margin: float = 0.5  # beyond which a feature is told well enough
    steps: int = 800
    lr: float = 2e-4  # of the discriminator
    adaptor_lr: float = 1e-4

    source: ClassVar[str] = "Liu et al., CVPR 2023"

    def _fit(self, batches: Batches) -> None:
        rng = torch.Generator().manual_seed(self.seed)
        groups = [
            {"params": self.adaptor.parameters(), "lr": self.adaptor_lr, "weight_decay": 0.01},
            {"params": self.discriminator.parameters(), "lr": self.lr, "weight_decay": 1e-5},
        ]
        nets = nn.ModuleList([self.adaptor, self.discriminator])

        def loss(images: Tensor) -> Tensor:
            return self._loss(images, rng)

        optimiser = torch.optim.AdamW(groups)
        train(
            nets, loss, Parts(batches, self.batch), steps=self.steps, optimiser=optimiser, max_norm=math.inf
        )

    def _loss(self, images: Images, rng: torch.Generator) -> Float[Tensor, ""]:
        """Hinge: normal features should get more than `margin`, noisy ones less than minus that."""
        patches = self._patches(images).flatten(0, 2)
        with computing(self.precision, images.device.type):
            normal = self.adaptor(patches).float()
            noisy = normal + self.noise * torch.randn(normal.shape, generator=rng).to(normal)
            rated = self.discriminator(torch.cat([normal, noisy])).float()
        high, low = rated[: len(normal)], rated[len(normal) :]
        return (self.margin - high).clamp(min=0).mean() + (self.margin + low).clamp(min=0).mean()

    def _suspicion(self, rated: Tensor) -> Tensor:
        return -rated
