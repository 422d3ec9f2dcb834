"""What variational autoencoders share: a code with a mean and a variance, and scores from its divergence."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from intact.anomaly.base import Batches, Images, check_halvings
from intact.anomaly.reconstruction import RESIDUALS, Map, Reconstruction, Residual
from intact.filters import gaussian_blur
from intact.nets.autoencoder import decoder, encoder
from intact.train import train

Code = Float[Tensor, "n latent"]


def divergence(mean: Code, log_variance: Code) -> Float[Tensor, "n"]:
    """Kullback-Leibler divergence of N(mean, variance) from N(0, I), mean over the numbers of the code."""
    return 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance).mean(dim=1)


def sample(mean: Code, log_variance: Code, generator: torch.Generator) -> Code:
    """A code drawn from N(mean, variance), through which gradients reach both."""
    noise = torch.randn(mean.shape, generator=generator).to(mean.device)
    return mean + (0.5 * log_variance).exp() * noise


def _kl_gradient(of: Variational, images: Images) -> Map:
    """|∂ KL / ∂x|, mean over channels, smoothed: the pixels that take the code away from normal ones."""
    with torch.enable_grad():
        x = images.detach().requires_grad_()
        total = divergence(*of._encode(2.0 * x - 1.0)).sum()
        (gradient,) = torch.autograd.grad(total, x)
    return gaussian_blur(gradient.abs().mean(dim=1), of.sigma)


def _combi(of: Variational, images: Images) -> Map:
    """(x - x')² times the smoothed |∂ KL / ∂x|: badly rebuilt, and to blame for the odd code."""
    return RESIDUALS["l2"](of, images) * _kl_gradient(of, images)


@dataclass(eq=False)
class Variational(Reconstruction):
    """An autoencoder whose code is a distribution, kept near N(0, I) by its divergence from it.

    A method implements `_loss`. Beside the residuals of every reconstruction there are
    "kl_gradient" and "combi", the latter times the squared error: Zimmerer, Isensee, Petersen, Kohl,
    Maier-Hein, "Unsupervised Anomaly Localization using Variational Auto-Encoders", MICCAI 2019,
    arXiv:1907.02796.

    Differs from their code: the gradient is not scaled to [0, 1] by the extremes of its batch,
    which would make a score depend on its neighbours; it is smoothed with a whole Gaussian and a
    reflected border, not with 7 x 7 pixels of one (sigma 3) and zeros outside.
    """

    size: int = 64  # side of the image in pixels, a multiple of 16
    latent: int = 16  # numbers in the code
    kl_weight: float = 0.005  # of the divergence, against the mean misfit of a pixel in [-1, 1]
    sigma: float = 2.0  # smoothing of the divergence's gradient, in pixels
    steps: int = 2000
    lr: float = 1e-3
    seed: int = 0

    residuals: ClassVar[dict[str, Residual]] = RESIDUALS | {"kl_gradient": _kl_gradient, "combi": _combi}

    def __post_init__(self) -> None:
        super().__post_init__()
        check_halvings(self.size, 4)

    def _build(self, channels: int) -> None:
        super()._build(channels)
        self.encoder = encoder(channels, self.size, 2 * self.latent)
        self.decoder = decoder(channels, self.size, self.latent)

    def _fit(self, batches: Batches) -> None:
        rng = torch.Generator().manual_seed(self.seed)
        nets = nn.ModuleList([self.encoder, self.decoder])
        optimiser = torch.optim.Adam(nets.parameters(), lr=self.lr)
        train(
            nets,
            lambda images: self._loss(2.0 * images - 1.0, rng),
            batches,
            steps=self.steps,
            optimiser=optimiser,
        )

    @abstractmethod
    def _loss(self, x: Images, generator: torch.Generator) -> Tensor:
        """What training minimises on images in [-1, 1]."""

    def _encode(self, x: Images) -> tuple[Code, Code]:
        """Mean and logarithm of the variance of the code of images in [-1, 1]."""
        mean, log_variance = self.encoder(x).chunk(2, dim=1)
        return mean, log_variance

    def _rebuild(self, images: Images) -> Images:
        mean, _ = self._encode(2.0 * images - 1.0)
        return (self.decoder(mean) + 1.0) / 2.0
