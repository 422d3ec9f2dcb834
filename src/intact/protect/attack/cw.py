"""C&W: the smallest change, in the Euclidean sense, about which the classifier errs.

Carlini and Wagner, "Towards evaluating the robustness of neural networks", IEEE S&P 2017, L2,
untargeted. With x' = (tanh w + 1) / 2, which is always an image, Adam minimises
||x' - x||^2 + c f(x'), f(x') = max(Z_y - max_{i != y} Z_i, -kappa) over w; a search finds the
smallest c of each image that succeeds.

Differs from the authors' code: 6 rounds of 100 steps instead of 9 of 1,000; an image counts as a
success only if it still is one when it is stored in integers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from intact.errors import UsageError
from intact.protect.attack.base import Attack, Problem, Shown

OPEN = 1 - 1e-6  # black and white lie at infinity in w


@dataclass(eq=False)
class CW(Attack):
    """The L2 method; it has no bound, and finds the smallest change instead.

    Args:
        searches: Values of c that are tried.
        steps: Of Adam, for each of them.
        rate: Adam's learning rate, in w.
        first: The first c.
        confidence: By how much the wrong class is to win, in logits; kappa in the paper.
    """

    searches: int = 6
    steps: int = 100
    rate: float = 0.01
    first: float = 1.0
    confidence: float = 0.0

    family: ClassVar[str] = "optimisation"
    source: ClassVar[str] = "Carlini and Wagner, IEEE S&P 2017"

    def __post_init__(self) -> None:
        if min(self.searches, self.steps) < 1 or min(self.rate, self.first) <= 0 or self.confidence < 0:
            raise UsageError("searches and steps are 1 or more, rate and first above 0, confidence 0 or more")

    def _search(self, problem: Problem) -> Shown:
        count = len(problem.shown)
        best, smallest = problem.shown.clone(), torch.full((count,), torch.inf)
        low, high = torch.zeros(count), torch.full((count,), torch.inf)
        weight = torch.full((count,), self.first)
        for _ in range(self.searches):
            found, size = self._minimise(problem, weight)
            done = size < torch.inf
            better = size < smallest
            best[better], smallest[better] = found[better], size[better]
            high = torch.where(done, weight, high)
            low = torch.where(done, low, weight)
            weight = torch.where(high < torch.inf, (low + high) / 2, 10 * weight)
        return best

    def _minimise(self, problem: Problem, weight: torch.Tensor) -> tuple[Shown, torch.Tensor]:
        """For one c of each image the smallest success and its size, which is infinite without one."""
        w = torch.atanh((2 * problem.shown - 1) * OPEN).requires_grad_()
        adam = torch.optim.Adam([w], lr=self.rate)
        best, smallest = problem.shown.clone(), torch.full((len(w),), torch.inf)
        for _ in range(self.steps):
            x = problem.inside((torch.tanh(w) + 1) / 2)
            size = (x - problem.shown).square().sum(dim=(1, 2, 3))
            short = (self.confidence - problem.margin(x)).clamp_min(0.0)
            (w.grad,) = torch.autograd.grad((size + weight * short).sum(), w)
            adam.step()
            with torch.no_grad():
                won = problem.margin(problem.rounded(x.detach())) > self.confidence
            better = won & (size < smallest)
            best[better], smallest[better] = x.detach()[better], size.detach()[better]
        return best, smallest
