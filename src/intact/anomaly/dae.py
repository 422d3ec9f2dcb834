"""DAE: learn to remove coarse noise; a lesion is removed like the blobs the net was shown.

Kascenas, Pugeault, O'Neil, "Denoising Autoencoders for Unsupervised Anomaly Detection in Brain
MRI", MIDL 2022, https://openreview.net/forum?id=Bm8-t_ggzVD.

Differs from the paper: 16 channels at full resolution instead of 64, 600 steps at 1e-3 instead of
67,200 at 1e-4, so that it trains on a CPU in minutes (all are fields); a single image instead of
four sequences.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from intact.anomaly.base import Batches, Detector, Images, check_halvings
from intact.filters import median_blur
from intact.nets.unet import UNet
from intact.precision import Precision, computing
from intact.scores import Scores
from intact.train import train


@dataclass(eq=False)
class DAE(Detector):
    """Absolute residual of a denoising U-Net inside the foreground."""

    size: int = 128  # side of the image in pixels, a multiple of 8
    width: int = 16  # channels at full resolution
    depth: int = 4
    noise: float = 0.2  # standard deviation of the coarse noise
    noise_side: int = 16  # side of the noise before it is blown up to the image's
    steps: int = 600
    lr: float = 1e-3
    background: float = 0.02  # a pixel at or below this, in [0, 1], is outside the body
    precision: Precision = "float32"
    seed: int = 0

    family: ClassVar[str] = "reconstruction"
    source: ClassVar[str] = "Kascenas et al., MIDL 2022"

    def __post_init__(self) -> None:
        check_halvings(self.size, self.depth - 1)

    def _build(self, channels: int) -> None:
        self.net = UNet(channels, channels, self.width, self.depth)

    def _fit(self, batches: Batches) -> None:
        rng = torch.Generator().manual_seed(self.seed)

        def loss(images: Tensor) -> Tensor:
            inside = self._foreground(images)
            noisy = images + coarse_noise(images, self.noise_side, self.noise, rng) * inside
            error = (self._denoise(noisy) - images).square() * inside
            return error.sum() / (inside.sum() * images.shape[1]).clamp(min=1)

        optimiser = torch.optim.Adam(self.net.parameters(), lr=self.lr, amsgrad=True, weight_decay=1e-5)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, self.steps)
        train(self.net, loss, batches, steps=self.steps, optimiser=optimiser, schedule=schedule)

    def _score(self, images: Images) -> Scores:
        inside = self._foreground(images)
        # Erode: the body's edge is where a small misfit makes a large residual.
        inside = (F.avg_pool2d(inside, 5, stride=1, padding=2) > 0.95).float()[:, 0]
        residual = (self._denoise(images) - images).abs().mean(dim=1) * inside
        pixel = median_blur(residual, 5)
        image = pixel.sum(dim=(1, 2)) / inside.sum(dim=(1, 2)).clamp(min=1)
        return Scores(image=image, pixel=pixel)

    def _denoise(self, images: Tensor) -> Tensor:
        with computing(self.precision, images.device.type):
            return self.net(images).float()

    def _foreground(self, images: Tensor) -> Float[Tensor, "n 1 h w"]:
        return (images.amax(dim=1, keepdim=True) > self.background).float()


def coarse_noise(
    images: Tensor, side: int, deviation: float, generator: torch.Generator
) -> Float[Tensor, "n c h w"]:
    """Gaussian noise drawn on a `side` x `side` grid, blown up and shifted cyclically."""
    n, c, h, w = images.shape
    low = deviation * torch.randn(n, c, side, side, generator=generator)
    noise = F.interpolate(low, size=(h, w), mode="bilinear", align_corners=True)
    rows, columns = torch.randint(0, h, (2,), generator=generator).tolist()
    return torch.roll(noise, (rows, columns), dims=(-2, -1)).to(images.device)
