"""GANomaly: encode, rebuild, encode again; the code of an abnormal image does not come back.

Akcay, Atapour-Abarghouei, Breckon, "GANomaly: Semi-Supervised Anomaly Detection via Adversarial
Training", ACCV 2018, https://arxiv.org/abs/1805.06725. Settings as in the authors' code.

Differs from the paper: at most 512 channels, which only matters from 128 pixels on; training is
counted in steps, on batches of 32 planes instead of 64 (15 epochs there, the best one chosen on
the test set; here the last one); scores are taken in evaluation mode, while the authors' code
leaves batch norm in training mode at test time, so that there a score depends on the other images
of its batch; scores are not rescaled to the range of the test set. The paper has no map:
|x - x'| stands in for it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from intact.anomaly.base import Batches, Detector, Images, check_halvings
from intact.nets.gan import Discriminator, encoder, generator, halvings, initialise
from intact.precision import Precision, computing
from intact.scores import Scores
from intact.train import descend, take_steps

BETAS = (0.5, 0.999)  # of Adam
COLLAPSED = 1e-5  # a discriminator with less loss has won for good and starts afresh


@dataclass(eq=False)
class GANomaly(Detector):
    """Mean squared difference between the codes of the image and of its reconstruction."""

    size: int = 32  # side of the image in pixels, see `intact.nets.gan.halvings`
    latent: int = 100  # numbers in the code
    width: int = 64  # channels after the first halving
    cap: int = 512  # most channels
    adversarial: float = 1.0  # weights of the three losses
    contextual: float = 50.0
    encoding: float = 1.0
    steps: int = 1000
    lr: float = 2e-4
    precision: Precision = "float32"  # of training; scores are taken in float32
    seed: int = 0

    family: ClassVar[str] = "reconstruction"
    source: ClassVar[str] = "Akcay et al., ACCV 2018"

    def __post_init__(self) -> None:
        check_halvings(self.size, halvings(self.size))

    def _build(self, channels: int) -> None:
        self.encoder = encoder(channels, self.size, self.latent, self.width, self.cap)
        self.decoder = generator(channels, self.size, self.latent, self.width, self.cap)
        self.encoder_again = encoder(channels, self.size, self.latent, self.width, self.cap)
        for net in (self.encoder, self.decoder, self.encoder_again):
            initialise(net)

    def _fit(self, batches: Batches) -> None:
        nets = [self.encoder, self.decoder, self.encoder_again]
        discriminator = self._discriminator()
        ours = torch.optim.Adam((p for n in nets for p in n.parameters()), lr=self.lr, betas=BETAS)
        theirs = torch.optim.Adam(discriminator.parameters(), lr=self.lr, betas=BETAS)
        rng = torch.Generator().manual_seed(self.seed)

        def step(images: Tensor) -> None:
            x = 2.0 * images - 1.0
            with computing(self.precision, x.device.type):
                rebuilt, code, again = self._there_and_back(x)
                real, real_map = discriminator(x)
                fake_map = discriminator(rebuilt)[1]
            loss = (
                self.adversarial * _squared(real_map.detach(), fake_map)
                + self.contextual * (x - rebuilt).abs().mean()
                + self.encoding * _squared(code, again)
            )
            descend(loss, ours, math.inf)
            with computing(self.precision, x.device.type):
                fake, _ = discriminator(rebuilt.detach())
            judged = discriminator_loss(real.float(), fake.float())
            descend(judged, theirs, math.inf)
            if judged.item() < COLLAPSED:
                initialise(discriminator, rng)

        take_steps([*nets, discriminator], step, batches, steps=self.steps)

    def _score(self, images: Images) -> Scores:
        x = 2.0 * images - 1.0
        rebuilt, code, again = self._there_and_back(x)
        return Scores(image=(code - again).square().mean(dim=1), pixel=(x - rebuilt).abs().mean(dim=1))

    def _there_and_back(self, x: Tensor) -> tuple[Tensor, Float[Tensor, "n z"], Float[Tensor, "n z"]]:
        """The reconstruction, the code of `x`, the code of the reconstruction."""
        code = self.encoder(x)
        rebuilt = self.decoder(code)
        return rebuilt, code, self.encoder_again(rebuilt)

    def _discriminator(self) -> Discriminator:
        """Needed for training only, so that it is not among the networks that are kept."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            discriminator = Discriminator(int(self.channels_), self.size, self.width, self.cap)
            initialise(discriminator)
        return discriminator.to(next(self.encoder.parameters()).device)


def discriminator_loss(real: Float[Tensor, "n"], fake: Float[Tensor, "n"]) -> Float[Tensor, ""]:
    """Mean of the two cross entropies; takes logits, the sigmoid being part of it."""
    called_real = F.binary_cross_entropy_with_logits(real, torch.ones_like(real))
    called_fake = F.binary_cross_entropy_with_logits(fake, torch.zeros_like(fake))
    return (called_real + called_fake) / 2.0


def _squared(a: Tensor, b: Tensor) -> Tensor:
    return (a.float() - b.float()).square().mean()
