"""GLASS: like SimpleNet, but the noise climbs to where it is hardest to tell, and textures join in.

Chen, Luo, Lv, Zhang, "A Unified Anomaly Synthesis Strategy with Gradient Ascent for Industrial Anomaly
Detection and Localization", ECCV 2024, https://arxiv.org/abs/2407.09359. Settings as in the authors' code,
cqylunlun/GLASS.

Differs from the paper: textures come from other normal images instead of photographs, see
`intact.forge.synthetic.texture`; ResNet-18 instead of Wide-ResNet-50-2 with a quarter of the dimensions,
128 x 128 instead of 288 x 288 images, 400 steps instead of 640 epochs, and 5 steps of ascent instead of
20, so that it trains on a CPU in minutes (all are fields). The last networks are kept, not those that do
best on the test set. The centre follows every step instead of every epoch: the adaptor is linear, so the
mean of adapted features is the adapted mean. One AdamW serves both networks; theirs is Adam for the
adaptor, which is the same but for a weight decay of 1e-5. Which of the paper's two hypotheses holds is a
field; the authors choose for each kind of image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from intact.anomaly.adapted_patches import AdaptedPatches
from intact.anomaly.base import Batches, Images, check_choice
from intact.anomaly.parts import Parts
from intact.forge.synthetic.made import Made
from intact.forge.synthetic.texture import texture
from intact.losses import focal
from intact.precision import computing
from intact.train import train

Points = Float[Tensor, "p d"]

QUANTILE = 0.75  # of the distances of normal features from the centre: the radius of normality
PROJECTION = 5  # steps of ascent from one projection to the next
NEAR, FAR = 1.0, 2.0  # shells that climbing features are brought back to, in radii
NEAR_LOCAL, FAR_LOCAL = 2.0, 4.0  # and those of textures
MANIFOLD = 0.5  # the radius where every normal feature is a centre of its own
GAMMA = 2.0  # of the focal loss


@dataclass(eq=False)
class GLASS(AdaptedPatches):
    """How sure a discriminator is that a patch is abnormal, from 0 to 1."""

    hypothesis: str = "hypersphere"  # normal features lie around one centre; or manifold
    ascents: int = 5  # steps that noisy features climb, a multiple of 5; 20 in the paper
    ascent: float = 1e-3  # length of one
    hardest: float = 0.5  # share of the textures' positions that are learned from
    steps: int = 400
    lr: float = 2e-4  # of the discriminator
    adaptor_lr: float = 1e-4

    source: ClassVar[str] = "Chen et al., ECCV 2024"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("hypothesis", self.hypothesis, ("hypersphere", "manifold"))

    def _fit(self, batches: Batches) -> None:
        rng = torch.Generator().manual_seed(self.seed)
        mean = self._mean(batches)
        groups = [
            {"params": self.adaptor.parameters(), "lr": self.adaptor_lr, "weight_decay": 1e-5},
            {"params": self.discriminator.parameters(), "lr": self.lr, "weight_decay": 0.01},
        ]
        nets = nn.ModuleList([self.adaptor, self.discriminator])

        def loss(images: Tensor) -> Tensor:
            made = spoilt(images, rng)
            with computing(self.precision, images.device.type):
                return self._loss(images, made, mean, rng)

        optimiser = torch.optim.AdamW(groups)
        train(
            nets, loss, Parts(batches, self.batch), steps=self.steps, optimiser=optimiser, max_norm=math.inf
        )

    def _mean(self, batches: Batches) -> Float[Tensor, "h w d"]:
        """Of the backbone's features at each position."""
        count, total = 0, torch.zeros(())
        for images in batches:
            total = total + self._patches(images).sum(dim=0)
            count += len(images)
        return total / count

    def _loss(
        self, images: Images, made: Made, mean: Float[Tensor, "h w d"], rng: torch.Generator
    ) -> Float[Tensor, ""]:
        """Normal features, climbing ones (global anomalies) and those of textures (local ones)."""
        patches = self._patches(images)
        abnormal = F.adaptive_max_pool2d(made.labels, patches.shape[1:3]).flatten() > 0
        normal = self.adaptor(patches.flatten(0, 2)).float()
        local = self.adaptor(self._patches(made.images).flatten(0, 2)).float()
        centre = self.adaptor(mean.flatten(0, 1)).float().detach().repeat(len(images), 1)
        radius = normal_radius(normal, local[~abnormal], centre, centre[~abnormal])
        noise = self.noise * torch.randn(normal.shape, generator=rng).to(normal)
        if self.hypothesis == "hypersphere":
            climbing = self._climb(normal, normal + noise, centre, radius)
            shell = projected(local, centre, NEAR_LOCAL * radius, FAR_LOCAL * radius)
            local = torch.where(abnormal[:, None], shell, local)
        else:
            climbing = self._climb(normal, normal + noise, normal, MANIFOLD)
        return self._global_loss(normal, climbing)[0] + self._local_loss(local, abnormal)

    def _climb(self, normal: Points, noisy: Points, anchors: Points, radius: float) -> Points:
        """Noisy features after `ascents` steps up the loss of calling them abnormal, back in the shell."""
        for done in range(1, self.ascents + 1):
            uphill = noisy.detach().requires_grad_()
            _, called = self._global_loss(normal.detach(), uphill)
            (gradient,) = torch.autograd.grad(called, uphill)
            noisy = noisy + self.ascent * F.normalize(gradient, dim=1)
            if done % PROJECTION == 0:
                noisy = projected(noisy, anchors, NEAR * radius, FAR * radius)
        return noisy

    def _global_loss(self, normal: Points, climbing: Points) -> tuple[Tensor, Tensor]:
        """Cross entropy of both, and of calling the climbing features abnormal alone."""
        rated = self.discriminator(torch.cat([normal, climbing])).float()
        called_normal, called_abnormal = rated[: len(normal)], rated[len(normal) :]
        abnormal = F.softplus(-called_abnormal).mean()
        return F.softplus(called_normal).mean() + abnormal, abnormal

    def _local_loss(self, local: Points, abnormal: Bool[Tensor, "p"]) -> Float[Tensor, ""]:
        """Focal loss of the positions that are told worst."""
        rated, target = self.discriminator(local)[:, 0].float(), abnormal.float()
        error = (rated.detach().sigmoid() - target).abs()
        hard = error >= error.quantile(1.0 - self.hardest)
        return focal(rated[hard], target[hard], GAMMA)

    def _suspicion(self, rated: Tensor) -> Tensor:
        return rated.sigmoid()


def spoilt(images: Images, rng: torch.Generator) -> Made:
    """Images with textures of about half opacity, in one or two Perlin masks."""
    opacity = (0.5 + 0.1 * torch.randn(len(images), generator=rng)).clamp(0.2, 0.8)
    return texture(images, rng, opacity=opacity, several=True)


@torch.no_grad()
def normal_radius(
    normal: Points,
    untouched: Float[Tensor, "q d"],
    centre: Points,
    centre_untouched: Float[Tensor, "q d"],
) -> float:
    """Distance from the centre within which three quarters of all normal features lie."""
    distance = torch.cat([normal - centre, untouched - centre_untouched]).norm(dim=1)
    return distance.quantile(QUANTILE).item()


def projected(points: Points, anchors: Points, near: float, far: float) -> Points:
    """Points moved straight to or from their anchors until they are `near` to `far` away."""
    away = points - anchors
    distance = away.norm(dim=1, keepdim=True)
    return anchors + away * (distance.clamp(near, far) / distance.clamp(min=1e-10))
