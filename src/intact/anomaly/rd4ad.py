"""RD4AD: a student rebuilds a teacher's features from a squeezed code, deepest first.

Deng, Li, "Anomaly Detection via Reverse Distillation from One-Class Embedding", CVPR 2022,
https://arxiv.org/abs/2201.10703.

Differs from the paper: ResNet-18 instead of Wide-ResNet-50-2, 128 x 128 instead of 256 x 256
images, and 200 steps instead of 200 epochs, so that it trains on a CPU in minutes; the paper's are
`backbone`, `size` and `steps`. The embedding lacks a 1 x 1 convolution that the official code
makes (8.4 of the 67.3 million parameters reported for Wide-ResNet-50-2) and never uses. The loss
compares whole maps, as the official code does; the paper's, position by position, is
`loss="local"`. A batch is what `fit` gives, not 16. Maps are enlarged with sample centres aligned as
for areas, not corners.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from intact.anomaly.base import Batches, Images, check_choice, check_halvings
from intact.anomaly.feature_maps import FeatureMaps, Map
from intact.losses import cosine_map, flat_cosine
from intact.nets.features import FrozenFeatures
from intact.nets.reversed_resnet import OneClassEmbedding, ReversedResNet
from intact.precision import Precision, computing
from intact.train import train


@dataclass(eq=False)
class RD4AD(FeatureMaps):
    """1 - cosine between the teacher's and the student's maps, summed over three scales."""

    size: int = 128  # side of the image in pixels, a multiple of 32
    backbone: str = "resnet18"
    loss: str = "flat"  # flat or local
    steps: int = 200
    lr: float = 5e-3
    precision: Precision = "float32"
    seed: int = 0

    source: ClassVar[str] = "Deng and Li, CVPR 2022"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_halvings(self.size, 5)
        check_choice("loss", self.loss, LOSSES)

    def _build(self, channels: int) -> None:
        self.teacher = FrozenFeatures(self.backbone, ("layer1", "layer2", "layer3"), self.precision)
        self.student = nn.Sequential(OneClassEmbedding(self.backbone), ReversedResNet(self.backbone))

    def _fit(self, batches: Batches) -> None:
        def loss(images: Tensor) -> Tensor:
            theirs, ours = self._maps(images)
            return sum((LOSSES[self.loss](t, o) for t, o in zip(theirs, ours, strict=True)), torch.zeros(()))

        optimiser = torch.optim.Adam(self.student.parameters(), lr=self.lr, betas=(0.5, 0.999))
        train(self.student, loss, batches, steps=self.steps, optimiser=optimiser, max_norm=math.inf)

    def _distances(self, images: Images) -> list[Map]:
        return [cosine_map(t, o) for t, o in zip(*self._maps(images), strict=True)]

    def _maps(self, images: Images) -> tuple[list[Tensor], list[Tensor]]:
        """The teacher's three maps and the student's, finest first."""
        theirs = self.teacher(images)
        with computing(self.precision, images.device.type):
            ours = self.student(theirs)
        return [t.float() for t in theirs], [o.float() for o in ours]


LOSSES: dict[str, Callable[[Tensor, Tensor], Float[Tensor, ""]]] = {
    "flat": lambda a, b: flat_cosine(a, b).mean(),
    "local": lambda a, b: cosine_map(a, b).mean(),
}
