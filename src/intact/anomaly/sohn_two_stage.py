"""Sohn's two stages: learn to tell normal images apart, then describe where their features lie.

Sohn, Li, Yoon, Jin, Pfister, "Learning and Evaluating Representations for Deep One-class
Classification", ICLR 2021, https://arxiv.org/abs/2011.02578. The first stage is contrastive, with
distribution augmentation: an image turned by 90, 180 or 270 degrees counts as another image, so that
features of the normal ones need not cover the whole sphere. The second is a classifier of one class on
the pooled features. Settings follow the authors' code (google-research/deep_representation_one_class).

Differs from that code:
- For two CPU cores, half the channels, 500 steps instead of 2048 epochs, and batches as `fit` gives
  them, there 32. Images of 128 x 128, for which that code has this stem (7 x 7 convolution, pooling),
  instead of 32 or 64.
- Each image of a batch is turned at random; there the turned copies are images of the training set, and
  a batch is drawn from all.
- Brightness is multiplied, as in later versions of SimCLR; there it is shifted. All images of a batch
  share the order of the changes of colour. Blur is left out: that code asks for it and skips it.
- `svdd` is ours beside the heads of that code, see `intact.anomaly.one_class`; left out are its linear
  machine and nearest neighbour, the paper's other pretext tasks, and its maps by integrated gradients:
  this scores images only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from intact.anomaly.base import Batches, Detector, Images, check_choice
from intact.anomaly.one_class import HEADS, sharp_gamma
from intact.anomaly.views import crop_by_side, discolour, flip, jitter, quarter_turns
from intact.losses import info_nce
from intact.nets.features import build_backbone
from intact.nets.resnet import STAGES, kaiming
from intact.precision import Precision, computing
from intact.scores import Scores
from intact.train import train

HIDDEN, EMBEDDING = 512, 128  # widths of the projection
WEIGHT_DECAY = 3e-4


@dataclass(eq=False)
class SohnTwoStage(Detector):
    """How far the pooled features of a contrastive network lie from the normal ones."""

    size: int = 128
    backbone: str = "narrow_resnet18"  # its shape; it starts untrained
    head: str = "oc_svm"  # oc_svm, svdd, kde or gaussian
    depth: int = 8  # hidden layers of the projection
    temperature: float = 0.2
    steps: int = 500
    lr: float = 0.01
    precision: Precision = "float32"
    seed: int = 0

    family: ClassVar[str] = "self-supervised"
    source: ClassVar[str] = "Sohn et al., ICLR 2021"

    def __post_init__(self) -> None:
        check_choice("head", self.head, HEADS)

    def _build(self, channels: int) -> None:
        self.net = build_backbone(self.backbone, STAGES[-1:])
        kaiming(self.net)
        self.projection = projection(self.net.channels[STAGES[-1]], self.depth)

    def _fit(self, batches: Batches) -> None:
        rng = torch.Generator().manual_seed(self.seed)
        nets = nn.ModuleList([self.net, self.projection])
        optimiser = torch.optim.SGD(nets.parameters(), self.lr, momentum=0.9, weight_decay=WEIGHT_DECAY)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, self.steps)

        def loss(images: Images) -> Float[Tensor, ""]:
            turned = quarter_turns(images, rng)
            return self._loss(view(turned, rng), view(turned, rng))

        train(
            nets, loss, batches, steps=self.steps, optimiser=optimiser, schedule=schedule, max_norm=math.inf
        )
        with torch.no_grad():
            features = torch.cat([F.normalize(self._features(images)) for images in batches])
        for name, tensor in HEADS[self.head].fit(features, sharp_gamma(features)).items():
            setattr(self, f"{name}_", tensor)

    def _score(self, images: Images) -> Scores:
        learned = {n.removesuffix("_"): t for n, t in vars(self).items() if n.endswith("_")}
        features = F.normalize(self._features(images))
        return Scores(image=HEADS[self.head].score(features, learned), pixel=None)

    def _loss(self, first: Images, second: Images) -> Float[Tensor, ""]:
        """Find each first view's partner among all second views."""
        with computing(self.precision, first.device.type):
            embedded = self.projection(self._features(torch.cat([first, second])))
        one, other = embedded.float().chunk(2)
        return info_nce(one, other, self.temperature)

    def _features(self, images: Images) -> Float[Tensor, "n d"]:
        return self.net(images)[0].float().mean(dim=(2, 3))


def view(images: Images, rng: torch.Generator) -> Images:
    """Another crop, side and colours of each image."""
    x = flip(crop_by_side(images, rng, 0.5), rng)
    x = jitter(x, rng, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.4)
    return discolour(x, rng, 0.2)


def projection(inputs: int, depth: int) -> nn.Sequential:
    """(n, inputs) -> (n, 128): so many hidden layers of 512, without biases."""
    layers: list[nn.Module] = []
    for i, o in pairwise((inputs, *(HIDDEN,) * depth)):
        layers += [nn.Linear(i, o, bias=False), nn.BatchNorm1d(o), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.Linear(HIDDEN if depth else inputs, EMBEDDING, bias=False))
