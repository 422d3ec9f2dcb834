"""What all networks have in common that learn from crops of forged and of genuine images."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from intact.forensics.learned.base import LearnedExaminer, Lessons
from intact.forensics.learned.crops import Crops
from intact.train import train


@dataclass(eq=False)
class CropNetwork(LearnedExaminer):
    """One network that learns from crops, by descent.

    Args:
        steps: Optimiser steps; the learning rate falls to nothing along a cosine.
        batch: Crops in a step.
        lr: The first learning rate.
    """

    steps: int = 600
    batch: int = 8
    lr: float = 1e-3

    @property
    @abstractmethod
    def _side(self) -> int:
        """Of a crop, in pixels."""

    @abstractmethod
    def _network(self, channels: int) -> nn.Module: ...

    @abstractmethod
    def _loss(self, crops: Float[Tensor, "b 2 h w"]) -> Float[Tensor, ""]:
        """Of values and targets, as `Crops` gives them."""

    def _build(self, channels: int) -> None:
        self.net = self._network(channels)

    def _optimiser(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.net.parameters(), lr=self.lr, weight_decay=1e-4)

    def _fit(self, lessons: Lessons) -> None:
        self.net.to("cuda" if torch.cuda.is_available() else "cpu")
        with (
            Crops(lessons, self._side, self.batch, self.seed, change=self._seen) as crops,
            torch.random.fork_rng(devices=[]),  # which dropout draws from
        ):
            torch.manual_seed(self.seed)
            optimiser = self._optimiser()
            schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, self.steps)
            batches = crops.batches()
            train(self.net, self._loss, batches, steps=self.steps, optimiser=optimiser, schedule=schedule)
        self.net.to("cpu")
