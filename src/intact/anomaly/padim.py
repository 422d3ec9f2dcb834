"""PaDiM: one Gaussian per image position over frozen CNN features.

Defard, Setkov, Loesch, Audigier, "PaDiM: a Patch Distribution Modeling Framework for Anomaly
Detection and Localization", ICPR Workshops 2021, https://arxiv.org/abs/2011.08785.

Differs from the paper: mean and covariance are accumulated in one pass and in float64, so
memory does not grow with the number of training images; the ridge is relative to the mean
variance of the features, so that it means the same for every backbone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from intact.anomaly.base import Batches, Detector, Images
from intact.anomaly.position_gaussian import keep_at_random, position_distance, position_gaussians, stack_kept
from intact.filters import smooth_upsample
from intact.nets.features import FrozenFeatures
from intact.precision import Precision
from intact.scores import Scores


@dataclass(eq=False)
class PaDiM(Detector):
    """Mahalanobis distance to the normal patch distribution at the same position.

    Needs aligned images: position (i, j) must show the same anatomy in every image.
    """

    size: int = 224
    backbone: str = "resnet18"
    layers: tuple[str, ...] = ("layer1", "layer2", "layer3")
    features: int = 100  # feature maps kept at random; the paper uses 100 here, 550 for WRN-50-2
    ridge: float = 0.1  # epsilon in Eq. 1, times the mean variance of a feature
    sigma: float = 4.0  # smoothing of the final map, in pixels
    precision: Precision = "float32"
    seed: int = 0

    family: ClassVar[str] = "memory"
    source: ClassVar[str] = "Defard et al., ICPR Workshops 2021"
    trains: ClassVar[bool] = False

    def _build(self, channels: int) -> None:
        self.net = FrozenFeatures(self.backbone, self.layers, self.precision)

    def _fit(self, batches: Batches) -> None:
        self.kept_ = keep_at_random(int(sum(self.net.channels)), self.features, self.seed)
        self.mean_, self.whiten_ = position_gaussians((self._embed(b) for b in batches), self.ridge)

    def _score(self, images: Images) -> Scores:
        distance = position_distance(self._embed(images), self.mean_, self.whiten_)
        pixel = smooth_upsample(distance, (self.size, self.size), self.sigma)
        return Scores(image=pixel.amax(dim=(1, 2)), pixel=pixel)

    def _embed(self, images: Images) -> Tensor:
        """The kept feature maps at the finest layer's resolution: (n, features, h', w')."""
        return stack_kept(self.net(images), self.kept_)
