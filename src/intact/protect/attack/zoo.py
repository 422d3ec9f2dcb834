"""ZOO: C&W's objective by Adam on single pixels, whose slopes are measured from the answers alone.

Chen, Zhang, Sharma, Yi, Hsieh, "ZOO: zeroth order optimization based black-box attacks to deep
neural networks without training substitute models", AISec 2017: symmetric differences at some random
values at a time, f = max(log p_y - max_{i != y} log p_i, -kappa), which needs probabilities only.

Differs from the paper: one weight c instead of a search for it; a difference of a grey level, since
answers to images in integers are all there are; no coarse grid, no preference for some pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from intact.errors import UsageError
from intact.protect.attack.base import Problem, Shown, Singly

BETA = (0.9, 0.999)  # of Adam, as in the paper


@dataclass(eq=False)
class ZOO(Singly):
    """Zeroth-order optimisation; it has no bound. 2 x values x steps queries for each image.

    Args:
        steps: How many.
        values: Measured at each step.
        rate: Adam's learning rate, of black to white.
        weight: Of being misjudged against a small change; c in the paper.
    """

    steps: int = 200
    values: int = 128
    rate: float = 0.02
    weight: float = 10.0

    family: ClassVar[str] = "query"
    source: ClassVar[str] = "Chen et al., AISec 2017"

    def __post_init__(self) -> None:
        if min(self.steps, self.values) < 1 or min(self.rate, self.weight) <= 0:
            raise UsageError("steps and values are 1 or more, rate and weight above 0")

    @torch.no_grad()
    def _one(self, problem: Problem) -> Shown:
        """The smallest success of one image; the last try, if there is none."""
        places = problem.allowed.expand_as(problem.shown).flatten().nonzero().ravel()
        if not len(places):
            return problem.shown
        x = problem.shown.clone()
        first, second, count = (torch.zeros(x.numel()) for _ in range(3))
        best, smallest = x, torch.inf
        for _ in range(self.steps):
            order = torch.randperm(len(places), generator=problem.rng)
            chosen = places[order[: self.values]]
            slope = self._slope(problem, x, chosen)
            count[chosen] += 1
            first[chosen] = BETA[0] * first[chosen] + (1 - BETA[0]) * slope
            second[chosen] = BETA[1] * second[chosen] + (1 - BETA[1]) * slope**2
            mean, spread = (
                moment[chosen] / (1 - beta ** count[chosen])
                for moment, beta in zip((first, second), BETA, strict=True)
            )
            x.view(-1)[chosen] -= self.rate * mean / (spread.sqrt() + 1e-8)
            x = problem.inside(x)
            size = (x - problem.shown).square().sum().item()
            if size < smallest and problem.margin(problem.rounded(x)).item() > 0:
                best, smallest = x.clone(), size
        return best if smallest < torch.inf else x

    def _slope(self, problem: Problem, x: Shown, chosen: Tensor) -> Tensor:
        """Of the cost by each of the chosen values."""
        rows = torch.arange(len(chosen))
        both = x.repeat(2 * len(chosen), 1, 1, 1)
        flat, step = both.view(2, len(chosen), -1), 1 / problem.levels
        flat[0, rows, chosen] += step
        flat[1, rows, chosen] -= step
        logits = problem.classify(both)
        own = logits[:, problem.labels].ravel()
        other = logits.index_fill(1, problem.labels, -torch.inf).amax(1)
        # Differences of logarithms of probabilities are those of logits.
        cost = (own - other).clamp_min(0.0).reshape(2, -1)
        change = (x - problem.shown).flatten()[chosen]
        return 2 * change + self.weight * (cost[0] - cost[1]) / (2 * step)
