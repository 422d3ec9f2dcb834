"""STFPM: an untrained network learns to give the features of a trained one, on normal images only.

Wang, Han, Ding, Huang, "Student-Teacher Feature Pyramid Matching for Anomaly Detection", BMVC 2021,
https://arxiv.org/abs/2103.04257.

Differs from the paper: 128 x 128 instead of 256 x 256 images and 300 steps instead of 100 epochs,
so that it trains on a CPU in minutes; the last student is kept, not the one with the lowest error on
held-out normals. The official code leaves out the factor 1/2 of the paper's loss, which is to double
`lr`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from intact.anomaly.base import Batches, Images
from intact.anomaly.feature_maps import FeatureMaps, Map
from intact.losses import cosine_map
from intact.nets.features import FrozenFeatures, build_backbone
from intact.nets.resnet import kaiming
from intact.precision import Precision, computing
from intact.train import train


@dataclass(eq=False)
class STFPM(FeatureMaps):
    """Half the squared distance between the unit features of teacher and student, three scales multiplied."""

    size: int = 128
    backbone: str = "resnet18"
    layers: tuple[str, ...] = ("layer1", "layer2", "layer3")
    fusion: str = "product"
    sigma: float = 0.0
    steps: int = 300
    lr: float = 0.4
    precision: Precision = "float32"
    seed: int = 0

    source: ClassVar[str] = "Wang et al., BMVC 2021"
    fused_at: ClassVar[str] = "finest"

    def _build(self, channels: int) -> None:
        self.teacher = FrozenFeatures(self.backbone, self.layers, self.precision)
        self.student = build_backbone(self.backbone, self.layers)
        kaiming(self.student)

    def _fit(self, batches: Batches) -> None:
        def loss(images: Tensor) -> Tensor:
            return torch.stack([gap.mean() for gap in self._distances(images)]).sum()

        optimiser = torch.optim.SGD(self.student.parameters(), lr=self.lr, momentum=0.9, weight_decay=1e-4)
        train(self.student, loss, batches, steps=self.steps, optimiser=optimiser, max_norm=math.inf)

    def _distances(self, images: Images) -> list[Map]:
        """Half the squared distance between vectors of length 1 is 1 - their cosine."""
        theirs = self.teacher(images)
        with computing(self.precision, images.device.type):
            ours = self.student(images)
        return [cosine_map(t.float(), o.float()) for t, o in zip(theirs, ours, strict=True)]
