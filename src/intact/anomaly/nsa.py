"""NSA: find patches of other images that were resized, moved and blended in without a seam.

Schlüter, Tan, Hou, Kainz, "Natural Synthetic Anomalies for Self-Supervised Anomaly Detection and
Localization", ECCV 2022, https://arxiv.org/abs/2109.15222. Network, labels, loss and numbers are
those of the authors' code for chest X-rays (hmsch/natural-synthetic-anomalies); of the paper only the
abstract was at hand.

Differs from that code: 128 x 128 instead of 224 x 224 images and 250 steps instead of 240 epochs, so
that it trains on a CPU in minutes (both are fields); images are not turned and cropped at random;
grey images are standardised and feed three channels; the last convolution has a bias. Continuous labels
are shares of the range, met by a logistic output, where some of the authors' runs end in a rectifier.
See also the maker of the anomalies, `intact.forge.synthetic.natural`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from intact.anomaly.base import Images, check_choice, check_halvings
from intact.anomaly.synthetic_maps import Map, SyntheticMaps
from intact.forge.synthetic.made import Made
from intact.forge.synthetic.natural import Patches, binary, continuous, logistic, natural_anomalies
from intact.forge.synthetic.seamless import GUIDES
from intact.nets.resnet_map import ResNetMap

LAST = 1e-6  # learning rate at the end of the cosine


@dataclass(eq=False)
class NSA(SyntheticMaps):
    """How much a network thinks each pixel was changed."""

    size: int = 128  # side of the image in pixels, a multiple of 32
    backbone: str = "resnet18"  # its shape; it is trained from scratch
    patches: int = 3  # most per image
    gradients: str = "mixed"  # mixed or normal
    labels: str = "logistic"  # binary, continuous or logistic
    steepness: float = 0.5  # of the logistic label, per grey level of 255
    middle: float = 4.0  # grey levels of change that make the label 1/2
    steps: int = 250

    source: ClassVar[str] = "Schlüter et al., ECCV 2022 (NSA)"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_halvings(self.size, 5)
        check_choice("gradients", self.gradients, GUIDES)
        check_choice("labels", self.labels, ("binary", "continuous", "logistic"))

    def _network(self, channels: int) -> nn.Module:
        return ResNetMap(self.backbone)

    def _make(self, images: Images, rng: np.random.Generator) -> Made:
        labels = {
            "binary": binary,
            "continuous": continuous,
            "logistic": logistic(self.steepness, self.middle),
        }
        return natural_anomalies(
            images,
            rng,
            patches=Patches(most=self.patches),
            gradients=self.gradients,
            label=labels[self.labels],
        )

    def _loss(self, logits: Map, labels: Map) -> Float[Tensor, ""]:
        if self.labels == "continuous":
            return F.mse_loss(logits.sigmoid(), labels)
        return super()._loss(logits, labels)

    def _schedule(self, optimiser: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, self.steps, eta_min=LAST)
