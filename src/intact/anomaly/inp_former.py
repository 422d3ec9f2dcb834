"""INP-Former: prototypes of the normal, found in the image itself, are all its tokens are rebuilt from.

Luo, Cao, Yao, Zhang, Lou, Cheng, Shen, Yu, "Exploring Intrinsic Normal Prototypes within a Single
Image for Universal Anomaly Detection", CVPR 2025, https://arxiv.org/abs/2503.02424; details from the
authors' code, luow23/INP-Former, training of one kind of images.

Differs from the paper:
- DINOv2's ViT-S instead of ViT-B with registers, 140 x 140 images instead of 448 x 448 cut to
  392 x 392, and 100 steps instead of 200 epochs, for two CPU cores; nothing is cut off. The paper's
  are `backbone`, `size` and `steps`. The batch is the one that `fit` is given, there 16.
- The positions of the frozen network are resized as DINOv2 does for networks with registers; the
  authors' code resizes them as for those without.
- The map is smoothed by a Gaussian with reflected border instead of a 5 x 5 kernel, nearly a mean,
  with zeros outside, at 256 x 256; and enlarged by the areas of its pixels, not by the corners.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from intact.anomaly.base import Batches, Images
from intact.anomaly.feature_maps import Map
from intact.anomaly.token_groups import TokenGroups, mined_cosine
from intact.nets.token_decoders import PrototypeDecoder
from intact.precision import computing


@dataclass(eq=False)
class INPFormer(TokenGroups):
    """A token that is like none of its own image's prototypes cannot be rebuilt.

    Tolerates another scanner or pose, since what is normal comes from the image; fails where most of
    the image is abnormal. For a `backbone` of ViT-L the paper's `blocks` are 4, 6, ... 18.
    """

    prototypes: int = 6
    coherence: float = 0.2  # weight of the distance between tokens and prototypes in the loss
    hardness: float = 3.0  # power of a position's relative distance by which its gradient is weighted
    steps: int = 100
    lr: float = 1e-3

    source: ClassVar[str] = "Luo et al., CVPR 2025"

    def _build(self, channels: int) -> None:
        self.encoder = self._eyes()
        plan = self.encoder.plan
        self.decoder = PrototypeDecoder(plan.width, plan.heads, len(self.blocks), self.prototypes)

    def _fit(self, batches: Batches) -> None:
        self._train(self.decoder, self._loss, batches, steps=self.steps, lr=self.lr)

    def _loss(self, images: Images) -> Float[Tensor, ""]:
        encoded, decoded, apart = self._decode(images)
        groups = zip(self._means(encoded), self._means(decoded[::-1]), strict=True)
        mined = [mined_cosine(e, d, self._weigh) for e, d in groups]
        return torch.stack(mined).mean() + self.coherence * apart

    def _weigh(self, distance: Map) -> Map:
        return (distance / distance.mean()) ** self.hardness

    def _rebuild(self, images: Images) -> tuple[list[Tensor], list[Tensor]]:
        return self._decode(images)[:2]

    def _decode(self, images: Images) -> tuple[list[Tensor], list[Tensor], Float[Tensor, ""]]:
        """Patch tokens of the encoder and of the decoder, and how far the former are from prototypes."""
        encoded = [tokens[:, self.encoder.prefix :].float() for tokens in self.encoder(images)]
        mean = torch.stack(encoded).mean(dim=0)
        with computing(self.precision, images.device.type):
            decoded, prototypes = self.decoder(mean)
        return encoded, [tokens.float() for tokens in decoded], incoherence(mean, prototypes.float())


def incoherence(tokens: Float[Tensor, "n t w"], prototypes: Float[Tensor, "n m w"]) -> Float[Tensor, ""]:
    """1 - cosine of each token and the prototype most like it, averaged."""
    alike = F.normalize(tokens, dim=2) @ F.normalize(prototypes, dim=2).transpose(1, 2)
    return (1 - alike.amax(dim=2)).mean()
