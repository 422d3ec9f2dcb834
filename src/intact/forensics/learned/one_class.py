"""What all methods have in common that learn from genuine images alone.

They measure something at every pixel. How far it goes in genuine images is learned: what one genuine pixel
in a thousand reaches counts as even odds, and what lies farther from the usual value counts as more.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from intact.forensics.learned.base import LearnedExaminer, Lessons, planes_of, top_mean
from intact.forensics.learned.crops import Crops

RARE = 0.001  # share of genuine pixels that go as far as is called even odds
PLANES = 32  # genuine planes from which that is learned, at most
PIXELS = 65536  # of a plane, at most


@dataclass(eq=False)
class OneClass(LearnedExaminer):
    """Something is measured at each pixel, and compared with what it is in genuine images.

    The score of an image is the mean of the highest thousandth of departures: 0 where a pixel is as usual, 1
    where it departs as far as one genuine pixel in a thousand does.

    Args:
        steps: Optimiser steps.
        batch: Crops in a step.
        crop: Their side in pixels.
        lr: The learning rate.
    """

    steps: int = 600
    batch: int = 8
    crop: int = 96
    lr: float = 1e-3

    def _fit(self, lessons: Lessons) -> None:
        with Crops(lessons, self.crop, self.batch, self.seed, genuine_only=True) as crops:
            self._teach(crops)
        with torch.no_grad():
            values = [_some(self._measure(torch.from_numpy(seen))) for seen in self._genuine(lessons)]
        found = np.quantile(np.concatenate(values), (RARE, 0.5, 1.0 - RARE))
        self.limits_ = self._limits(torch.from_numpy(found).float())

    @abstractmethod
    def _teach(self, crops: Crops) -> None:
        """Learn from genuine crops; the networks are back on the CPU afterwards."""

    @abstractmethod
    def _measure(self, seen: Float[Tensor, "h w"]) -> Float[Tensor, "h w"]: ...

    def _limits(self, found: Float[Tensor, "3"]) -> Float[Tensor, "3"]:
        """The two quantiles and the median of what was measured, where one end does not matter infinite."""
        return found

    def _look(self, seen: Float[Tensor, "h w"]) -> tuple[float, Float[ndarray, "h w"]]:
        odd = departure(self._measure(seen), self.limits_)
        chances = odd.square() / (1.0 + odd.square())
        return top_mean(odd), chances.numpy().astype(np.float32)

    def _genuine(self, lessons: Lessons) -> list[Float[ndarray, "h w"]]:
        """Genuine planes, any as likely as any other."""
        rng = np.random.default_rng(self.seed)
        kept: list[Float[ndarray, "h w"]] = []
        passed = 0
        for seen, _, labels in planes_of(lessons):
            if labels.any():
                continue
            passed += 1
            at = len(kept) if len(kept) < PLANES else int(rng.integers(passed))
            if at < PLANES:
                kept[at : at + 1] = [seen]
        return kept


def departure(
    values: Float[Tensor, "*shape"], limits: Float[Tensor, "3"], largest: float = 1e3
) -> Float[Tensor, "*shape"]:
    """How far values lie from the usual one: 0 there, 1 at either limit, never more than `largest`."""
    low, usual, high = limits
    above = (values - usual) / (high - usual).clamp(min=1e-6)
    below = (usual - values) / (usual - low).clamp(min=1e-6)
    return torch.maximum(above, below).clamp(0.0, largest)


def _some(values: Float[Tensor, "h w"]) -> Float[ndarray, "n"]:
    """Evenly chosen ones."""
    flat = values.flatten()
    return flat[:: -(-len(flat) // PIXELS)].numpy()
