"""NES: steps whose gradient is estimated from answers alone; the network stays a black box.

Ilyas, Engstrom, Athalye, Lin, "Black-box adversarial attacks with limited queries and information",
ICML 2018: grad J ~ sum u_i (J(x + sigma u_i) - J(x - sigma u_i)) / (2 n sigma), u_i normal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from intact.errors import UsageError
from intact.protect.attack.base import Problem, Shown
from intact.protect.attack.steps import Iterative


@dataclass(eq=False)
class NES(Iterative):
    """Natural evolution strategies; 2 x pairs x steps queries for each image.

    Args:
        pairs: Random directions at each step, each looked at both ways; n in the paper.
        sigma: How far, of black to white.
    """

    steps: int = 50
    step: float = 1.0
    pairs: int = 25
    sigma: float = 0.001

    family: ClassVar[str] = "query"
    source: ClassVar[str] = "Ilyas et al., ICML 2018"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pairs < 1 or self.sigma <= 0:
            raise UsageError(f"{self.pairs} pairs at {self.sigma:g}: give one or more, farther than 0")

    @torch.no_grad()
    def _direction(self, problem: Problem, x: Shown, before: Tensor) -> Tensor:
        total = torch.zeros_like(x)
        for _ in range(self.pairs):
            noise = torch.randn(x.shape[1:], generator=problem.rng) * problem.allowed
            rise = problem.loss(x + self.sigma * noise) - problem.loss(x - self.sigma * noise)
            total += noise * rise[:, None, None, None]
        return total / (2 * self.pairs * self.sigma)
