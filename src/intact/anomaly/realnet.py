"""RealNet: rebuild the telling features of an image without foreign texture; mark the largest residuals.

Zhang, Xu, Zhou, "RealNet: A Feature Selection Network with Realistic Synthetic Anomaly for Anomaly
Detection", CVPR 2024, https://arxiv.org/abs/2403.05897. Settings as in the authors' code, cnulab/RealNet.

Differs from the paper: its diffusion model, which samples abnormal images of a chosen strength (SDAS), is
left out, since it takes two days of training on four GPUs. Its place is taken by other normal images, altered
and blended as the authors' code does with photographs of textures, see `intact.forge.synthetic.texture`.
ResNet-18 up to layer3 instead of Wide-ResNet-50-2 up to layer4, with the same shares of each layer's
channels; 64 and 64 channels with the largest residuals instead of 256 and 256; 128 x 128 instead of
256 x 256 images, and 200 steps at 5e-4 instead of up to 1000 epochs at 1e-4, so that it trains on a CPU in
minutes (these are fields). The last networks are kept, not those that do best on the test set. One output
instead of two with a softmax, which is the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import islice
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from intact.anomaly.base import Batches, Detector, Images, check_halvings
from intact.anomaly.parts import Parts
from intact.errors import UsageError
from intact.forge.synthetic.made import Made
from intact.forge.synthetic.texture import texture
from intact.nets.features import FrozenFeatures
from intact.nets.realnet import FeatureUNet, ResidualHead
from intact.precision import Precision, computing
from intact.scores import Scores
from intact.train import forever, train

POOLED = 1 / 16  # side of the window whose mean, where it is highest, is the score, over the image's


@dataclass(eq=False)
class RealNet(Detector):
    """How sure a network is that a pixel is abnormal, given the residuals of rebuilt features."""

    size: int = 128  # side of the image in pixels, a multiple of 64
    backbone: str = "resnet18"
    layers: tuple[str, ...] = ("layer1", "layer2", "layer3")
    kept: tuple[float, ...] = (1.0, 1.0, 0.5)  # share of each layer's channels; 1/8 of layer4 in the paper
    selection: int = 16  # batches from which these are chosen; 64 in the paper
    chosen: int = 64  # residual channels by highest value, and as many by mean
    abnormal: float = 0.5  # share of the images in training that get a texture
    batch: int = 16  # images per training step
    steps: int = 200
    lr: float = 5e-4
    precision: Precision = "float32"
    seed: int = 0

    family: ClassVar[str] = "synthesis"
    source: ClassVar[str] = "Zhang et al., CVPR 2024"

    def __post_init__(self) -> None:
        check_halvings(self.size, 6)
        if len(self.kept) != len(self.layers):
            raise UsageError(f"kept has {len(self.kept)} shares for {len(self.layers)} layers: give one each")

    def _build(self, channels: int) -> None:
        self.eyes = FrozenFeatures(self.backbone, self.layers, self.precision)
        counts = self._counts()
        if self.chosen > sum(counts):
            raise UsageError(
                f"chosen is {self.chosen}, but only {sum(counts)} channels are kept: choose fewer"
            )
        self.rebuilders = nn.ModuleList(FeatureUNet(count) for count in counts)
        self.head = ResidualHead(sum(counts), self.chosen)

    def _counts(self) -> list[int]:
        """Channels kept of each layer."""
        return [round(share * c) for share, c in zip(self.kept, self.eyes.channels, strict=True)]

    def _fit(self, batches: Batches) -> None:
        rng = torch.Generator().manual_seed(self.seed)
        parts = Parts(batches, self.batch)
        self.kept_ = self._select(parts, rng)
        nets = nn.ModuleList([self.rebuilders, self.head])

        def loss(images: Tensor) -> Tensor:
            return self._loss(images, spoilt(images, self.abnormal, rng))

        optimiser = torch.optim.Adam(nets.parameters(), lr=self.lr)
        train(nets, loss, parts, steps=self.steps, optimiser=optimiser, max_norm=math.inf)

    def _select(self, batches: Parts, rng: torch.Generator) -> Tensor:
        """Of each layer the channels that change most like the mask when a texture comes in.

        Returns:
            Their numbers, layer after layer.
        """
        misfit = [torch.zeros(c) for c in self.eyes.channels]
        for images in islice(forever(batches), self.selection):
            made = spoilt(images, 1.0, rng)
            for total, clean, foreign in zip(misfit, self.eyes(images), self.eyes(made.images), strict=True):
                total += unlike((foreign.float() - clean.float()).square(), made.labels).cpu()
        counts = self._counts()
        chosen = [m.topk(k, largest=False).indices.sort().values for m, k in zip(misfit, counts, strict=True)]
        return torch.cat(chosen)

    def _features(self, images: Images) -> list[Tensor]:
        """The kept channels of each layer."""
        indices = self.kept_.to(images.device).split(self._counts())
        return [m.float()[:, index] for m, index in zip(self.eyes(images), indices, strict=True)]

    def _rebuild(self, features: list[Tensor]) -> list[Tensor]:
        with computing(self.precision, features[0].device.type):
            return [net(f).float() for net, f in zip(self.rebuilders, features, strict=True)]

    def _mark(self, features: list[Tensor], rebuilt: list[Tensor]) -> Float[Tensor, "n h w"]:
        """A logit for each pixel of the image."""
        residuals = [(f - r).square() for f, r in zip(features, rebuilt, strict=True)]
        with computing(self.precision, features[0].device.type):
            logits = self.head(residuals).float()
        side = (self.size, self.size)
        return F.interpolate(logits[:, None], size=side, mode="bilinear", align_corners=True)[:, 0]

    def _loss(self, images: Images, made: Made) -> Float[Tensor, ""]:
        """Of the rebuilt features against those of the normal image, and of the mask."""
        wanted, features = self._features(images), self._features(made.images)
        rebuilt = self._rebuild(features)
        misfit = torch.stack([F.mse_loss(r, w) for r, w in zip(rebuilt, wanted, strict=True)]).sum()
        return misfit + F.binary_cross_entropy_with_logits(self._mark(features, rebuilt), made.labels)

    def _score(self, images: Images) -> Scores:
        features = self._features(images)
        pixel = self._mark(features, self._rebuild(features)).sigmoid()
        pooled = F.avg_pool2d(pixel[:, None], round(POOLED * self.size), stride=1)
        return Scores(image=pooled.amax(dim=(1, 2, 3)), pixel=pixel)


def spoilt(images: Images, share: float, rng: torch.Generator) -> Made:
    """A share of the images with textures of 20 to 100 % opacity, the others as they are."""
    drawn = torch.rand(2, len(images), generator=rng)
    return texture(images, rng, opacity=(1.0 - 0.8 * drawn[0]) * (drawn[1] < share))


def unlike(change: Float[Tensor, "n c h w"], labels: Float[Tensor, "n h2 w2"]) -> Float[Tensor, "c"]:
    """Mean squared difference of each channel from the mask, after bringing it to values from 0 to 1."""
    low, high = change.amin(dim=(0, 2, 3), keepdim=True), change.amax(dim=(0, 2, 3), keepdim=True)
    scaled = (change - low) / (high - low + 1e-4)
    mask = F.interpolate(labels[:, None], size=change.shape[-2:], mode="nearest")
    return (scaled - mask).square().mean(dim=(0, 2, 3))
