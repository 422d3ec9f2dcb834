"""VAE: an autoencoder whose codes fill a Gaussian, so that every code between them means a normal image.

Kingma, Welling, "Auto-Encoding Variational Bayes", ICLR 2014, arXiv:1312.6114, as set up for this
task by Cai, Zhang, Chen, Cheng, "MedIAnomaly: A comparative study of anomaly detection in medical
images", Medical Image Analysis 2025, arXiv:2404.04518: the autoencoder of `ae`, squared error plus
0.005 times the divergence, both of them means.

Differs from MedIAnomaly: images are scored through the mean of their code, where its code draws
one, so that a score has no chance in it; training is counted in steps (250 epochs there), in
batches of the size that is given (64 there), with gradients shortened to length 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from intact.anomaly.base import Images
from intact.anomaly.variational import Variational, divergence, sample


@dataclass(eq=False)
class VAE(Variational):
    """Squared reconstruction error of a variational autoencoder."""

    source: ClassVar[str] = "Kingma and Welling, ICLR 2014"

    def _loss(self, x: Images, generator: torch.Generator) -> Tensor:
        mean, log_variance = self._encode(x)
        rebuilt = self.decoder(sample(mean, log_variance, generator))
        return (rebuilt - x).square().mean() + self.kl_weight * divergence(mean, log_variance).mean()
