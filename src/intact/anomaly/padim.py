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

import torch
import torch.nn.functional as F
from torch import Tensor

from intact.anomaly.base import Batches, Detector, Images
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
        rng = torch.Generator().manual_seed(self.seed)
        channels = int(sum(self.net.channels))
        self.kept_ = torch.randperm(channels, generator=rng)[: self.features]
        count, total, outer = 0, torch.zeros(()), torch.zeros(())
        for images in batches:
            x = self._embed(images)
            count += len(x)
            total = total + x.sum(dim=0, dtype=torch.float64)
            flat = x.flatten(2).permute(2, 1, 0)  # (positions, features, n)
            outer = outer + (flat @ flat.transpose(1, 2)).double()
        mean = total / count
        flat = mean.flatten(1).T  # (positions, features)
        covariance = (outer - count * flat[:, :, None] * flat[:, None, :]) / (count - 1)
        scale = covariance.diagonal(dim1=1, dim2=2).mean()
        covariance.diagonal(dim1=1, dim2=2).add_(self.ridge * scale)  # Eq. 1
        # With covariance = L L', the Mahalanobis distance is the length of inv(L) (x - mean).
        factor = torch.linalg.cholesky(covariance)
        identity = torch.eye(len(self.kept_), dtype=torch.float64).expand_as(factor)
        self.whiten_ = torch.linalg.solve_triangular(factor, identity, upper=False).float()
        self.mean_ = mean.float()

    def _score(self, images: Images) -> Scores:
        gap = self._embed(images) - self.mean_
        size = gap.shape[-2:]
        # (positions, n, features), copied into that order: a product of views takes three times as long.
        flat = gap.flatten(2).permute(2, 0, 1).contiguous()
        distance = (flat @ self.whiten_.mT).norm(dim=2).T.unflatten(1, size)  # Eq. 2
        pixel = smooth_upsample(distance, (self.size, self.size), self.sigma)
        return Scores(image=pixel.amax(dim=(1, 2)), pixel=pixel)

    def _embed(self, images: Images) -> Tensor:
        """The kept feature maps at the finest layer's resolution: (n, features, h', w')."""
        maps = self.net(images)
        size = maps[0].shape[-2:]
        stacked = images.new_empty(len(images), len(self.kept_), *size)
        first = 0
        for m in maps:
            here = (self.kept_ >= first) & (self.kept_ < first + m.shape[1])
            if here.any():  # interpolation refuses maps without channels
                own = m[:, self.kept_[here] - first].float()
                stacked[:, here] = F.interpolate(own, size=size, mode="nearest")
            first += m.shape[1]
        return stacked
