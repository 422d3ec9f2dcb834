"""AE-FLOW: a flow between encoder and decoder; a likelihood and a rebuilt image judge together.

Zhao, Ding, Zhang, "AE-FLOW: Autoencoders with Normalizing Flows for Medical Images Anomaly
Detection", ICLR 2023, https://openreview.net/forum?id=9OmCr1q54Z. There is no official code. The
structure is that of the abstract; the flow, the decoder, alpha, beta and both terms of the score are
as in a reproduction, Urukat/AE-Flow, which reports 73.0 AUROC on chest X-rays where the paper has
92.0. Learning rate, weight decay and length of training are our own.

Differs from that reproduction: ResNet-18 instead of Wide-ResNet-50-2 as the encoder and widths of the
decoder scaled with it, 128 x 128 images instead of 256 x 256 and 400 steps instead of 100 epochs, so
that it trains on two CPU cores in minutes (the backbone, the size and the steps are fields); the
decoder's activations are ReLU, and none at its end, instead of tanh throughout. Both terms of the
score are standardised on a part of the normals that is not trained on, as beta means nothing between
terms of different spread; the maps of both are mixed in the same way.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from intact.anomaly.base import SCORE_BATCH, Batches, Detector, Images, check_halvings
from intact.errors import TooFewNormalsError
from intact.filters import upsample
from intact.losses import ssim_map
from intact.nets.convolutions import doubling
from intact.nets.features import FrozenFeatures
from intact.nets.flow import Flow, negative_log_likelihood, two_convolutions
from intact.precision import Precision, computing
from intact.scores import Scores
from intact.train import train

ONE_IN, AT_MOST = 4, 64  # every fourth normal is held back, up to so many


@dataclass(eq=False)
class AEFlow(Detector):
    """Weighted sum of how unlikely the features and how unlike the rebuilt image are."""

    size: int = 128  # side of the image in pixels, a multiple of 16
    backbone: str = "resnet18"
    couplings: int = 8  # steps of the flow
    clamp: float = 2.0  # bound of the logarithm of a coupling's scale
    alpha: float = 0.5  # weight of the likelihood in the loss, the rest being the rebuilt image's
    beta: float = 0.9  # weight of the likelihood in the score
    steps: int = 400
    lr: float = 1e-3
    precision: Precision = "float32"
    seed: int = 0

    family: ClassVar[str] = "reconstruction"
    source: ClassVar[str] = "Zhao et al., ICLR 2023"

    def __post_init__(self) -> None:
        check_halvings(self.size, 4)

    def _build(self, channels: int) -> None:
        self.eyes = FrozenFeatures(self.backbone, ("layer3",), self.precision)
        (width,) = self.eyes.channels
        self.flow = Flow(width, [two_convolutions(3, 1)] * self.couplings, self.clamp)
        # 1024, 512, 256, 64 for the reproduction's encoder.
        self.decoder = doubling((width, width // 2, width // 4, width // 16, channels))

    def _fit(self, batches: Batches) -> None:
        # Every batch gives one at least.
        held = torch.cat([images[::ONE_IN] for images in islice(batches, AT_MOST)])[:AT_MOST]
        if len(held) < 2:
            raise TooFewNormalsError(
                f"one normal in {ONE_IN} is held back to weigh the parts of the score, which takes 2 at "
                "least: give 8 normals or more"
            )

        def loss(images: Tensor) -> Tensor:
            z, log_det, rebuilt = self._look(images)
            bits = negative_log_likelihood(z, log_det) / (z[0].numel() * math.log(2))
            return self.alpha * bits.mean() + (1 - self.alpha) * F.mse_loss(rebuilt, images)

        learned = nn.ModuleList([self.flow, self.decoder])
        optimiser = torch.optim.Adam(learned.parameters(), lr=self.lr, weight_decay=1e-5)
        train(learned, loss, Rest(batches, held), steps=self.steps, optimiser=optimiser)
        self._standardise(held)

    def _score(self, images: Images) -> Scores:
        terms = [
            (term - mean) / spread
            for term, mean, spread in zip(self._terms(images), self.mean_, self.spread_, strict=True)
        ]
        likelihood, likeness, unlikely, unlike = terms
        return Scores(
            image=self.beta * likelihood + (1 - self.beta) * likeness,
            pixel=self.beta * unlikely + (1 - self.beta) * unlike,
        )

    @torch.no_grad()
    def _standardise(self, held: Images) -> None:
        """Mean and deviation of every term over normals that were not trained on."""
        device = next(self.flow.parameters()).device
        parts = [self._terms(images.to(device)) for images in held.split(SCORE_BATCH)]
        terms = [torch.cat(term) for term in zip(*parts, strict=True)]
        self.mean_ = torch.stack([term.mean() for term in terms])
        self.spread_ = torch.stack([term.std() for term in terms]).clamp(min=1e-6)

    def _terms(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Of the whole image, unlikeliness (n,) and unlikeness (n,); of its pixels, both (n, h, w)."""
        z, _, rebuilt = self._look(images)
        # The Gaussian's density to the power 1 / dimensions.
        log_density = -0.5 * (z.square() + math.log(2 * math.pi)).mean(dim=(1, 2, 3))
        density = (-0.5 * z.square().mean(dim=1)).exp()
        return (
            -log_density.exp(),
            -ssim_map(images, rebuilt).mean(dim=(1, 2, 3)),
            upsample(-density, (self.size, self.size)),
            (images - rebuilt).abs().mean(dim=1),
        )

    def _look(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features in Gaussian coordinates, log-determinant, and the image rebuilt from the former."""
        (features,) = self.eyes(images)
        with computing(self.precision, images.device.type):
            z, log_det = self.flow(features.float().contiguous())
            return z, log_det, self.decoder(z).float()


class Rest:
    """Batches without the images that are held back, whatever order they come in."""

    def __init__(self, batches: Batches, held: Images) -> None:
        self._batches, self._held = batches, held

    def __iter__(self) -> Iterator[Images]:
        for images in self._batches:
            rest = images[~among(images, self._held)]
            if len(rest):
                yield rest


def among(images: Images, others: Float[Tensor, "m c h w"]) -> Bool[Tensor, "n"]:
    """Whether each image is one of the others, by every fourth pixel of every fourth row."""
    seen, known = (x[:, :, ::4, ::4].flatten(1) for x in (images, others))
    return (seen[:, None] == known).all(dim=2).any(dim=1)
