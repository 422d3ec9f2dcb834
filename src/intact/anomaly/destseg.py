"""DeSTSeg: a student repairs foreign texture as it imitates a teacher; a head marks where they disagree.

Zhang, Li, Li, Huang, Shan, Chen, "DeSTSeg: Segmentation Guided Denoising Student-Teacher for Anomaly
Detection", CVPR 2023, https://arxiv.org/abs/2211.11317. The student's rate and both losses are those of
the authors' code, apple/ml-destseg.

Differs from the paper: textures come from other normal images, altered as for DRAEM, instead of
photographs as they are, see `intact.forge.synthetic.texture`; 128 x 128 instead of 256 x 256 images, 64
instead of 256 channels in the head, batches of 16 instead of 32, and 150 and 150 steps instead of 1000
and 4000, so that it trains on a CPU in minutes (all are fields). In so few steps the head learns little by
gradient descent at 0.1 and 0.01, therefore by Adam. Normal images are not turned, which the authors do for
some kinds. The image's score averages the same share of its pixels, 100 of 256 x 256.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from intact.anomaly.base import Batches, Detector, Images, check_halvings
from intact.anomaly.parts import Parts
from intact.anomaly.pooling import top_mean
from intact.filters import upsample
from intact.forge.synthetic.made import Made
from intact.forge.synthetic.texture import texture
from intact.losses import cosine_map, focal
from intact.nets.destseg import DenoisingStudent, SegmentationHead
from intact.nets.features import FrozenFeatures
from intact.nets.resnet import STAGES
from intact.precision import Precision, computing
from intact.scores import Scores
from intact.train import train

MOMENTUM = 0.9  # of the student's gradient descent
WEIGHT_DECAY = 1e-4  # in both stages
GAMMA = 4.0  # of the focal loss
TOP = 100 / 256**2  # share of the pixels whose mean is the image's score


@dataclass(eq=False)
class DeSTSeg(Detector):
    """How sure a network is that a pixel is abnormal, given the products of two networks' features."""

    size: int = 128  # side of the image in pixels, a multiple of 32
    backbone: str = "resnet18"
    head_width: int = 64  # channels of the head
    batch: int = 16  # images per training step
    student_steps: int = 150
    student_lr: float = 0.4  # the loss is a sum over the batch
    steps: int = 150  # of the head, after the student's
    lr: float = 3e-3  # of the head
    precision: Precision = "float32"
    seed: int = 0

    family: ClassVar[str] = "synthesis"
    source: ClassVar[str] = "Zhang et al., CVPR 2023"

    def __post_init__(self) -> None:
        check_halvings(self.size, 5)

    def _build(self, channels: int) -> None:
        self.teacher = FrozenFeatures(self.backbone, STAGES[:3], self.precision)
        self.student = DenoisingStudent(self.backbone)
        self.head = SegmentationHead(sum(self.teacher.channels), self.head_width)

    def _fit(self, batches: Batches) -> None:
        rng = torch.Generator().manual_seed(self.seed)
        parts = Parts(batches, self.batch)

        def student_loss(images: Tensor) -> Tensor:
            return self._student_loss(images, spoilt(images, rng))

        def head_loss(images: Tensor) -> Tensor:
            return self._head_loss(spoilt(images, rng))

        imitating = torch.optim.SGD(
            self.student.parameters(), lr=self.student_lr, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY
        )
        marking = torch.optim.Adam(self.head.parameters(), lr=self.lr, weight_decay=WEIGHT_DECAY)
        for net, loss, steps, optimiser in (
            (self.student, student_loss, self.student_steps, imitating),
            (self.head, head_loss, self.steps, marking),
        ):
            train(net, loss, parts, steps=steps, optimiser=optimiser, max_norm=math.inf)

    def _student_loss(self, images: Images, made: Made) -> Float[Tensor, ""]:
        """1 - cosine of the teacher's features of normal images and the student's of spoilt ones."""
        theirs, ours = self.teacher(images), self._student(made.images)
        gaps = [cosine_map(t.float(), o).mean(dim=(1, 2)) for t, o in zip(theirs, ours, strict=True)]
        return torch.stack(gaps).sum()

    def _head_loss(self, made: Made) -> Float[Tensor, ""]:
        with torch.no_grad():
            products = self._products(made.images)
        logits = self._mark(products)
        side = (logits.shape[-2], logits.shape[-1])
        labels = (upsample(made.labels, side) >= 0.5).float()
        return focal(logits, labels, GAMMA) + F.l1_loss(logits.sigmoid(), labels)

    def _score(self, images: Images) -> Scores:
        found = self._mark(self._products(images)).sigmoid()
        pixel = upsample(found, (self.size, self.size))
        return Scores(image=top_mean(pixel, TOP), pixel=pixel)

    def _products(self, images: Images) -> Float[Tensor, "n c h w"]:
        """Minus the products of both networks' unit features, at the finest map's size."""
        maps = [
            -F.normalize(t.float(), dim=1) * F.normalize(o, dim=1)
            for t, o in zip(self.teacher(images), self._student(images), strict=True)
        ]
        size = maps[0].shape[-2:]
        return torch.cat([F.interpolate(m, size=size, mode="bilinear", align_corners=False) for m in maps], 1)

    def _student(self, images: Images) -> list[Tensor]:
        with computing(self.precision, images.device.type):
            return [m.float() for m in self.student(images)]

    def _mark(self, products: Float[Tensor, "n c h w"]) -> Float[Tensor, "n h w"]:
        with computing(self.precision, products.device.type):
            return self.head(products).float()


def spoilt(images: Images, rng: torch.Generator) -> Made:
    """Images with textures of 20 to 100 % opacity."""
    return texture(images, rng, opacity=1.0 - 0.8 * torch.rand(len(images), generator=rng))
