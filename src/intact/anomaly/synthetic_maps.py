"""What methods share that learn to find, pixel by pixel, what was put into normal images."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from intact.anomaly.base import Batches, Detector, Images, check_choice
from intact.anomaly.pooling import POOLINGS
from intact.forge.synthetic.made import Made
from intact.precision import Precision, computing
from intact.scores import Scores
from intact.train import train

Map = Float[Tensor, "n h w"]


@dataclass(eq=False)
class SyntheticMaps(Detector):
    """A network from images to maps, trained on what `_make` made of normal images.

    A method implements `_make` and `_network`, and may exchange the loss and the schedule. The map
    of an image is the network's output between 0 and 1; its mean is the score.

    Args:
        pooling: How the map becomes the image's score; key in `POOLINGS`.
    """

    size: int = 128
    steps: int = 300
    lr: float = 1e-3
    pooling: str = "mean"  # mean, max or top
    precision: Precision = "float32"
    seed: int = 0

    family: ClassVar[str] = "synthesis"

    def __post_init__(self) -> None:
        check_choice("pooling", self.pooling, POOLINGS)

    @abstractmethod
    def _network(self, channels: int) -> nn.Module:
        """From (n, channels, h, w) to (n, h, w), before the logistic function."""

    @abstractmethod
    def _make(self, images: Images, rng: np.random.Generator) -> Made:
        """Images with something foreign in them, and the maps to be found."""

    def _loss(self, logits: Map, labels: Map) -> Float[Tensor, ""]:
        return F.binary_cross_entropy_with_logits(logits, labels)

    def _schedule(self, optimiser: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler | None:
        return None

    def _build(self, channels: int) -> None:
        self.net = self._network(channels)

    def _fit(self, batches: Batches) -> None:
        rng = np.random.default_rng(self.seed)

        def loss(images: Tensor) -> Tensor:
            made = self._make(images, rng)
            return self._loss(self._logits(made.images), made.labels)

        optimiser = torch.optim.Adam(self.net.parameters(), lr=self.lr)
        schedule = self._schedule(optimiser)
        train(
            self.net,
            loss,
            batches,
            steps=self.steps,
            optimiser=optimiser,
            schedule=schedule,
            max_norm=math.inf,
        )

    def _score(self, images: Images) -> Scores:
        pixel = self._logits(images).sigmoid()
        return Scores(image=POOLINGS[self.pooling](pixel), pixel=pixel)

    def _logits(self, images: Images) -> Map:
        with computing(self.precision, images.device.type):
            return self.net(images).float()
