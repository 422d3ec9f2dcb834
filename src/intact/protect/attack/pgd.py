"""PGD: steps along the sign of the gradient from a random place within the bound.

Madry, Makelov, Schmidt, Tsipras, Vladu, "Towards deep learning models resistant to adversarial
attacks", ICLR 2018. One start; all images of a batch begin with the same noise, so that a result
does not depend on the batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from intact.protect.attack.base import Problem, Shown
from intact.protect.attack.steps import Iterative


@dataclass(eq=False)
class PGD(Iterative):
    """Projected gradient descent."""

    source: ClassVar[str] = "Madry et al., ICLR 2018"

    def _start(self, problem: Problem) -> Shown:
        noise = torch.rand(problem.shown.shape[1:], generator=problem.rng) * 2 - 1
        return problem.inside(problem.shown + problem.budget * noise)

    def _direction(self, problem: Problem, x: Shown, before: Tensor) -> Tensor:
        return problem.gradient(x)
