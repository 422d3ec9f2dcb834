"""SALAD: undo corruptions through a code that comes back from the image and stays near a centre.

Zhao, Li, He, Ma, Fang, Li, Zheng, "Anomaly Detection for Medical Images Using Self-Supervised and
Translation-Consistent Features", IEEE TMI 40(12), 2021, pages 3641-3651. Image to code to image
to code: what is rebuilt must look alike (structural similarity), the second code must equal the first, and
codes of normal images are drawn to one centre. Inputs are corrupted in one of three ways
(`intact.forge.synthetic.corruptions`); what must come out is the clean image.

A reading of the paper's abstract and of a review; there is no public code. The terms of the loss and
the corruptions are theirs. Our choice, not verified:
- GANomaly's encoder and generator, one encoder for both codes, all sizes, weights and rates, and no
  adversarial loss.
- Codes are compared on the clean image; the corrupted one only has to be undone. Drawing codes of
  corrupted images to the centre, too, taught the encoder to overlook lesions on phantoms.
- Squared distances are means over the code's numbers. As sums they outweigh the similarity, and nothing
  is rebuilt for hundreds of steps.
- The centre is the mean code of the untrained encoder and stays, as in Deep SVDD.
- The score adds both distances on the clean image, standardised by the training images; the map is
  1 - structural similarity.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from intact.anomaly.base import Batches, Detector, Images, check_halvings
from intact.forge.synthetic.corruptions import corrupt
from intact.losses import ssim_map
from intact.nets.gan import encoder, generator, halvings, initialise
from intact.precision import Precision, computing
from intact.scores import Scores
from intact.train import train

BETAS = (0.5, 0.999)  # of Adam, as GANomaly has them

Codes = Float[Tensor, "n z"]


@dataclass(eq=False)
class SALAD(Detector):
    """How far the code moves on a second round trip and lies from the centre, in deviations of normals."""

    size: int = 64  # side of the image in pixels, see `intact.nets.gan.halvings`
    latent: int = 256  # numbers in the code
    width: int = 32  # channels after the first halving
    consistency: float = 1.0  # weights of the losses beside the similarity
    centring: float = 0.1
    steps: int = 800
    lr: float = 1e-3
    precision: Precision = "float32"  # of training; scores are taken in float32
    seed: int = 0

    family: ClassVar[str] = "self-supervised"
    source: ClassVar[str] = "Zhao et al., IEEE TMI 2021"

    def __post_init__(self) -> None:
        check_halvings(self.size, halvings(self.size))

    def _build(self, channels: int) -> None:
        self.encoder = encoder(channels, self.size, self.latent, self.width)  # no biases, no bounds
        self.decoder = generator(channels, self.size, self.latent, self.width)
        initialise(self.encoder)
        initialise(self.decoder)

    def _fit(self, batches: Batches) -> None:
        with torch.no_grad():
            self.centre_ = torch.cat([self.encoder(2.0 * images - 1.0) for images in batches]).mean(dim=0)
        draws = np.random.default_rng(self.seed)
        nets = nn.ModuleList([self.encoder, self.decoder])
        optimiser = torch.optim.Adam(nets.parameters(), lr=self.lr, betas=BETAS)

        def loss(images: Images) -> Float[Tensor, ""]:
            return self._loss(corrupt(images, draws).images, images)

        train(nets, loss, batches, steps=self.steps, optimiser=optimiser, max_norm=math.inf)
        with torch.no_grad():
            distances = torch.cat([self._distances(*self._there_and_back(x)[1:]) for x in batches])
        self.level_ = distances.mean(dim=0)
        self.spread_ = distances.std(dim=0).clamp(min=1e-12)

    def _score(self, images: Images) -> Scores:
        rebuilt, code, again = self._there_and_back(images)
        deviations = (self._distances(code, again) - self.level_) / self.spread_
        return Scores(image=deviations.sum(dim=1), pixel=1.0 - ssim_map(images, rebuilt).mean(dim=1))

    def _loss(self, corrupted: Images, clean: Images) -> Float[Tensor, ""]:
        """Codes are compared where they belong to normal images: what is corrupted only has to be undone."""
        with computing(self.precision, clean.device.type):
            mended, _ = self._translate(corrupted)
            rebuilt, code = self._translate(clean)
            again = self.encoder(2.0 * rebuilt - 1.0)
        moved, away = self._distances(code.float(), again.float()).mean(dim=0)
        unlike = 1.0 - ssim_map(clean, mended.float()).mean()
        return unlike + self.consistency * moved + self.centring * away

    def _distances(self, code: Codes, again: Codes) -> Float[Tensor, "n 2"]:
        """Of the two codes, and of the first from the centre: squares, mean over the code's numbers."""
        return torch.stack(
            [(code - again).square().mean(dim=1), (code - self.centre_).square().mean(dim=1)], 1
        )

    def _translate(self, images: Images) -> tuple[Images, Codes]:
        """The image as rebuilt from its code, and the code."""
        code = self.encoder(2.0 * images - 1.0)
        return (self.decoder(code) + 1.0) / 2.0, code

    def _there_and_back(self, images: Images) -> tuple[Images, Codes, Codes]:
        """The image rebuilt, its code, and the code of what was rebuilt."""
        rebuilt, code = self._translate(images)
        return rebuilt, code, self.encoder(2.0 * rebuilt - 1.0)
