"""CutPaste: features that tell images from those with a piece cut out and pasted elsewhere.

Li, Sohn, Yoon, Pfister, "CutPaste: Self-Supervised Learning for Anomaly Detection and Localization",
CVPR 2021, https://arxiv.org/abs/2104.04015: the three-way variant (normal, pasted rectangle, pasted
scar) on whole images, whose score is the Mahalanobis distance and whose map is Grad-CAM. The paper's
other representation, of patches of 64 x 64 pixels, which it measures localisation with, is not here:
it needs hundreds of passes per image. There is no official code; numbers, also the classifier's layers,
are those that an unofficial one reports results with (Runinho/pytorch-cutpaste). What exactly the paper's
Grad-CAM explains is not verified; here it is the score.

Differs from the paper:
- 128 x 128 instead of 256 x 256 images and 150 steps instead of 256 epochs of 256 steps, for two CPU
  cores. The normal images of a batch are those that `fit` gives, there 32.
- The network starts from ImageNet weights, as the paper's second experiment does with another
  network; its ResNet-18 starts from scratch. Pretrained stages learn at a tenth of the rate, and their
  batch norms keep their statistics.
- Images are not moved at random before something is pasted.
- The code that the paper builds on (google-research/deep_representation_one_class) has eight hidden
  layers of 512 in its classifier, `hidden=8`; so many learn little in so few steps.
- Grad-CAM weighs layer3, which at 128 pixels has as many positions as layer4 at 256.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from intact.anomaly.base import Images
from intact.anomaly.synthetic_classes import Embeddings, SyntheticClasses
from intact.forge.synthetic.cut_paste import cut_paste, cut_paste_scar


@dataclass(eq=False)
class CutPaste(SyntheticClasses):
    """Mahalanobis distance of a classifier's features from those of normal images."""

    source: ClassVar[str] = "Li et al., CVPR 2021"
    classes: ClassVar[int] = 3

    def _pasted(self, images: Images, rng: np.random.Generator) -> list[Images]:
        return [cut_paste(images, rng).images, cut_paste_scar(images, rng).images]

    def _learn(self, embeddings: Embeddings) -> None:
        """Mean and Ledoit and Wolf's covariance; what turns the distance into a plain one is kept."""
        from sklearn.covariance import ledoit_wolf  # takes seconds to import, and only fitting needs it

        covariance, _ = ledoit_wolf(embeddings.double().cpu().numpy())
        factor = torch.linalg.cholesky(torch.from_numpy(covariance))
        self.mean_ = embeddings.mean(dim=0)
        self.whiten_ = torch.linalg.inv(factor).to(embeddings)

    def _distance(self, embeddings: Embeddings) -> Float[Tensor, "n"]:
        return torch.linalg.vector_norm((embeddings - self.mean_) @ self.whiten_.T, dim=1)
