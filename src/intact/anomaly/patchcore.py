"""PatchCore: distance to the nearest of a well-spread set of normal patch features.

Roth, Pemula, Zepeda, Schölkopf, Brox, Gehler, "Towards Total Recall in Industrial Anomaly
Detection", CVPR 2022, https://arxiv.org/abs/2106.08265.

Differs from the paper: ResNet-18 by default instead of Wide-ResNet-50-2; the coreset has a fixed
size and is chosen from a stream (merge and reduce) instead of a share of all patches at once, so
that memory stays bounded; features are standardised by the normals' deviation and reduced to
their principal components (the paper pools them to 1024 numbers), which costs no accuracy on
the packs we measured and makes the search three times as fast.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from intact.anomaly.base import Batches, Detector, Images
from intact.coreset import stream_coreset
from intact.filters import local_mean, smooth_upsample
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
    dimensions: int = 128  # principal components kept; with all of them no distance changes
    coreset: int = 3000  # patches in the memory bank
    block: int = 40_000  # patches held at once while choosing them
    projection: int = 64  # dimensions in which the coreset measures distances
    neighbours: int = 9  # b in Eq. 7
    sigma: float = 4.0  # smoothing of the final map, in pixels
    precision: Precision = "float32"
    seed: int = 0

    family: ClassVar[str] = "memory"
    source: ClassVar[str] = "Roth et al., CVPR 2022"

    def _build(self, channels: int) -> None:
        self.net = FrozenFeatures(self.backbone, self.layers, channels, self.precision)

    def _fit(self, batches: Batches) -> None:
        self.mean_, self.basis_ = self._principal_axes(batches)
        self.bank_ = stream_coreset(
            (self._patches(images).flatten(0, 1) for images in batches),
            self.coreset,
            block_size=self.block,
            projection=self.projection,
            generator=torch.Generator().manual_seed(self.seed),
        )

    def _score(self, images: Images) -> Scores:
        patches = self._patches(images)
        distance, nearest = nearest_neighbour(patches.flatten(0, 1), self.bank_, self.precision)
        distance, nearest = distance.view(patches.shape[:2]), nearest.view(patches.shape[:2])
        each, worst = torch.arange(len(images)), distance.argmax(dim=1)
        image = self._reweigh(patches[each, worst], distance[each, worst], nearest[each, worst])
        side = round(distance.shape[1] ** 0.5)
        pixel = smooth_upsample(distance.unflatten(1, (side, side)), (self.size, self.size), self.sigma)
        return Scores(image=image, pixel=pixel)

    def _reweigh(self, patch: Tensor, score: Tensor, nearest: Tensor) -> Tensor:
        """Eq. 7: less weight where the bank is dense around the matched entry."""
        match = self.bank_[nearest]
        around = (
            torch.cdist(match, self.bank_).topk(min(self.neighbours, len(self.bank_)), largest=False).indices
        )
        gaps = torch.linalg.vector_norm(patch[:, None] - self.bank_[around], dim=2)
        # softmax, not a ratio of exponentials: distances of tens overflow exp. The first
        # neighbour of `match` is `match` itself.
        return score * (1.0 - torch.softmax(gaps, dim=1)[:, 0])

    def _patches(self, images: Images) -> Float[Tensor, "n p d"]:
        """Locally averaged features of every patch, on the principal axes."""
        return (self._features(images) - self.mean_) @ self.basis_

    def _features(self, images: Images) -> Float[Tensor, "n p c"]:
        """Locally averaged maps, brought to the first layer's resolution and stacked."""
        maps = [local_mean(m) for m in self.net(images)]
        size = maps[0].shape[-2:]
        maps = [F.interpolate(m, size=size, mode="bilinear", align_corners=False) for m in maps]
        return torch.cat(maps, dim=1).flatten(2).transpose(1, 2)

    def _principal_axes(self, batches: Batches) -> tuple[Tensor, Tensor]:
        """Mean (channels,) and basis (channels, dimensions) that patches are expressed in."""
        count, total, outer = 0, torch.zeros(()), torch.zeros(())
        for images in batches:
            x = self._features(images).flatten(0, 1)
            count += len(x)
            total = total + x.sum(dim=0, dtype=torch.float64)
            outer = outer + (x.T @ x).double()
        mean = total / count
        covariance = outer / count - torch.outer(mean, mean)
        weight = covariance.diagonal().clamp(min=1e-12).rsqrt() if self.standardise else torch.ones_like(mean)
        axes = torch.linalg.eigh(weight[:, None] * covariance * weight).eigenvectors.flip(dims=(1,))
        return mean.float(), (weight[:, None] * axes[:, : self.dimensions]).float()


def nearest_neighbour(
    points: Float[Tensor, "n d"], bank: Float[Tensor, "m d"], precision: Precision = "float32"
) -> tuple[Tensor, Tensor]:
    """Distance to, and index of, the nearest bank entry of each point.

    In bfloat16 another entry that is nearly as near may be found; its distance is exact.
    """
    kind = getattr(torch, precision)
    squares, turned = bank.square().sum(dim=1).to(kind), bank.T.to(kind)
    # Blocks small enough that their distances stay in the processor's cache.
    found = [
        torch.addmm(squares, block, turned, alpha=-2.0).min(dim=1).indices
        for block in points.to(kind).split(256)
    ]
    index = torch.cat(found)
    # The expansion above cancels badly for near matches: measure the winner directly.
    return torch.linalg.vector_norm(points - bank[index], dim=1), index
