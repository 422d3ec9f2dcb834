"""AE: rebuild the image through a narrow code; what the code cannot express is abnormal.

The plain convolutional autoencoder of Cai, Zhang, Chen, Cheng, "MedIAnomaly: A comparative study
of anomaly detection in medical images", Medical Image Analysis 2025, arXiv:2404.04518: 64 x 64
images in [-1, 1], a code of 16 numbers, squared error.

Differs from it: training is counted in steps (the paper: 250 epochs), so that its length does
not depend on how many images there are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from intact.anomaly.base import Batches, Images, check_halvings
from intact.anomaly.reconstruction import Reconstruction
from intact.nets.autoencoder import Autoencoder
from intact.train import train


@dataclass(eq=False)
class AE(Reconstruction):
    """Squared reconstruction error of a convolutional autoencoder."""

    size: int = 64  # side of the image in pixels, a multiple of 16
    latent: int = 16  # numbers in the code: the hyper-parameter that decides
    steps: int = 2000
    lr: float = 1e-3
    seed: int = 0

    source: ClassVar[str] = "Cai et al., Medical Image Analysis 2025 (MedIAnomaly)"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_halvings(self.size, 4)

    def _build(self, channels: int) -> None:
        super()._build(channels)
        self.net = Autoencoder(channels, self.size, self.latent)

    def _fit(self, batches: Batches) -> None:
        def loss(images: Tensor) -> Tensor:
            x = 2.0 * images - 1.0
            return (self.net(x) - x).square().mean()

        optimiser = torch.optim.Adam(self.net.parameters(), lr=self.lr)
        train(self.net, loss, batches, steps=self.steps, optimiser=optimiser)

    def _rebuild(self, images: Images) -> Images:
        return (self.net(2.0 * images - 1.0) + 1.0) / 2.0
