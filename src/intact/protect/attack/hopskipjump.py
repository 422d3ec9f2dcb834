"""HopSkipJump: along the border between two answers, from the answers alone.

Chen, Jordan, Wainwright, "HopSkipJumpAttack: a query-efficient decision-based attack", IEEE S&P 2020,
L2, untargeted. From an image of noise that is misjudged, again and again: a binary search for the
border on the way to the original; the border's direction from random looks to both sides of it; a
step along that direction, half as long until the image is misjudged.

Differs from the authors' code: what counts is the image as it will be stored, in integers; looks go
as far as the distance to the original over the square root of the number of values, not over the
number, which float32 could not tell from no change.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from intact.errors import UsageError
from intact.protect.attack.base import Problem, Shown, Singly

TRIES = 100  # images of noise, before an image is given up
NARROW = 1e-3  # of the way to the original: so near to the border a search ends
FIRST = 0.1  # length of the first looks


@dataclass(eq=False)
class HopSkipJump(Singly):
    """The decision-based attack; it has no bound, and comes ever nearer to the original instead.

    Args:
        iterations: Of search, look and step.
        looks: To each side of the border the first time; later more, with the square root.
        most: Looks at once, at most.
    """

    iterations: int = 20
    looks: int = 100
    most: int = 1000

    family: ClassVar[str] = "query"
    source: ClassVar[str] = "Chen et al., IEEE S&P 2020"

    def __post_init__(self) -> None:
        if min(self.iterations, self.looks, self.most) < 1:
            raise UsageError("iterations, looks and most are 1 or more")

    @torch.no_grad()
    def _one(self, problem: Problem) -> Shown:
        """The nearest misjudged image that was found; the original, if there is none."""
        x = self._misjudged(problem)
        if x is None:
            return problem.shown
        x, reach = self._to_border(problem, x), FIRST
        for iteration in range(1, self.iterations + 1):
            count = min(self.most, int(self.looks * iteration**0.5))
            direction = self._direction(problem, x, count, reach)
            far = (x - problem.shown).norm().item()
            length = far / iteration**0.5
            ahead = problem.inside(x + length * direction)
            while not (won := self._won(problem, ahead)) and length > 1e-6:
                length /= 2
                ahead = problem.inside(x + length * direction)
            if won:
                ahead = self._to_border(problem, ahead)
                x = min(x, ahead, key=lambda y: (y - problem.shown).norm().item())
            reach = (x - problem.shown).norm().item() / problem.shown.numel() ** 0.5
        return x

    def _won(self, problem: Problem, x: Shown) -> bool:
        return bool(problem.margin(problem.rounded(x)).item() > 0)

    def _misjudged(self, problem: Problem) -> Shown | None:
        for _ in range(TRIES):
            noise = torch.rand(problem.shown.shape, generator=problem.rng)
            x = problem.inside(noise)
            if self._won(problem, x):
                return x
        return None

    def _to_border(self, problem: Problem, x: Shown) -> Shown:
        """The misjudged image nearest to the original on the way there."""
        near, far = 0.0, 1.0
        while far - near > NARROW:
            middle = (near + far) / 2
            if self._won(problem, problem.shown + middle * (x - problem.shown)):
                far = middle
            else:
                near = middle
        return problem.shown + far * (x - problem.shown)

    def _direction(self, problem: Problem, x: Shown, count: int, reach: float) -> Tensor:
        """Across the border, away from the right answer; of length 1."""
        noise = torch.randn((count, *x.shape[1:]), generator=problem.rng) * problem.allowed
        noise = noise / noise.flatten(1).norm(dim=1).clamp_min(1e-12)[:, None, None, None]
        looks = (x + reach * noise).clamp(0.0, 1.0)
        noise = (looks - x) / reach
        logits = problem.classify(looks)
        sides = 1.0 - 2.0 * (logits.argmax(1) == problem.labels).float()
        weights = sides - sides.mean() if sides.std() > 0 else sides
        total = (weights[:, None, None, None] * noise).mean(dim=0, keepdim=True)
        return total / total.norm().clamp_min(1e-12)
