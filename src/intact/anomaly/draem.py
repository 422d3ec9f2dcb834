"""DRAEM: rebuild an image without foreign texture, then compare the two and mark the difference.

Zavrtanik, Kristan, Skočaj, "DRAEM - A discriminatively trained reconstruction embedding for surface
anomaly detection", ICCV 2021, https://arxiv.org/abs/2108.07610. Settings as in the authors' code,
VitjanZ/DRAEM.

Differs from the paper: textures come from other normal images instead of photographs, see
`intact.forge.synthetic.texture`; 16 and 8 channels at full resolution instead of 128 and 64, 128 x 128
instead of 256 x 256 images, and 400 steps at 1e-3 instead of 700 epochs at 1e-4, so that it trains on a
CPU in minutes (all are fields). Normal images are not turned as a
third of them are there: how a medical image lies is part of being normal. One output instead of two with
a softmax, which is the same; the border of the structural similarity is reflected.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from intact.anomaly.base import Batches, Detector, Images, check_halvings
from intact.anomaly.parts import Parts
from intact.forge.synthetic.made import Made
from intact.forge.synthetic.texture import texture
from intact.losses import focal, ssim_map
from intact.nets.draem import Rebuilder, Segmenter
from intact.precision import Precision, computing
from intact.scores import Scores
from intact.train import train

GAMMA = 2.0  # of the focal loss
POOLED = 21 / 256  # side of the window whose mean, where it is highest, is the score, over the image's


@dataclass(eq=False)
class DRAEM(Detector):
    """How sure a network is that a pixel is abnormal, given the image and its reconstruction."""

    size: int = 128  # side of the image in pixels, a multiple of 32
    width: int = 16  # channels of the rebuilding network at full resolution
    segmenter_width: int = 8
    abnormal: float = 0.5  # share of the images in training that get a texture
    batch: int = 8  # images per training step
    steps: int = 400
    lr: float = 1e-3
    precision: Precision = "float32"
    seed: int = 0

    family: ClassVar[str] = "synthesis"
    source: ClassVar[str] = "Zavrtanik et al., ICCV 2021"

    def __post_init__(self) -> None:
        check_halvings(self.size, 5)

    def _build(self, channels: int) -> None:
        self.rebuilder = Rebuilder(channels, self.width)
        self.segmenter = Segmenter(2 * channels, 1, self.segmenter_width)

    def _fit(self, batches: Batches) -> None:
        rng = torch.Generator().manual_seed(self.seed)
        nets = nn.ModuleList([self.rebuilder, self.segmenter])

        def loss(images: Tensor) -> Tensor:
            return self._loss(images, self._spoilt(images, rng))

        optimiser = torch.optim.Adam(nets.parameters(), lr=self.lr)
        # A fifth of the rate for the last fifth, and again for the last tenth.
        milestones = [self.steps * 8 // 10, self.steps * 9 // 10]
        schedule = torch.optim.lr_scheduler.MultiStepLR(optimiser, milestones, gamma=0.2)
        train(
            nets,
            loss,
            Parts(batches, self.batch),
            steps=self.steps,
            optimiser=optimiser,
            schedule=schedule,
            max_norm=math.inf,
        )

    def _spoilt(self, images: Images, rng: torch.Generator) -> Made:
        """Some images with textures of 20 to 100 % opacity, the others as they are."""
        drawn = torch.rand(2, len(images), generator=rng)
        opacity = (1.0 - 0.8 * drawn[0]) * (drawn[1] < self.abnormal)
        return texture(images, rng, opacity=opacity)

    def _loss(self, images: Images, made: Made) -> Float[Tensor, ""]:
        """Of the reconstruction, pixel by pixel and by structure, and of the mask."""
        rebuilt, logits = self._find(made.images)
        unlike = 1.0 - ssim_map(rebuilt, images).mean()
        return F.mse_loss(rebuilt, images) + unlike + focal(logits, made.labels, GAMMA)

    def _score(self, images: Images) -> Scores:
        pixel = self._find(images)[1].sigmoid()
        half = round(POOLED * self.size / 2 - 0.5)
        pooled = F.avg_pool2d(pixel[:, None], 2 * half + 1, stride=1, padding=half)
        return Scores(image=pooled.amax(dim=(1, 2, 3)), pixel=pixel)

    def _find(self, images: Images) -> tuple[Images, Float[Tensor, "n h w"]]:
        """The reconstruction, and how much each pixel differs, as a logit."""
        with computing(self.precision, images.device.type):
            rebuilt = self.rebuilder(images).float()
            logits = self.segmenter(torch.cat([rebuilt, images], dim=1))
        return rebuilt, logits[:, 0].float()
