"""PatchCore: distance to the nearest of a well-spread set of normal patch features.

Roth, Pemula, Zepeda, Schölkopf, Brox, Gehler, "Towards Total Recall in Industrial Anomaly
Detection", CVPR 2022, https://arxiv.org/abs/2106.08265.

Differs from the paper: ResNet-18 by default instead of Wide-ResNet-50-2; the coreset has a fixed
size and is chosen from a stream (merge and reduce) instead of a share of all patches at once, so
that memory stays bounded; features are standardised by the normals' deviation and reduced to
their principal components (the paper pools them to 1024 numbers), which costs no accuracy on
the packs we measured and makes the search three times as fast. In bfloat16 a map's distances have
8 significant bits; the image score is measured again in float32.
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
from intact.nets.features import FrozenFeatures
from intact.precision import Precision
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
    coreset: int = 2000  # patches in the memory bank
    block: int = 40_000  # patches held at once while choosing them
    projection: int = 64  # dimensions in which the coreset measures distances
    neighbours: int = 9  # b in Eq. 7
    sigma: float = 4.0  # smoothing of the final map, in pixels
    precision: Precision = "float32"
    seed: int = 0

    family: ClassVar[str] = "memory"
    source: ClassVar[str] = "Roth et al., CVPR 2022"
    trains: ClassVar[bool] = False

    def _build(self, channels: int) -> None:
        self.net = FrozenFeatures(self.backbone, self.layers, self.precision)

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
        distance = nearest_distance(patches.flatten(0, 1), self.bank_, self.precision).view(patches.shape[:2])
        worst = patches[torch.arange(len(images)), distance.argmax(dim=1)]
        side = round(distance.shape[1] ** 0.5)
        pixel = smooth_upsample(distance.unflatten(1, (side, side)), (self.size, self.size), self.sigma)
        return Scores(image=self._image_score(worst), pixel=pixel)

    def _image_score(self, worst: Float[Tensor, "n d"]) -> Float[Tensor, "n"]:
        """Eq. 7: the worst patch's distance, with less weight where the bank is dense around its match."""
        match = self.bank_[torch.cdist(worst, self.bank_).argmin(dim=1)]
        score = torch.linalg.vector_norm(worst - match, dim=1)
        neighbours = min(self.neighbours, len(self.bank_))
        around = torch.cdist(match, self.bank_).topk(neighbours, largest=False).indices
        gaps = torch.linalg.vector_norm(worst[:, None] - self.bank_[around], dim=2)
        # softmax, not a ratio of exponentials: distances of tens overflow exp. The first
        # neighbour of `match` is `match` itself.
        return score * (1.0 - torch.softmax(gaps, dim=1)[:, 0])

    def _patches(self, images: Images) -> Float[Tensor, "n p d"]:
        """Locally averaged features of every patch, on the principal axes.

        What `_features` does is linear, so each map is projected first, while it is small.
        """
        maps = self.net(images)
        bases = self.basis_.to(maps[0].dtype).split([m.shape[1] for m in maps])
        shifted = -self.mean_ @ self.basis_
        size = maps[0].shape[-2:]
        total = shifted.view(1, -1, 1, 1)
        for m, basis in zip(maps, bases, strict=True):
            # Channels last in memory, as averaging and enlarging are fastest.
            reduced = local_mean((m.permute(0, 2, 3, 1) @ basis).float().permute(0, 3, 1, 2))
            total = total + F.interpolate(reduced, size=size, mode="bilinear", align_corners=False)
        return total.flatten(2).transpose(1, 2)

    def _features(self, images: Images) -> Float[Tensor, "n p c"]:
        """Locally averaged maps, brought to the first layer's resolution and stacked."""
        maps = [local_mean(m.float()) for m in self.net(images)]
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
        return mean.float(), (weight[:, None] * axes[:, : self.dimensions]).float().contiguous()


def nearest_distance(
    points: Float[Tensor, "n d"], bank: Float[Tensor, "m d"], precision: Precision = "float32"
) -> Float[Tensor, "n"]:
    """Distance of each point to its nearest bank entry.

    In bfloat16 the points are rounded to 8 significant bits, and so is the distance.
    """
    kind, bits = (torch.bfloat16, torch.int16) if precision == "bfloat16" else (torch.float32, torch.int32)
    points, bank = points.to(kind), bank.to(kind)
    # |a|^2 + |b|^2 - 2ab as one product, so that the processor adds up in float32 and rounds the
    # squared distance, not the large terms that cancel in it.
    ones_a, ones_b = points.new_ones(len(points), 2), bank.new_ones(len(bank), 2)
    left = torch.cat([points, _high_and_low(points), ones_a], dim=1)
    right = torch.cat([-2 * bank, ones_b, _high_and_low(bank)], dim=1).T
    # Blocks small enough that their distances stay in the processor's cache. As integers, floats
    # that are not negative keep their order, and integers are compared many times faster.
    squares = [(block @ right).view(bits).amin(dim=1).view(kind) for block in left.split(256)]
    return torch.cat(squares).float().clamp(min=0.0).sqrt()


def _high_and_low(points: Float[Tensor, "n d"]) -> Float[Tensor, "n 2"]:
    """Squared lengths as two numbers of the points' own precision that add up to them."""
    exact = points.float().square().sum(dim=1)
    high = exact.to(points.dtype)
    return torch.stack([high, (exact - high.float()).to(points.dtype)], dim=1)
