"""EDC: a decoder rebuilds an encoder's features from its last map, and both learn.

Guo, Lu, Jia, Zhang, Li, "Encoder-Decoder Contrast for Unsupervised Anomaly Detection in Medical
Images", IEEE TMI 2024 (online 2023). The features to rebuild are constants in the loss, so that the
encoder learns only through the map that it gives the decoder and cannot make its features trivial.

Differs from the paper:
- ResNet-18 at 128 x 128 and 200 steps instead of ResNet-50 at 256 x 256 and 500 to 6000 steps, for
  two CPU cores. The batch is the one that `fit` is given, there 32.
- The encoder's batch norms keep their ImageNet statistics, as the authors have it on OCT2017; on
  their other sets they follow the batch. See `TrainableFeatures` for the reason.
- Where the weights found end before layer4, that stage starts at random, follows the batch and
  learns at the decoder's rate. The decoder then reads a code that was never pretrained.
- A batch moves the running statistics by 0.025 instead of 0.01, so that they forget their arbitrary
  start in 200 steps as they would in 500.
- The image's score is the highest value of the map at the image's size instead of at a quarter of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from intact.anomaly.base import Batches, Images, check_halvings
from intact.anomaly.feature_maps import FeatureMaps, Map
from intact.losses import cosine_map, flat_cosine
from intact.nets.resnet import STAGES
from intact.nets.reversed_resnet import ReversedResNet
from intact.nets.trainable import TrainableFeatures, set_momentum
from intact.precision import Precision, computing
from intact.train import train

WEIGHT_DECAY = 1e-4  # from the authors' code, as the rates and the gradients' longest norm of 1


@dataclass(eq=False)
class EDC(FeatureMaps):
    """1 - cosine of the encoder's and the decoder's features, at three scales."""

    size: int = 128  # side of the image in pixels, a multiple of 32
    backbone: str = "resnet18"
    steps: int = 200
    lr: float = 5e-4  # of the decoder; the authors take 1e-4 on dermoscopy
    encoder_lr: float = 1e-5  # the authors take 5e-5 on brain MR
    momentum: float = 0.025  # share of a batch in the running statistics
    fusion: str = "mean"
    sigma: float = 0.0
    pooling: str = "max"  # the authors take the mean on dermoscopy
    precision: Precision = "float32"
    seed: int = 0

    source: ClassVar[str] = "Guo et al., IEEE TMI 2024"
    fused_at: ClassVar[str] = "finest"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_halvings(self.size, 5)

    def _build(self, channels: int) -> None:
        self.encoder = TrainableFeatures(self.backbone, STAGES)
        self.decoder = ReversedResNet(self.backbone, up="bilinear")
        for net in (self.encoder, self.decoder):
            set_momentum(net, self.momentum)

    def _fit(self, batches: Batches) -> None:
        self.encoder.load_pretrained()
        pretrained, fresh = self.encoder.split()
        groups = [
            {"params": pretrained, "lr": self.encoder_lr},
            {"params": [*fresh, *self.decoder.parameters()], "lr": self.lr},
        ]
        optimiser = torch.optim.AdamW(groups, weight_decay=WEIGHT_DECAY)
        nets = nn.ModuleList([self.encoder, self.decoder])
        train(nets, self._loss, batches, steps=self.steps, optimiser=optimiser)

    def _loss(self, images: Images) -> Float[Tensor, ""]:
        encoded, rebuilt = self._features(images)
        losses = [flat_cosine(e.detach(), d).mean() for e, d in zip(encoded, rebuilt, strict=True)]
        return torch.stack(losses).sum()

    def _distances(self, images: Images) -> list[Map]:
        return [cosine_map(e, d) for e, d in zip(*self._features(images), strict=True)]

    def _features(self, images: Images) -> tuple[list[Tensor], list[Tensor]]:
        """The maps of layer1 to layer3, and what the decoder makes of layer4."""
        with computing(self.precision, images.device.type):
            *encoded, code = self.encoder(images)
            rebuilt = self.decoder(code)
        return [e.float() for e in encoded], [d.float() for d in rebuilt]
