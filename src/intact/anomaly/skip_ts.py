"""Skip-TS: reverse distillation whose decoder also sees the teacher's own features.

Liu, Jiao, Lu, Chen, "Anomaly Detection for Medical Images Using Teacher-Student Model With Skip
Connections and Multiscale Anomaly Consistency", IEEE TIM 2024,
https://ieeexplore.ieee.org/document/10540605. Layers, loss and score are those of the authors' code;
the paper's text was not at hand.

Differs from the paper: the code that the decoder starts from comes from a layer4 that is trained with
it, because the weights at hand end at layer3; `frozen_code` takes the teacher's, as the paper does.
ResNet-18 instead of Wide-ResNet-50-2, 128 x 128 instead of 256 x 256 images, and 200 steps instead of
200 epochs, so that it trains on a CPU in minutes (all are fields). A batch is what `fit` gives, not 16.
For the score maps are enlarged with sample centres aligned as for areas, not corners.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from intact.anomaly.base import Batches, Images, check_halvings
from intact.anomaly.feature_maps import FeatureMaps, Map
from intact.losses import cosine_map, flat_cosine
from intact.nets.features import FrozenFeatures, build_backbone
from intact.nets.resnet import STAGES, kaiming
from intact.nets.reversed_resnet import ReversedResNet
from intact.precision import Precision, computing
from intact.train import train


@dataclass(eq=False)
class SkipTS(FeatureMaps):
    """1 - cosine between the teacher's and the decoder's maps, summed over three scales."""

    size: int = 128  # side of the image in pixels, a multiple of 32
    backbone: str = "resnet18"
    frozen_code: bool = False  # True: start from the teacher's layer4; needs weights that reach it
    consistency: float = 0.05  # weight of the second term of the loss
    steps: int = 200
    lr: float = 5e-3
    precision: Precision = "float32"
    seed: int = 0

    source: ClassVar[str] = "Liu et al., IEEE TIM 2024"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_halvings(self.size, 5)

    def _build(self, channels: int) -> None:
        self.teacher = FrozenFeatures(
            self.backbone, STAGES if self.frozen_code else STAGES[:3], self.precision
        )
        self.code: nn.Module = nn.Identity()
        if not self.frozen_code:
            self.code = build_backbone(self.backbone, STAGES).get_submodule("layer4")
            kaiming(self.code)
        self.student = ReversedResNet(self.backbone)

    def _fit(self, batches: Batches) -> None:
        def loss(images: Tensor) -> Tensor:
            theirs, ours = self._maps(images)
            alike = torch.stack([flat_cosine(t, o).mean() for t, o in zip(theirs, ours, strict=True)])
            return alike.sum() + self.consistency * inconsistency(theirs, ours)

        nets = nn.ModuleList([self.code, self.student])
        optimiser = torch.optim.Adam(nets.parameters(), lr=self.lr, betas=(0.5, 0.999))
        train(nets, loss, batches, steps=self.steps, optimiser=optimiser, max_norm=math.inf)

    def _distances(self, images: Images) -> list[Map]:
        return [cosine_map(t, o) for t, o in zip(*self._maps(images), strict=True)]

    def _maps(self, images: Images) -> tuple[list[Tensor], list[Tensor]]:
        """The teacher's three maps and the decoder's, finest first."""
        theirs = self.teacher(images)
        with computing(self.precision, images.device.type):
            ours = self.student(self.code(theirs[-1]), skips=theirs[1:3])
        return [t.float() for t in theirs[:3]], [o.float() for o in ours]


def inconsistency(a: list[Float[Tensor, "n _ _ _"]], b: list[Float[Tensor, "n _ _ _"]]) -> Float[Tensor, ""]:
    """How much the mean squared error differs between the three scales.

    Each pair is compared with its coarser map enlarged to the finest size; in the first pair, coarse
    and middle, the middle map keeps its own size, as in the authors' code.
    """
    gaps = [x - y for x, y in zip(a, b, strict=True)]
    fine, middle = gaps[0].square().mean(), gaps[1].square().mean()
    size = gaps[0].shape[-2:]
    # Enlarging is linear: the difference enlarged is the difference of the enlarged.
    middle_grown, coarse_grown = (
        F.interpolate(gap, size=size, mode="bilinear", align_corners=True).square().mean() for gap in gaps[1:]
    )
    return (coarse_grown - middle).abs() + (middle_grown - fine).abs() + (coarse_grown - fine).abs()
