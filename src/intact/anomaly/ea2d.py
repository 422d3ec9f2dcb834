"""EA2D: one encoder and, for the image and for its half turn, a decoder with attentive skips each.

Tang, Yan, Hu, Wu, Lasser, Shi, "Anomaly Detection in Medical Images Using Encoder-Attention-2Decoders
Reconstruction", IEEE TMI 2025; built on EDC (Guo et al., IEEE TMI 2024). Each decoder rebuilds the
encoder's features from its last map and, through position attention, from two maps before. The
features to rebuild are constants in the loss; the skips are not. A third term asks that an image and
its half turn have the same mean code. Written after the authors' code and the paper's abstract.

Differs from the paper:
- ResNet-18 at 128 x 128 and 200 steps instead of ResNet-50 at 256 x 256 and 400 to 4000 steps, for
  two CPU cores. The batch is the one that `fit` is given, there 32.
- The encoder's batch norms keep their ImageNet statistics, as the authors have it on OCT2017; on
  their other sets they follow the batch. See `TrainableFeatures` for the reason.
- Where the weights found end before layer4, that stage starts at random, follows the batch and
  learns at the decoders' rate.
- A batch moves the running statistics by 0.025 instead of 0.01, so that they forget their arbitrary
  start in 200 steps as they would in 500.
- The authors give no map of an image. Here it is the mean of both views' maps, the second turned back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from intact.anomaly.base import Batches, Detector, Images, check_choice, check_halvings
from intact.anomaly.pooling import POOLINGS
from intact.filters import upsample
from intact.losses import cosine_map, flat_cosine
from intact.nets.attention import PositionAttention
from intact.nets.resnet import STAGES
from intact.nets.reversed_resnet import ReversedResNet
from intact.nets.trainable import TrainableFeatures, set_momentum
from intact.precision import Precision, computing
from intact.scores import Scores
from intact.train import train

# From the authors' code.
WEIGHT_DECAY = 1e-4
CONSISTENCY = 0.5  # weight of the third term; each view's is 0.5, too

View = tuple[list[Tensor], list[Tensor], Tensor]  # three maps, what they are rebuilt as, the code


@dataclass(eq=False)
class EA2D(Detector):
    """1 - cosine of encoder's and decoder's features, mean of three scales and two views."""

    size: int = 128  # side of the image in pixels, a multiple of 32
    backbone: str = "resnet18"
    steps: int = 200
    lr: float = 5e-4  # of the decoders; the authors take 1e-4 on dermoscopy
    encoder_lr: float = 1e-5  # the authors take 5e-5 on brain MR
    momentum: float = 0.025  # share of a batch in the running statistics
    pooling: str = "max"  # key in POOLINGS; the authors take the mean on dermoscopy
    precision: Precision = "float32"
    seed: int = 0

    family: ClassVar[str] = "reconstruction"
    source: ClassVar[str] = "Tang et al., IEEE TMI 2025"

    def __post_init__(self) -> None:
        check_halvings(self.size, 5)
        check_choice("pooling", self.pooling, POOLINGS)

    def _build(self, channels: int) -> None:
        self.encoder = TrainableFeatures(self.backbone, STAGES)
        widths = self.encoder.channels
        self.decoders = nn.ModuleList(AttentiveDecoder(self.backbone, widths) for _ in range(2))
        for net in (self.encoder, self.decoders):
            set_momentum(net, self.momentum)

    def _fit(self, batches: Batches) -> None:
        self.encoder.load_pretrained()
        pretrained, fresh = self.encoder.split()
        groups = [
            {"params": pretrained, "lr": self.encoder_lr},
            {"params": [*fresh, *self.decoders.parameters()], "lr": self.lr},
        ]
        optimiser = torch.optim.AdamW(groups, weight_decay=WEIGHT_DECAY)
        nets = nn.ModuleList([self.encoder, self.decoders])
        train(nets, self._loss, batches, steps=self.steps, optimiser=optimiser)

    def _loss(self, images: Images) -> Float[Tensor, ""]:
        views = self._views(images)
        misfits = [
            flat_cosine(e.detach(), d).mean()
            for encoded, rebuilt, _ in views
            for e, d in zip(encoded, rebuilt, strict=True)
        ]
        one, other = (code.mean(dim=(2, 3)) for _, _, code in views)
        inconsistency = (1.0 - F.cosine_similarity(one, other, dim=1)).mean()
        return torch.stack(misfits).sum() / 2 + CONSISTENCY * inconsistency

    def _score(self, images: Images) -> Scores:
        maps = [view_map(encoded, rebuilt) for encoded, rebuilt, _ in self._views(images)]
        image = torch.stack([POOLINGS[self.pooling](m) for m in maps]).mean(dim=0)
        pixel = upsample((maps[0] + half_turn(maps[1])) / 2, (images.shape[-2], images.shape[-1]))
        return Scores(image=image, pixel=pixel)

    def _views(self, images: Images) -> list[View]:
        """Of the images and of their half turns."""
        views: list[View] = []
        with computing(self.precision, images.device.type):
            for x, decoder in zip((images, half_turn(images)), self.decoders, strict=True):
                maps = self.encoder(x)
                rebuilt = decoder(maps)
                *encoded, code = (m.float() for m in maps)
                views.append((encoded, [d.float() for d in rebuilt], code))
        return views


class AttentiveDecoder(nn.Module):
    """EDC's decoder with additive skips from layer2 and layer3, each through position attention."""

    def __init__(self, backbone: str, channels: list[int]) -> None:
        super().__init__()
        self.decoder = ReversedResNet(backbone, up="bilinear")
        self.skips = nn.ModuleList(PositionAttention(c) for c in channels[1:3])

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Maps of layer1 to layer4 -> three maps shaped as the first three."""
        _, second, third, code = maps
        skips = [skip(m) for skip, m in zip(self.skips, (second, third), strict=True)]
        return self.decoder(code, skips)


def view_map(encoded: list[Tensor], rebuilt: list[Tensor]) -> Float[Tensor, "n h w"]:
    """1 - cosine at every position, mean over scales, coarse ones repeated to the side of the finest."""
    distances = [cosine_map(e, d)[:, None] for e, d in zip(encoded, rebuilt, strict=True)]
    finest = distances[0].shape[-2:]
    return torch.cat([F.interpolate(d, finest, mode="nearest") for d in distances], dim=1).mean(dim=1)


def half_turn(x: Float[Tensor, "... h w"]) -> Float[Tensor, "... h w"]:
    """Turned by 180° in the plane."""
    return x.flip(dims=(-2, -1))
