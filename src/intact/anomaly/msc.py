"""MSC: pretrained features learn by a contrast seen from their mean, then near neighbours judge.

Reiss, Hoshen, "Mean-Shifted Contrastive Loss for Anomaly Detection", AAAI 2023,
https://arxiv.org/abs/2106.03844. Features of length 1 of normal images all point the same way, so that
the usual contrastive loss would tear them apart. Measured from their mean, two views of an image only
have to lie in the same direction. Settings follow the authors' code
(talreiss/Mean-Shifted-Anomaly-Detection); none of it is used here.

Differs from that code:
- ResNet-18 to its third stage, of which only that stage learns, at 128 x 128, for two CPU cores and for
  weights that end there, instead of ResNet-152 (third and fourth stage learn) at 224 x 224.
- 200 steps at 1e-4 instead of 20 epochs at 1e-5, which on CIFAR-10's 5000 images are 1600 steps;
  batches as `fit` gives them, there 64.
- Colours are shifted in YIQ instead of HSV, and all images of a batch share the order of the changes.
- Images are seen whole; there in the middle 224 x 224 of 256 x 256.

The angular centre loss, an option of that code, is off as in its command for CIFAR-10. Images are scored
and not localised, as in the paper.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from intact.anomaly.base import Batches, Detector, Images
from intact.anomaly.views import blur, crop_by_area, discolour, flip, jitter
from intact.losses import nt_xent
from intact.nets.trainable import TrainableFeatures
from intact.precision import Precision, computing
from intact.scores import Scores
from intact.train import train

WEIGHT_DECAY = 5e-5


@dataclass(eq=False)
class MSC(Detector):
    """Squared distances to the nearest normal features, all of length 1, added up."""

    size: int = 128
    backbone: str = "resnet18"
    layer: str = "layer3"  # the stage that learns, and whose mean is the feature
    smallest_crop: float = 0.2  # share of the image's area; larger where lesions are small
    temperature: float = 0.25
    centring: float = 0.0  # weight of the angular centre loss, 1 there; the centre then has length 1
    neighbours: int = 2
    steps: int = 200
    lr: float = 1e-4
    precision: Precision = "float32"
    seed: int = 0

    family: ClassVar[str] = "self-supervised"
    source: ClassVar[str] = "Reiss and Hoshen, AAAI 2023"

    def _build(self, channels: int) -> None:
        self.net = TrainableFeatures(self.backbone, (self.layer,))
        self.net.requires_grad_(False)
        self.net.net.get_submodule(self.layer).requires_grad_(True)

    def _fit(self, batches: Batches) -> None:
        self.net.load_pretrained()
        rng = torch.Generator().manual_seed(self.seed)
        centre = self._collect(batches).mean(dim=0)
        if self.centring:
            centre = F.normalize(centre, dim=0)

        def loss(images: Images) -> Float[Tensor, ""]:
            views = [view(images, rng, self.smallest_crop) for _ in range(2)]
            return self._loss(self._features(torch.cat(views)) - centre)

        learning = [p for p in self.net.parameters() if p.requires_grad]
        optimiser = torch.optim.SGD(learning, self.lr, weight_decay=WEIGHT_DECAY)
        train(self.net, loss, batches, steps=self.steps, optimiser=optimiser, max_norm=math.inf)
        self.bank_ = self._collect(batches)

    def _score(self, images: Images) -> Scores:
        # Of vectors of length 1, |a - b|² = 2 - 2ab.
        distances = 2.0 - 2.0 * self._features(images) @ self.bank_.T
        nearest = distances.topk(min(self.neighbours, len(self.bank_)), dim=1, largest=False).values
        return Scores(image=nearest.clamp(min=0.0).sum(dim=1), pixel=None)

    def _loss(self, shifted: Float[Tensor, "m d"]) -> Float[Tensor, ""]:
        """Of both views' features minus the centre; the first half are the first views."""
        first, second = shifted.chunk(2)
        spread = first.square().sum(dim=1).mean() + second.square().sum(dim=1).mean()
        return nt_xent(first, second, self.temperature) + self.centring * spread

    def _features(self, images: Images) -> Float[Tensor, "n d"]:
        with computing(self.precision, images.device.type):
            (maps,) = self.net(images)
        return F.normalize(maps.float().mean(dim=(2, 3)), dim=1)

    @torch.no_grad()
    def _collect(self, batches: Batches) -> Float[Tensor, "n d"]:
        self.net.eval()
        return torch.cat([self._features(images) for images in batches])


def view(images: Images, rng: torch.Generator, smallest: float) -> Images:
    """Another crop, colours, sharpness and side of each image, as in MoCo v2."""
    x = crop_by_area(images, rng, (smallest, 1.0))
    x = jitter(x, rng, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, share=0.8)
    return flip(blur(discolour(x, rng, 0.2), rng, 0.5), rng)
