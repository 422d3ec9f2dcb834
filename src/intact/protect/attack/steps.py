"""What iterative attacks share: small steps along the sign of a direction, each kept within the bound."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from intact.errors import UsageError
from intact.protect.attack.base import GREY, Bounded, Problem, Shown


@dataclass(eq=False)
class Iterative(Bounded):
    """An attack in steps of one length; a method says where it starts and which way it goes.

    Args:
        steps: How many.
        step: Length of one, in grey levels of 255.
    """

    steps: int = 10
    step: float = 2.0

    family: ClassVar[str] = "gradient"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 1 or self.step <= 0:
            raise UsageError(f"{self.steps} steps of {self.step:g}: give one or more, longer than 0")

    def _search(self, problem: Problem) -> Shown:
        x, length = self._start(problem), self.step / GREY
        direction = x.new_zeros(x.shape)
        for _ in range(self.steps):
            direction = self._direction(problem, x, direction)
            x = problem.inside(x + length * direction.sign())
        return x

    def _start(self, problem: Problem) -> Shown:
        return problem.shown

    @abstractmethod
    def _direction(self, problem: Problem, x: Shown, before: Tensor) -> Tensor:
        """Where to go from here; `before` is the direction of the step before, at first 0."""


@dataclass(eq=False)
class Momentum(Iterative):
    """Directions that keep a share of the one before, as MI-FGSM has it (Dong et al., CVPR 2018).

    g_{t+1} = mu g_t + grad J / ||grad J||_1; a method says of which slope.

    Args:
        decay: Share of the direction that the next step keeps; mu in the paper.
    """

    decay: float = 1.0

    @final
    def _direction(self, problem: Problem, x: Shown, before: Tensor) -> Tensor:
        slope = self._slope(problem, x)
        size = slope.abs().sum(dim=(1, 2, 3), keepdim=True)
        return self.decay * before + slope / size.clamp_min(1e-30)

    def _slope(self, problem: Problem, x: Shown) -> Tensor:
        return problem.gradient(x)


def diverse(problem: Problem, chance: float, smallest: float) -> Problem:
    """A problem whose loss is that of images which, by chance, are smaller and lie anywhere on black (DI)."""
    share, top, left, change = torch.rand(4, generator=problem.rng).tolist()
    if change >= chance:
        return problem
    shape = problem.shown.shape[-2:]
    size = [max(1, round(n * (smallest + (1 - smallest) * share))) for n in shape]
    room = [n - kept for n, kept in zip(shape, size, strict=True)]
    above, before = int(top * (room[0] + 1)), int(left * (room[1] + 1))

    def loss(x: Shown) -> Float[Tensor, "b"]:
        small = F.interpolate(x, size=size, mode="bilinear", align_corners=False)
        return problem.loss(F.pad(small, (before, room[1] - before, above, room[0] - above)))

    return dataclasses.replace(problem, objective=loss)
