"""MemAE: rebuild the image from a few remembered normal codes; there are none for what is abnormal.

Gong, Liu, Le, Saha, Mansour, Venkatesh, van den Hengel, "Memorizing Normality to Detect Anomaly:
Memory-augmented Deep Autoencoder for Unsupervised Anomaly Detection", ICCV 2019, arXiv:1904.02639,
as set up for medical images by Cai, Zhang, Chen, Cheng, "MedIAnomaly: A comparative study of anomaly
detection in medical images", Medical Image Analysis 2025, arXiv:2404.04518: the autoencoder of `ae`
with 25 remembered codes of 16 numbers; weights up to 0.0025 are cut off, and 0.0002 times the entropy
of the weights is added to the squared error.

Differs from the paper: it remembers 2000 features of every position of a video network; here, as in
MedIAnomaly, whole images share one code. The paper wants the cut-off between 1 and 3 times 1 / items;
both codes use 0.0025, which with 25 items is far below, and so does this. Training is counted in steps
(250 epochs in MedIAnomaly), in batches of the size that is given (64 there), with gradients shortened
to length 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from intact.anomaly.base import Batches, Images, check_halvings
from intact.anomaly.reconstruction import Reconstruction
from intact.nets.autoencoder import decoder, encoder
from intact.nets.memory import Memory
from intact.train import train


@dataclass(eq=False)
class MemAE(Reconstruction):
    """Squared error of an autoencoder whose code is a mixture of remembered ones."""

    size: int = 64  # side of the image in pixels, a multiple of 16
    latent: int = 16  # numbers in the code
    items: int = 25  # codes that are remembered
    shrink: float = 0.0025  # weights of items up to this are cut off; keep it below 1 / items
    entropy_weight: float = 0.0002
    steps: int = 2000
    lr: float = 1e-3
    seed: int = 0

    source: ClassVar[str] = "Gong et al., ICCV 2019"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_halvings(self.size, 4)

    def _build(self, channels: int) -> None:
        super()._build(channels)
        self.encoder = encoder(channels, self.size, self.latent)
        self.memory = Memory(self.items, self.latent, self.shrink)
        self.decoder = decoder(channels, self.size, self.latent)

    def _fit(self, batches: Batches) -> None:
        nets = nn.ModuleList([self.encoder, self.memory, self.decoder])
        optimiser = torch.optim.Adam(nets.parameters(), lr=self.lr)
        train(
            nets,
            lambda images: self._loss(2.0 * images - 1.0),
            batches,
            steps=self.steps,
            optimiser=optimiser,
        )

    def _loss(self, x: Images) -> Tensor:
        """What training minimises on images in [-1, 1]."""
        codes, weights = self.memory(self.encoder(x))
        return (self.decoder(codes) - x).square().mean() + self.entropy_weight * entropy(weights).mean()

    def _rebuild(self, images: Images) -> Images:
        codes, _ = self.memory(self.encoder(2.0 * images - 1.0))
        return (self.decoder(codes) + 1.0) / 2.0


def entropy(weights: Float[Tensor, "n items"]) -> Float[Tensor, "n"]:
    """Entropy of each row in nats: 0 when one item has all the weight."""
    return -(weights * (weights + 1e-12).log()).sum(dim=1)
