"""ceVAE: a VAE that also learns to fill in what was covered, scored where misfit and divergence agree.

Zimmerer, Kohl, Petersen, Isensee, Maier-Hein, "Context-encoding Variational Autoencoder for
Unsupervised Anomaly Detection", 2018, arXiv:1812.05941. Half of the loss is that of a VAE, half the
misfit between the image and what is rebuilt from a copy with covered squares, through the mean of
the code. Absolute misfit, weight 0.01 of the divergence, 128 numbers in the code, and squares up to
half as wide as the image, each in one random grey, are those of the authors' code (MIC-DKFZ/mood).

Differs from that code: the network is the autoencoder shared by `ae`, `vae` and this method, at 64 x
64 (there: 16 to 1024 channels with leaky rectifiers and no normalisation at 128 x 128); the covered
copy is rebuilt without sampling, as the method is described, where that code samples; none to three
squares are drawn and all stay, where that code draws none to two and keeps the last; the gradient of
the divergence is taken once, at the image itself, not averaged over two noisy copies, and is not
scaled by the extremes of its batch; the score of an image is the mean of its map, not its loss. 2000
steps at 1e-3 instead of 20 epochs at 1e-4, gradients shortened to length 1, so that it trains on a
CPU in minutes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from intact.anomaly.base import Images
from intact.anomaly.variational import Variational, divergence, sample


@dataclass(eq=False)
class CEVAE(Variational):
    """Squared error times the gradient of the divergence of a VAE trained on covered images too."""

    residual: str = "combi"
    latent: int = 128
    kl_weight: float = 0.01
    context: float = 0.5  # share of the covered images in the loss
    boxes: int = 3  # an image is covered by none up to so many squares
    largest: float = 0.5  # their greatest side, over the image's

    source: ClassVar[str] = "Zimmerer et al., 2018 (ceVAE)"

    def _loss(self, x: Images, generator: torch.Generator) -> Tensor:
        mean, log_variance = self._encode(x)
        rebuilt = self.decoder(sample(mean, log_variance, generator))
        bound = (rebuilt - x).abs().mean() + self.kl_weight * divergence(mean, log_variance).mean()
        guess, _ = self._encode(covered(x, self.boxes, self.largest, generator))
        filled = (self.decoder(guess) - x).abs().mean()
        return (1.0 - self.context) * bound + self.context * filled


def covered(x: Images, boxes: int, largest: float, generator: torch.Generator) -> Images:
    """A copy in which each image has 0 to `boxes` squares, each of one grey in [-1, 1].

    Args:
        x: Images in [-1, 1].
        boxes: The most squares in an image.
        largest: The greatest side of a square, as a share of the image's.
        generator: Draws number, sides, places and greys.
    """
    size = x.shape[-1]
    copy = x.clone()
    for image in copy:
        for _ in range(int(torch.randint(boxes + 1, (), generator=generator))):
            side = int(torch.randint(1, int(largest * size) + 1, (), generator=generator))
            row, column = torch.randint(size - side + 1, (2,), generator=generator).tolist()
            grey = 2.0 * torch.rand((), generator=generator) - 1.0
            image[:, row : row + side, column : column + side] = grey
    return copy
