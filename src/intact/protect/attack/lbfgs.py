"""L-BFGS: the first attack there was, a box-constrained search for a small change towards a wrong class.

Szegedy, Zaremba, Sutskever, Bruna, Erhan, Goodfellow, Fergus, "Intriguing properties of neural
networks", ICLR 2014: minimise ||r||^2 + c J(x + r, target) with x + r between black and white, for
the smallest c that succeeds. The target is the likeliest wrong class; the paper chose it at random.
SciPy's L-BFGS-B takes the steps, image by image.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import minimize
from torch import Tensor

from intact.errors import UsageError
from intact.protect.attack.base import Problem, Shown, Singly


@dataclass(eq=False)
class LBFGS(Singly):
    """The L-BFGS method; it has no bound.

    Args:
        searches: Values of c that are tried.
        iterations: Of L-BFGS for each of them, at most.
        first: The first c.
    """

    searches: int = 8
    iterations: int = 30
    first: float = 1.0

    family: ClassVar[str] = "optimisation"
    source: ClassVar[str] = "Szegedy et al., ICLR 2014"

    def __post_init__(self) -> None:
        if min(self.searches, self.iterations) < 1 or self.first <= 0:
            raise UsageError("searches and iterations are 1 or more, and first is above 0")

    def _one(self, problem: Problem) -> Shown:
        """The smallest success of one image, or the image."""
        with torch.no_grad():
            logits = problem.classify(problem.shown)
        logits[0, problem.labels] = -torch.inf
        target = logits.argmax(1)
        best, low, high, weight = problem.shown, 0.0, np.inf, self.first
        for _ in range(self.searches):
            found = self._minimise(problem, target, weight)
            with torch.no_grad():
                won = problem.margin(problem.rounded(found)).item() > 0
            if won:
                best, high = found, weight
            else:
                low = weight
            if low and high < np.inf:
                weight = float(np.sqrt(low * high))
            else:
                weight = weight / 10 if won else 10 * weight
        return best

    def _minimise(self, problem: Problem, target: Tensor, weight: float) -> Shown:
        def towards(x: Shown) -> Tensor:
            return weight * F.cross_entropy(problem.classify(x), target, reduction="none")

        problem = dataclasses.replace(problem, objective=towards)

        def cost(values: np.ndarray) -> tuple[float, np.ndarray]:
            x = torch.from_numpy(values).float().reshape(problem.shown.shape)
            change = x - problem.shown
            with torch.no_grad():
                total = change.square().sum() + problem.loss(x).sum()
            slope = 2 * change + problem.gradient(x)
            return float(total), slope.double().numpy().ravel()

        start = problem.shown.double().numpy().ravel()
        fixed = (problem.allowed == 0).expand_as(problem.shown).numpy().ravel()
        box = np.stack([np.where(fixed, start, 0.0), np.where(fixed, start, 1.0)], axis=1)
        options = {"maxiter": self.iterations}
        found = minimize(cost, start, jac=True, method="L-BFGS-B", bounds=box, options=options)
        return torch.from_numpy(found.x).float().reshape(problem.shown.shape)
