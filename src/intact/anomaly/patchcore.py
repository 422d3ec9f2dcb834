"""PatchCore: distance to the nearest of a well-spread set of normal patch features.

Roth, Pemula, Zepeda, Schölkopf, Brox, Gehler, "Towards Total Recall in Industrial Anomaly
Detection", CVPR 2022, https://arxiv.org/abs/2106.08265.

Differs from the paper: ResNet-18 by default instead of Wide-ResNet-50-2; the coreset has a fixed
size and is chosen from a stream (merge and reduce) instead of a share of all patches at once, so
that memory stays bounded; features are standardised by the normals' mean and deviation.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from intact.anomaly.base import Batches, Detector, Images
from intact.coreset import stream_coreset
from intact.filters import gaussian_blur, local_mean, upsample
from intact.nets.features import FrozenFeatures, Precision
from intact.scores import Scores


@dataclass(eq=False)
class PatchCore(Detector):
    """Nearest-neighbour distance of locally averaged mid-level features to a memory bank.

    Needs no alignment: a patch may match normal anatomy anywhere in any image.
    """

    size: int = 224
    backbone: str = "resnet18"
    layers: tuple[str, ...] = ("layer2", "layer3")
    standardise: bool = True  # False: the raw features, as in the paper
    coreset: int = 4000  # patches in the memory bank
    block: int = 40_000  # patches held at once while choosing them
    projection: int = 64  # dimensions in which the coreset measures distances
    neighbours: int = 9  # b in Eq. 7
    sigma: float = 4.0  # smoothing of the final map, in pixels
    precision: Precision = "float32"
    seed: int = 0

    family: ClassVar[str] = "memory"
    source: ClassVar[str] = "Roth et al., CVPR 2022"

    def _build(self, channels: int) -> None:
        self.net = FrozenFeatures(self.backbone, self.layers, self.precision)

    def _fit(self, batches: Batches) -> None:
        self.mean_, self.deviation_ = self._moments(batches)
        self.bank_ = stream_coreset(
            self._patches(batches),
            self.coreset,
            block_size=self.block,
            projection=self.projection,
            generator=torch.Generator().manual_seed(self.seed),
        )

    def _score(self, images: Images) -> Scores:
        features = self._embed(images)
        n, _, h, w = features.shape
        patches = _rows(features)
        distance, nearest = nearest_neighbour(patches, self.bank_)
        maps = distance.view(n, h, w)
        worst = maps.flatten(1).argmax(dim=1)  # the most abnormal patch of each image
        each = torch.arange(n)
        image = self._reweigh(
            patches.view(n, h * w, -1)[each, worst],
            maps.flatten(1)[each, worst],
            nearest.view(n, -1)[each, worst],
        )
        pixel = gaussian_blur(upsample(maps, (self.size, self.size)), self.sigma)
        return Scores(image=image, pixel=pixel)

    def _reweigh(self, patch: Tensor, score: Tensor, nearest: Tensor) -> Tensor:
        """Eq. 7: less weight where the bank is dense around the matched entry."""
        match = self.bank_[nearest]
        around = (
            torch.cdist(match, self.bank_)
            .topk(min(self.neighbours, len(self.bank_)), largest=False)
            .indices
        )
        gaps = torch.linalg.vector_norm(patch[:, None] - self.bank_[around], dim=2)
        # softmax, not a ratio of exponentials: distances of tens overflow exp. The first
        # neighbour of `match` is `match` itself.
        return score * (1.0 - torch.softmax(gaps, dim=1)[:, 0])

    def _embed(self, images: Images) -> Tensor:
        """Locally averaged maps at the first layer's resolution: (n, channels, h', w')."""
        maps = [local_mean(m) for m in self.net(images)]
        size = maps[0].shape[-2:]
        maps = [F.interpolate(m, size=size, mode="bilinear", align_corners=False) for m in maps]
        return (torch.cat(maps, dim=1) - self.mean_) / self.deviation_

    def _patches(self, batches: Batches) -> Iterator[Float[Tensor, "_ d"]]:
        for images in batches:
            yield _rows(self._embed(images))

    def _moments(self, batches: Batches) -> tuple[Tensor, Tensor]:
        """Mean and deviation of every channel, shape (1, channels, 1, 1); 0 and 1 when not wanted."""
        self.mean_, self.deviation_ = torch.zeros(1), torch.ones(1)
        if not self.standardise:
            return self.mean_, self.deviation_
        count, total, square = 0, torch.zeros(()), torch.zeros(())
        for images in batches:
            x = self._embed(images).double()
            count += x[:, 0].numel()
            total = total + x.sum(dim=(0, 2, 3))
            square = square + x.square().sum(dim=(0, 2, 3))
        mean = total / count
        deviation = (square / count - mean.square()).clamp(min=1e-12).sqrt()
        return mean.float()[None, :, None, None], deviation.float()[None, :, None, None]


def nearest_neighbour(
    points: Float[Tensor, "n d"], bank: Float[Tensor, "m d"]
) -> tuple[Tensor, Tensor]:
    """Distance to, and index of, the nearest bank entry of each point."""
    squares = bank.square().sum(dim=1)
    found = [(squares - 2.0 * (p @ bank.T)).min(dim=1) for p in points.split(4096)]
    index = torch.cat([f.indices for f in found])
    # The expansion above cancels badly for near matches: measure the winner directly.
    return torch.linalg.vector_norm(points - bank[index], dim=1), index


def _rows(features: Float[Tensor, "n d h w"]) -> Float[Tensor, "m d"]:
    return features.permute(0, 2, 3, 1).flatten(0, 2)
