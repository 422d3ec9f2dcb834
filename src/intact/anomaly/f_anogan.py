"""f-AnoGAN: a GAN learns normal images, then an encoder learns to find an image's normal twin.

Schlegl, Seeböck, Waldstein, Langs, Schmidt-Erfurth, "f-AnoGAN: Fast unsupervised anomaly detection
with generative adversarial networks", Medical Image Analysis 54, 2019,
https://doi.org/10.1016/j.media.2019.01.010. Settings as in the authors' code, encoder "izi_f".
The GAN is trained as by Gulrajani et al., "Improved Training of Wasserstein GANs", NeurIPS 2017.

Differs from the paper: whole images of 32 x 32 instead of patches of 64 x 64; 16 instead of 64
channels at full resolution, 2 instead of 5 steps of the critic to one of the generator, 800 steps
at 5e-4 instead of 7 epochs at 1e-4, and 500 steps of the encoder at 3e-4 instead of 50,000 at 5e-5,
so that it trains on two CPU cores in minutes (all are fields); batches of 32 planes instead of 64; batch
norms average over some ten batches instead of a hundred, since training is short, and add 1e-5
instead of 1e-3 to the variance. The gradient penalty is computed in float32 whatever the precision.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from intact.anomaly.base import Batches, Detector, Images, check_halvings
from intact.nets.gan import halvings
from intact.nets.residual_gan import Critic, encoder, generator
from intact.precision import Precision, computing
from intact.scores import Scores
from intact.train import descend, take_steps

BETAS = (0.0, 0.9)  # of Adam, in the first stage
DECAY = 0.9  # of RMSProp, in the second: TensorFlow's default
PENALTY = 10.0  # weight of the gradient penalty


@dataclass(eq=False)
class FAnoGAN(Detector):
    """Squared distance of an image from its normal twin, in pixels and in the critic's features."""

    size: int = 32  # side of the image in pixels, see `intact.nets.gan.halvings`
    latent: int = 128  # numbers in the code
    width: int = 16  # channels at full resolution
    critic_steps: int = 2  # of the critic to one of the generator
    steps: int = 800  # of the critic
    lr: float = 5e-4
    encoder_steps: int = 500
    encoder_lr: float = 3e-4
    kappa: float = 1.0  # weight of the critic's features, in training and in the score
    precision: Precision = "float32"  # of training; scores are taken in float32
    seed: int = 0

    family: ClassVar[str] = "reconstruction"
    source: ClassVar[str] = "Schlegl et al., Medical Image Analysis 2019"

    def __post_init__(self) -> None:
        check_halvings(self.size, halvings(self.size))

    def _build(self, channels: int) -> None:
        self.generator = generator(channels, self.size, self.latent, self.width)
        self.critic = Critic(channels, self.size, self.width)
        self.encoder = encoder(channels, self.size, self.latent, self.width)

    def _fit(self, batches: Batches) -> None:
        self._learn_images(batches)
        self._learn_codes(batches)

    def _learn_images(self, batches: Batches) -> None:
        """First stage: the Wasserstein GAN."""
        rng = torch.Generator().manual_seed(self.seed)
        painter = torch.optim.Adam(self.generator.parameters(), lr=self.lr, betas=BETAS)
        judge = torch.optim.Adam(self.critic.parameters(), lr=self.lr, betas=BETAS)
        done = 0

        def paint(n: int, device: torch.device) -> Tensor:
            return self.generator(torch.randn(n, self.latent, generator=rng).to(device))

        def step(images: Tensor) -> None:
            nonlocal done
            real, kind = 2.0 * images - 1.0, images.device.type
            with torch.no_grad(), computing(self.precision, kind):
                fake = paint(len(real), real.device).float()
            with computing(self.precision, kind):
                called = self.critic(torch.cat([real, fake]))
            gap = called[len(real) :].mean() - called[: len(real)].mean()
            share = torch.rand(len(real), 1, 1, 1, generator=rng).to(real.device)
            penalty = gradient_penalty(self.critic, torch.lerp(real, fake, share))
            descend(gap + PENALTY * penalty, judge, math.inf)
            done += 1
            if done % self.critic_steps == 0:
                with computing(self.precision, kind):
                    loss = -self.critic(paint(len(real), real.device)).mean()
                descend(loss, painter, math.inf)

        take_steps([self.generator, self.critic], step, batches, steps=self.steps)

    def _learn_codes(self, batches: Batches) -> None:
        """Second stage: the encoder; the GAN is left in evaluation mode by the first and stays so."""
        optimiser = torch.optim.RMSprop(self.encoder.parameters(), lr=self.encoder_lr, alpha=DECAY)

        def step(images: Tensor) -> None:
            x = 2.0 * images - 1.0
            with computing(self.precision, x.device.type):
                twin = self.generator(self.encoder(x))
                loss = self._distance(x, twin).mean()
            descend(loss, optimiser, math.inf)

        for net in (self.generator, self.critic):
            net.requires_grad_(False)
        take_steps([self.encoder], step, batches, steps=self.encoder_steps)

    def _score(self, images: Images) -> Scores:
        x = 2.0 * images - 1.0
        twin = self.generator(self.encoder(x))
        return Scores(image=self._distance(x, twin), pixel=(x - twin).abs().mean(dim=1))

    def _distance(self, x: Tensor, twin: Tensor) -> Float[Tensor, "n"]:
        """Mean squared difference of the pixels, and kappa times that of the critic's features."""
        features = self.critic.features(x).float() - self.critic.features(twin).float()
        pixels = (x - twin.float()).flatten(1)
        return pixels.square().mean(dim=1) + self.kappa * features.square().mean(dim=1)


def gradient_penalty(critic: nn.Module, between: Float[Tensor, "n c h w"]) -> Float[Tensor, ""]:
    """Mean squared distance from 1 of the length of the critic's gradient, image by image.

    Args:
        critic: Gives one number per image, which must depend on that image alone.
        between: Points on the straight lines between real and generated images.
    """
    between = between.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    return (gradient.flatten(1).norm(dim=1) - 1.0).square().mean()
