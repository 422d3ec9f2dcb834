"""AnatPaste: features that tell images from those with a piece pasted into their dark organs.

Sato, Suzuki, Wataya, Nishigaki, Kita, Yamagata, Tomiyama, Kido, "Anatomy-aware self-supervised
learning for anomaly detection in chest radiographs", iScience 2023, https://arxiv.org/abs/2205.04282.
Numbers, network and score are those of the authors' code (jun-sato/AnatPaste); of the paper only the
abstract was at hand.

Differs from that code:
- 128 x 128 instead of 256 x 256 images and 150 steps instead of 256 epochs of 256 steps, for two CPU
  cores; the last network is kept, not the one that is best on labelled images.
- The network starts from ImageNet weights, there from scratch. Pretrained stages learn at a tenth of
  the rate, and their batch norms keep their statistics.
- The score lacks the density's constant factor, which is the same for all images, and is doubled.
- The map is ours: Grad-CAM of the score, as in CutPaste.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float
from torch import Tensor

from intact.anomaly.base import Images
from intact.anomaly.one_class import HEADS
from intact.anomaly.synthetic_classes import Embeddings, SyntheticClasses
from intact.forge.synthetic.anat_paste import anat_paste

GAMMA = 0.5  # of the density's kernels, whose deviation is 1


@dataclass(eq=False)
class AnatPaste(SyntheticClasses):
    """Minus the logarithm of the density of normal images' features, at the image's."""

    source: ClassVar[str] = "Sato et al., iScience 2023"
    classes: ClassVar[int] = 2

    def _pasted(self, images: Images, rng: np.random.Generator) -> list[Images]:
        return [anat_paste(images, rng).images]

    def _learn(self, embeddings: Embeddings) -> None:
        learned = HEADS["kde"].fit(embeddings, GAMMA)
        self.points_, self.gamma_ = learned["points"], learned["gamma"]

    def _distance(self, embeddings: Embeddings) -> Float[Tensor, "n"]:
        return HEADS["kde"].score(embeddings, {"points": self.points_, "gamma": self.gamma_})
