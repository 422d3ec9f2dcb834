"""Dinomaly: a decoder that cannot focus rebuilds a vision transformer's blocks, in two groups, from noise.

Guo, Lu, Zhang, Chen, Li, Liao, "Dinomaly: The Less Is More Philosophy in Multi-Class Unsupervised
Anomaly Detection", CVPR 2025, https://arxiv.org/abs/2405.14325; details from the authors' code,
guojiajeremy/Dinomaly, whose training of one kind of images (5,000 steps) is followed.

Differs from the paper:
- DINOv2's ViT-S instead of ViT-B with registers, 140 x 140 images instead of 448 x 448 cut to
  392 x 392, and 100 steps instead of 5,000, for two CPU cores; nothing is cut off. The paper's are
  `backbone`, `size` and `steps`. The batch is the one that `fit` is given, there 16.
- The positions of the frozen network are resized as DINOv2 does for networks with registers; the
  authors' code resizes them as for those without.
- The map is smoothed by a Gaussian with reflected border instead of a 5 x 5 kernel, nearly a mean,
  with zeros outside, at 256 x 256; and enlarged by the areas of its pixels, not by the corners.
- 1e-6 is always added to the linear attention's denominator, as the authors advise against NaN. The
  optimiser's epsilon is 1e-10, where some of their scripts have 1e-8.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from intact.anomaly.base import Batches, Images
from intact.anomaly.feature_maps import Map
from intact.anomaly.token_groups import TokenGroups, mined_cosine
from intact.nets.token_decoders import LinearDecoder
from intact.precision import computing

# From the authors' code.
RISE = 0.2  # share of the steps in which the share of easy positions rises
KEPT = 0.1  # of an easy position's gradient


@dataclass(eq=False)
class Dinomaly(TokenGroups):
    """Noise by dropout, attention that is spread out, and groups of blocks rebuilt together.

    One model can learn several kinds of images at once. For a `backbone` of ViT-L the paper's
    `blocks` are 4, 6, ... 18.
    """

    dropout: float = 0.2  # the authors take 0.4 for the thirty kinds of Real-IAD at once
    easy: float = 0.9  # share of the positions that hardly teach, in the end
    steps: int = 100
    lr: float = 2e-3

    source: ClassVar[str] = "Guo et al., CVPR 2025"

    def _build(self, channels: int) -> None:
        self.encoder = self._eyes()
        plan = self.encoder.plan
        self.decoder = LinearDecoder(plan.width, plan.heads, len(self.blocks), self.dropout)

    def _fit(self, batches: Batches) -> None:
        done = itertools.count()

        def loss(images: Images) -> Float[Tensor, ""]:
            share = self.easy * min(1.0, next(done) / (RISE * self.steps))
            groups = zip(*self._grouped(images), strict=True)
            return torch.stack([mined_cosine(e, d, lambda m: hard(m, share)) for e, d in groups]).mean()

        self._train(self.decoder, loss, batches, steps=self.steps, lr=self.lr)

    def _rebuild(self, images: Images) -> tuple[list[Tensor], list[Tensor]]:
        """Class token and registers pass the decoder with the patches."""
        encoded = [tokens.float() for tokens in self.encoder(images)]
        with computing(self.precision, images.device.type):
            decoded = self.decoder(torch.stack(encoded).mean(dim=0))
        return encoded, [tokens.float() for tokens in decoded]


def hard(distance: Map, share: float) -> Map:
    """1 where the distance is among the batch's largest, `KEPT` at the `share` of smaller ones."""
    count = max(1, int(distance.numel() * (1 - share)))
    least = distance.flatten().topk(count).values[-1]
    return torch.where(distance < least, KEPT, 1.0)
