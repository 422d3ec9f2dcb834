"""ReContrast: a decoder rebuilds the features of a frozen encoder and of its copy that learns.

Guo, Lu, Jia, Zhang, Li, "ReContrast: Domain-Specific Anomaly Detection via Contrastive
Reconstruction", NeurIPS 2023, https://arxiv.org/abs/2306.02602. Each encoder's features are rebuilt
from the other's: two views of an image without any augmentation. What is to be rebuilt is a constant
in the loss, and positions that are rebuilt well already give no gradient.

As in the authors' code, both encoders' maps pass embedding and decoder as one batch, and each view
has 1 x 1 convolutions of its own at the end.

Differs from the paper:
- ResNet-18 at 128 x 128 and 200 steps instead of Wide-ResNet-50-2 at 256 x 256 and 1000 to 3000
  steps, for two CPU cores. The batch is the one that `fit` is given, there 32.
- The learning encoder's batch norms keep their ImageNet statistics, as the authors have it on
  OCT2017; on their other medical sets they follow the batch. See `TrainableFeatures` for the reason.
- Maps are enlarged with sample centres aligned as for areas, not corners.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from intact.anomaly.base import Batches, Images, check_halvings
from intact.anomaly.feature_maps import FeatureMaps, Map
from intact.losses import cosine_map, flat_cosine
from intact.nets.features import FrozenFeatures
from intact.nets.resnet import kaiming
from intact.nets.reversed_resnet import OneClassEmbedding, ReversedResNet
from intact.nets.trainable import TrainableFeatures
from intact.precision import Precision, computing
from intact.train import train

LAYERS = ("layer1", "layer2", "layer3")
# From the authors' code.
START = -3.0  # deviations above the mean distance from which a position counts as hard, at first,
RISE = 0.1  # and the share of the training in which they rise to `hard`
WEIGHT_DECAY = 1e-5


@dataclass(eq=False)
class ReContrast(FeatureMaps):
    """1 - cosine of both encoders' features and what the decoder makes of the other's, summed."""

    size: int = 128  # side of the image in pixels, a multiple of 32
    backbone: str = "resnet18"
    hard: float = 1.0  # deviations above the mean distance from which a position teaches, in the end
    steps: int = 200
    lr: float = 2e-3  # of embedding and decoder
    encoder_lr: float = 1e-5
    pooling: str = "max"  # the authors take the mean on dermoscopy
    precision: Precision = "float32"
    seed: int = 0

    source: ClassVar[str] = "Guo et al., NeurIPS 2023"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_halvings(self.size, 5)

    def _build(self, channels: int) -> None:
        self.encoder = TrainableFeatures(self.backbone, LAYERS)
        self.frozen = FrozenFeatures(self.backbone, LAYERS, self.precision)
        self.decoder = nn.Sequential(OneClassEmbedding(self.backbone), ReversedResNet(self.backbone))
        self.heads = nn.ModuleList(nn.Conv2d(c, c, 1) for c in 2 * self.encoder.channels)
        kaiming(self.heads)

    def _fit(self, batches: Batches) -> None:
        self.encoder.load_pretrained()
        groups = [
            {"params": list(self.encoder.parameters()), "lr": self.encoder_lr},
            {"params": [*self.decoder.parameters(), *self.heads.parameters()], "lr": self.lr},
        ]
        optimiser = torch.optim.AdamW(groups, weight_decay=WEIGHT_DECAY)
        done = itertools.count()

        def loss(images: Images) -> Float[Tensor, ""]:
            return self._loss(images, hardness(next(done), self.steps, self.hard))

        nets = nn.ModuleList([self.encoder, self.decoder, self.heads])
        train(nets, loss, batches, steps=self.steps, optimiser=optimiser, max_norm=math.inf)

    def _loss(self, images: Images, hard: float) -> Float[Tensor, ""]:
        targets, rebuilt = self._features(images)
        losses = [mined_cosine(t, r, hard) for t, r in zip(targets, rebuilt, strict=True)]
        return torch.stack(losses).sum() / 2  # the mean of both views

    def _distances(self, images: Images) -> list[Map]:
        distances = [cosine_map(t, r) for t, r in zip(*self._features(images), strict=True)]
        return [first + second for first, second in zip(distances[:3], distances[3:], strict=True)]

    def _features(self, images: Images) -> tuple[list[Tensor], list[Tensor]]:
        """Maps of the frozen and then of the learning encoder, and each as rebuilt from the other's code."""
        frozen = [m.float() for m in self.frozen(images)]
        with computing(self.precision, images.device.type):
            learned = [m.float() for m in self.encoder(images)]
            both = self.decoder([torch.cat(pair) for pair in zip(learned, frozen, strict=True)])
            views = [m.chunk(2)[view] for view in (0, 1) for m in both]
            rebuilt = [head(m).float() for head, m in zip(self.heads, views, strict=True)]
        return [*frozen, *learned], rebuilt


def hardness(step: int, steps: int, last: float) -> float:
    """Where hard positions begin at a step, in deviations from the mean distance."""
    return min(START + (last - START) * step / (RISE * steps), last)


def mined_cosine(
    target: Float[Tensor, "n c h w"], rebuilt: Float[Tensor, "n c h w"], hard: float
) -> Float[Tensor, ""]:
    """`flat_cosine`, averaged, but only hard positions give a gradient.

    Hard are those whose distance is at least the batch's mean and `hard` deviations. `target` gives
    none at all.
    """
    target = target.detach()
    distance = cosine_map(target, rebuilt.detach())
    easy = distance < distance.mean() + hard * distance.std()
    return flat_cosine(target, torch.where(easy[:, None], rebuilt.detach(), rebuilt)).mean()
