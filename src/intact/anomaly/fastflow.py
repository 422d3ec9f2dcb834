"""FastFlow: how likely features are, under flows that learned to carry normal ones to a Gaussian.

Yu, Zheng, Wang, Li, Wu, Zhao, Wu, "FastFlow: Unsupervised Anomaly Detection and Localization via
2D Normalizing Flows", 2021, https://arxiv.org/abs/2111.07677. There is no official code. What the
paper leaves open (the coupling block, its clamp of 2, the map) is as in anomalib and in
gathierry/FastFlow, which come close to the paper's numbers of parameters.

Differs from the paper: 128 x 128 images instead of 256 x 256 and 200 steps instead of 500 epochs, so
that it trains on two CPU cores in minutes (both are fields). Differs from those reproductions: a map
is normalised over channels and positions without a learned scale, as that scale would raise the
likelihood without being counted in it; 1 is added to their score, which makes it 0 where a feature
is most likely.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import cycle, islice
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from intact.anomaly.base import Batches, Detector, Images
from intact.filters import upsample
from intact.nets.features import FrozenFeatures
from intact.nets.flow import Flow, negative_log_likelihood, two_convolutions
from intact.precision import Precision, computing
from intact.scores import Scores
from intact.train import train


@dataclass(eq=False)
class FastFlow(Detector):
    """One minus the density of features under a convolutional flow per stage."""

    size: int = 128
    backbone: str = "resnet18"
    layers: tuple[str, ...] = ("layer1", "layer2", "layer3")
    couplings: int = 8  # steps of each flow
    kernels: tuple[int, ...] = (3, 1)  # sides of the convolutions' kernels, couplings taking turns
    clamp: float = 2.0  # bound of the logarithm of a coupling's scale
    steps: int = 200
    lr: float = 1e-3
    precision: Precision = "float32"
    seed: int = 0

    family: ClassVar[str] = "reconstruction"
    source: ClassVar[str] = "Yu et al., 2021"

    def _build(self, channels: int) -> None:
        self.eyes = FrozenFeatures(self.backbone, self.layers, self.precision)
        subnets = [two_convolutions(side, side) for side in islice(cycle(self.kernels), self.couplings)]
        self.flows = nn.ModuleList(Flow(c, subnets, self.clamp) for c in self.eyes.channels)

    def _fit(self, batches: Batches) -> None:
        def loss(images: Tensor) -> Tensor:
            each = [negative_log_likelihood(z, log_det) for z, log_det in self._flow(images)]
            return torch.stack(each).sum(dim=0).mean()

        optimiser = torch.optim.Adam(self.flows.parameters(), lr=self.lr, weight_decay=1e-5)
        # The loss is a sum over a map's values: its gradients are long and are not to be shortened.
        train(self.flows, loss, batches, steps=self.steps, optimiser=optimiser, max_norm=math.inf)

    def _score(self, images: Images) -> Scores:
        pixel = torch.zeros(())
        for z, _ in self._flow(images):
            # The density of a position, relative to the highest, to the power 1 / channels.
            density = (-0.5 * z.square().mean(dim=1)).exp()
            pixel = pixel + upsample(1.0 - density, (self.size, self.size)) / len(self.layers)
        return Scores(image=pixel.amax(dim=(1, 2)), pixel=pixel)

    def _flow(self, images: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Of each stage the maps in Gaussian coordinates and the log-determinant."""
        # Contiguous: these small convolutions are faster so than with the channels last.
        maps = [m.float().contiguous() for m in self.eyes(images)]
        with computing(self.precision, images.device.type):
            return [flow(F.layer_norm(m, m.shape[1:])) for flow, m in zip(self.flows, maps, strict=True)]
