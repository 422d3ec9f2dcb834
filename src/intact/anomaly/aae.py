"""AAE: an autoencoder whose codes a discriminator cannot tell from draws of a Gaussian.

Makhzani, Shlens, Jaitly, Goodfellow, Frey, "Adversarial Autoencoders", 2015, arXiv:1511.05644. For
each batch three steps: rebuild the images; tell their codes from draws of N(0, I); change the encoder
so that the discriminator takes its codes for draws. It was brought to this task by Chen, Konukoglu,
"Unsupervised Detection of Lesions in Brain MRI using constrained adversarial auto-encoders", MIDL
2018, arXiv:1806.04972, whose baseline without the constraint this is.

Differs from the papers: encoder and decoder are the autoencoder of `ae`, for 64 x 64 images, not two
linear layers of 1000. The discriminator has those two layers, taken from re-implementations, since
the paper's list of settings was not at hand; nor was its optimiser, so that all three steps use Adam,
with 1e-4 for the two that play against each other. Training is counted in steps, in batches of the
size that is given, with gradients shortened to length 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from intact.anomaly.base import Batches, Images, check_halvings
from intact.anomaly.reconstruction import Reconstruction
from intact.nets.autoencoder import decoder, encoder
from intact.nets.discriminator import latent_discriminator
from intact.train import descend, take_steps


@dataclass(eq=False)
class AAE(Reconstruction):
    """Squared reconstruction error of an adversarial autoencoder."""

    size: int = 64  # side of the image in pixels, a multiple of 16
    latent: int = 16  # numbers in the code
    width: int = 1000  # of the discriminator's two hidden layers
    steps: int = 2000
    lr: float = 1e-3  # of rebuilding
    adversarial_lr: float = 1e-4  # of the discriminator, and of the encoder against it
    seed: int = 0

    source: ClassVar[str] = "Makhzani et al., 2015"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_halvings(self.size, 4)

    def _build(self, channels: int) -> None:
        super()._build(channels)
        self.encoder = encoder(channels, self.size, self.latent)
        self.decoder = decoder(channels, self.size, self.latent)
        self.discriminator = latent_discriminator(self.latent, self.width)

    def _fit(self, batches: Batches) -> None:
        rng = torch.Generator().manual_seed(self.seed)
        autoencoder = nn.ModuleList([self.encoder, self.decoder])
        rebuild = torch.optim.Adam(autoencoder.parameters(), lr=self.lr)
        tell = torch.optim.Adam(self.discriminator.parameters(), lr=self.adversarial_lr)
        deceive = torch.optim.Adam(self.encoder.parameters(), lr=self.adversarial_lr)

        def step(images: Tensor) -> None:
            x = 2.0 * images - 1.0
            descend((self.decoder(self.encoder(x)) - x).square().mean(), rebuild)
            codes = self.encoder(x)
            drawn = torch.randn(codes.shape, generator=rng).to(codes.device)
            descend(self._telling_loss(drawn, codes.detach()), tell)
            descend(self._deceiving_loss(codes), deceive)

        take_steps([autoencoder, self.discriminator], step, batches, steps=self.steps)

    def _telling_loss(self, drawn: Tensor, codes: Tensor) -> Tensor:
        """-log D(drawn) - log(1 - D(codes)), mean over the batch."""
        return F.softplus(-self.discriminator(drawn)).mean() + F.softplus(self.discriminator(codes)).mean()

    def _deceiving_loss(self, codes: Tensor) -> Tensor:
        """-log D(codes), mean over the batch."""
        return F.softplus(-self.discriminator(codes)).mean()

    def _rebuild(self, images: Images) -> Images:
        return (self.decoder(self.encoder(2.0 * images - 1.0)) + 1.0) / 2.0
